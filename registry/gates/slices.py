"""Parts of the rows that must not get worse: each slice by itself, corrected for how many there are.

The burden of proof lies with harm: a slice refuses only where it is *shown* to be worse than the margin
allows. The other way round (every slice shown to be no worse) small slices would refuse every candidate, and
the more slices a careful team names, the more surely. So a slice with few rows cannot refuse and says so.
Over all slices of a decision, the chance to refuse a candidate that is nowhere worse is at most the level.

Source: Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from .bootstrap import Estimate, estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SliceResult", "adjust_p_values", "compare_slices"]

DRAWS: Final = 2_000
"""Bootstrap draws for each slice: there may be a hundred of them."""


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice's answer.

    Attributes:
        column: The slice column.
        value: Its value, as text.
        rows: Rows in the slice.
        blocks: Independent units among them.
        improvement: Holder's mean loss minus the candidate's; positive is better.
        lower: One-sided lower bound at the level, for this slice by itself.
        upper: One-sided upper bound, likewise.
        p_value: Chance of a change for the worse as large as seen, where the slice is no worse than the
            margin; corrected for all slices tested. At most the level: worse. 1 where not tested.
        verdict: ``fine``, ``worse``, or ``too_few_rows`` (shown, but not tested).
    """

    column: str
    value: str
    rows: int
    blocks: int
    improvement: float
    lower: float
    upper: float
    p_value: float
    verdict: Literal["fine", "worse", "too_few_rows"]


def compare_slices(
    holder: "NDArray[np.float64]",
    candidate: "NDArray[np.float64]",
    slices: "Mapping[str, NDArray[Any]]",
    blocks: "NDArray[Any] | None" = None,
    *,
    level: float,
    margin: float = 0.0,
    min_rows: int = 100,
    seed: int = 0,
) -> tuple[SliceResult, ...]:
    """Compares two models' losses within every value of every slice column.

    Args:
        holder: Loss of each row, shape (n,).
        candidate: The candidate's.
        slices: Column → value of each row, shape (n,).
        blocks: Block of each row; None: every row by itself.
        level: Chance of any wrong ``worse``, over all slices together.
        margin: How much worse a slice may get, in the loss's unit; at least 0.
        min_rows: Slices with fewer rows are not tested.
        seed: Of the bootstrap's draws.

    Returns:
        One result for each slice, in the order of columns, then values.

    Raises:
        ValueError: Shapes differ, or a loss is not finite.

    >>> import numpy as np
    >>> holder, where = np.tile([0.2, 0.3], 200), np.repeat(["north", "south"], 200)
    >>> candidate = holder + np.where(where == "south", 0.1, -0.1)
    >>> found = compare_slices(holder, candidate, {"where": where}, level=0.05)
    >>> [(one.value, one.verdict) for one in found]
    [('north', 'fine'), ('south', 'worse')]
    """
    found = []
    for column, values in slices.items():
        for value, rows in _split(values):
            part = (holder[rows], candidate[rows], None if blocks is None else blocks[rows])
            test = partial(_compare, *part, level=level, margin=margin, seed=seed)
            found.append(test(column, value, is_tested=len(rows) >= min_rows))
    tested = [place for place, one in enumerate(found) if one.verdict != "too_few_rows"]
    adjusted = adjust_p_values([found[place].p_value for place in tested])
    for place, p_value in zip(tested, adjusted, strict=True):
        verdict: Literal["fine", "worse"] = "worse" if p_value <= level else "fine"
        found[place] = replace(found[place], p_value=p_value, verdict=verdict)
    return tuple(found)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: compared with the level they hold it for all tests together.

    >>> adjust_p_values([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = min(1.0, max(largest, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _split(values: "NDArray[Any]") -> "Iterator[tuple[str, NDArray[np.intp]]]":
    """Each value as text with the places of its rows; values that read the same are one slice."""
    import numpy as np  # noqa: PLC0415 - heavy

    texts, places = np.unique(np.asarray(values).astype(str), return_inverse=True)
    order = np.argsort(places, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(places))[:-1])
    yield from zip(texts.tolist(), parts, strict=True)


def _compare(
    holder: "NDArray[np.float64]",
    candidate: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None",
    column: str,
    value: str,
    *,
    level: float,
    margin: float,
    seed: int,
    is_tested: bool,
) -> SliceResult:
    """The interval as everywhere; and, with the models changed over, whether harm exceeds the margin."""
    found = estimate(holder, candidate, blocks, level=level, draws=DRAWS, seed=seed)
    harm: Estimate | None = None
    if is_tested and -found.improvement > margin:
        harm = estimate(candidate, holder, blocks, level=level, margin=-margin, draws=DRAWS, seed=seed)
    return SliceResult(
        column=column,
        value=value,
        rows=found.rows,
        blocks=found.blocks,
        improvement=found.improvement,
        lower=found.lower,
        upper=found.upper,
        p_value=harm.p_value if harm else 1.0,
        verdict="fine" if is_tested else "too_few_rows",
    )
