"""Has what comes in moved away from what the model is used to? One answer for all columns of one window.

A column has drifted if two things hold: it is no accident, at a level that all columns of the window share;
and it is large enough to matter. The second is the *effect floor*: with enough rows every harmless difference
is no accident.

Source: Holm, Scandinavian Journal of Statistics 6 (1979), the shared level for rows by themselves; for blocks
see :mod:`.permuting`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .columns import MISSING, PairedColumn, pair_columns
from .distances import Distance, measure_distance
from .permuting import adjust_by_blocks, count_blocks_needed

__all__ = ["ColumnDrift", "Drift", "DriftRule", "DriftVerdict", "Sample", "find_drift"]

DriftVerdict = Literal["quiet", "drift", "not_enough_data"]

NAMED: Final = 5
"""Columns named in a sentence."""


@dataclass(frozen=True, slots=True)
class DriftRule:
    """What counts as drift.

    Attributes:
        level: Share of quiet windows that may be called drifted.
        min_effect: Share of a column's rows that must have moved.
        min_rows: Rows below which nothing is said.
        ignore: Columns that are not looked at.
    """

    level: float = 0.05
    min_effect: float = 0.05
    min_rows: int = 200
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows as they came.

    Attributes:
        inputs: What the model was sent.
        scores: What it answered, the columns that can be compared; same rows.
        blocks: Block of each row; None: every row by itself.
    """

    inputs: pd.DataFrame
    scores: pd.DataFrame
    blocks: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What was found in one column.

    Attributes:
        name: The column.
        role: ``input`` or ``score``.
        kind: ``number`` or ``category``.
        effect: Share of rows that moved.
        p_value: Chance of so much in any column of a window without drift: adjusted for their number.
        shift_sd: Mean distance that numbers moved, in standard deviations of the reference.
        missing_before: Share of missing values in the reference.
        missing_now: The same in the window.
        unknown: Share of the window's rows with a category that the reference does not have.
        drifted: Whether it counts.
    """

    name: str
    role: Literal["input", "score"]
    kind: Literal["number", "category"]
    effect: float
    p_value: float
    shift_sd: float | None
    missing_before: float
    missing_now: float
    unknown: float
    drifted: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found in a window.

    Attributes:
        verdict: ``drift`` if any column drifted.
        reason: One sentence.
        columns: The columns, farthest first.
        skipped: Column → why it was not compared.
        rows: Rows of the window.
        reference_rows: Rows of the reference.
        blocks: Blocks of the window; None where every row stands by itself.
        visible: The smallest share of moved rows that could have been told from an accident in every column;
            None with blocks, where it depends on how alike these are.
    """

    verdict: DriftVerdict
    reason: str
    columns: tuple[ColumnDrift, ...]
    skipped: dict[str, str]
    rows: int
    reference_rows: int
    blocks: int | None = None
    visible: float | None = None

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that count."""
        return tuple(column.name for column in self.columns if column.drifted)


def find_drift(reference: Sample, window: Sample, rule: DriftRule) -> Drift:
    """Compares a window with its reference.

    Args:
        reference: What the model is used to.
        window: What came in; blocks exactly where the reference has them.
        rule: What counts.
    """
    n, m = len(window.inputs), len(reference.inputs)
    empty = Drift("not_enough_data", "", (), {}, n, m)
    if n < rule.min_rows:
        return replace(empty, reason=f"{rule.min_rows:,} predictions are needed")
    inputs = pair_columns(reference.inputs, window.inputs, rule.ignore)
    scores = pair_columns(reference.scores, window.scores, rule.ignore)
    pairs = [*((one, "input") for one in inputs.columns), *((one, "score") for one in scores.columns)]
    empty = replace(empty, skipped=inputs.skipped | scores.skipped)
    if not pairs:
        return replace(empty, reason="no column of the reference is in the log")
    if reference.blocks is None or window.blocks is None:
        return _judge(pairs, None, rule, empty)
    blocks = reference.blocks, window.blocks
    lack = _find_lack_of_blocks(*blocks, rule.level)
    return replace(empty, reason=lack) if lack else _judge(pairs, blocks, rule, empty)


def _judge(
    pairs: Sequence[tuple[PairedColumn, str]],
    blocks: tuple[NDArray[Any], NDArray[Any]] | None,
    rule: DriftRule,
    empty: Drift,
) -> Drift:
    distances = [measure_distance(pair) for pair, _ in pairs]
    if blocks is None:
        adjusted = _adjust([distance.p_value for distance in distances])
    else:
        adjusted = adjust_by_blocks([pair for pair, _ in pairs], *blocks)
    found = [
        _describe(pair, role, distance, float(p_value), rule)
        for (pair, role), distance, p_value in zip(pairs, distances, adjusted, strict=True)
    ]
    columns = tuple(sorted(found, key=lambda one: (not one.drifted, -one.effect)))
    drifted = [column for column in columns if column.drifted]
    return replace(
        empty,
        verdict="drift" if drifted else "quiet",
        reason=_word_drifted(drifted) if drifted else _word_quiet(columns),
        columns=columns,
        blocks=None if blocks is None else len(np.unique(blocks[1])),
        visible=_find_visible(empty, len(pairs), rule.level) if blocks is None else None,
    )


def _find_lack_of_blocks(reference: NDArray[Any], window: NDArray[Any], level: float) -> str:
    here, there = len(np.unique(window)), len(np.unique(reference))
    needed = count_blocks_needed(level, here)
    if there >= needed:
        return ""
    return (
        f"{here} block{'s' * (here > 1)} of the window cannot be told apart from {there} of the reference: "
        f"at least {needed} are needed there, or more in the window"
    )


def _adjust(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p-values.

    >>> _adjust([0.01, 0.5, 0.02]).tolist()
    [0.03, 0.5, 0.04]
    """
    values = np.asarray(p_values)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def _find_visible(empty: Drift, columns: int, level: float) -> float:
    """The gap at which the first of so many columns reaches its share of the level (asymptotically)."""
    size = empty.rows * empty.reference_rows / (empty.rows + empty.reference_rows)
    return math.sqrt(-0.5 * math.log(level / columns / 2) / size)


def _describe(
    pair: PairedColumn, role: str, distance: Distance, p_value: float, rule: DriftRule
) -> ColumnDrift:
    if pair.kind == "number":
        gaps, unknown = [float(np.isnan(side).mean()) for side in (pair.reference, pair.window)], 0.0
    else:
        gaps = [float((side == MISSING).mean()) for side in (pair.reference, pair.window)]
        unknown = float((~np.isin(pair.window, [*set(pair.reference), MISSING])).mean())
    return ColumnDrift(
        name=pair.name,
        role="score" if role == "score" else "input",
        kind=pair.kind,
        effect=distance.effect,
        p_value=p_value,
        shift_sd=distance.shift_sd,
        missing_before=gaps[0],
        missing_now=gaps[1],
        unknown=unknown,
        drifted=p_value <= rule.level and distance.effect >= rule.min_effect,
    )


def _word_drifted(drifted: Sequence[ColumnDrift]) -> str:
    named = "; ".join(_word_column(column) for column in drifted[:NAMED])
    more = f"; and {len(drifted) - NAMED} more" if len(drifted) > NAMED else ""
    return f"{named}{more}"


def _word_column(column: ColumnDrift) -> str:
    return f"{column.name}: {', '.join(_list_facts(column))}"


def _list_facts(column: ColumnDrift) -> Iterator[str]:
    yield f"{column.effect:.0%} of the rows moved"
    if column.shift_sd is not None:
        yield f"{column.shift_sd:.2f} sd on average"
    if abs(column.missing_now - column.missing_before) >= 0.01:  # noqa: PLR2004 - a point is worth a word
        yield f"missing {column.missing_before:.0%} before, {column.missing_now:.0%} now"
    if column.unknown >= 0.01:  # noqa: PLR2004 - as above
        yield f"{column.unknown:.0%} in categories that the reference does not have"


def _word_quiet(columns: Sequence[ColumnDrift]) -> str:
    most = max(columns, key=lambda column: column.effect)
    return f"none of {len(columns)} columns; {most.effect:.1%} of the rows moved in {most.name}, the most"
