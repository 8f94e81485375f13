"""What is known of the truth: how much, how late, and whether the part that is known resembles the whole.

A quality that rests on early truths can mislead: a flight that lands late is known to be late only later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .drift import DriftRule, Sample, find_drift
from .outcomes import Task, list_scores, mark_scored

__all__ = ["Coverage", "measure_coverage", "word_seconds"]

FEWEST: Final = 200
"""Rows with and without truth from which on the two are compared."""

UNLIKE: Final = 1.5
"""Ratio of the classes' median delays from which on it is worth a word."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of a set of predictions.

    Attributes:
        rows: Predictions.
        answered: Those that got an answer (*nothing found* is none).
        known: Those of them whose truth is known.
        delay_s: Median seconds from prediction to truth; None if there is none.
        late_s: The same, which one in ten exceeds.
        warnings: Sentences about what the known part is not like the rest in.
    """

    rows: int
    answered: int
    known: int
    delay_s: float | None
    late_s: float | None
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the answered ones whose truth is known; 0 if there are none."""
        return self.known / self.answered if self.answered else 0.0


def measure_coverage(
    *,
    times: "pd.Series[Any]",
    truth: "pd.Series[Any]",
    truth_times: "pd.Series[Any]",
    answers: pd.DataFrame,
    task: Task,
) -> Coverage:
    """Counts, times, and compares what is known with what is not.

    Args:
        times: When each was predicted.
        truth: As :func:`.outcomes.read_truth` leaves it.
        truth_times: When it was known; NaT where it is not.
        answers: As :func:`.outcomes.read_answers` leaves them.
        task: What it is about.
    """
    scored = mark_scored(answers)
    known = truth.notna().to_numpy() & scored
    delays = (truth_times - times).dt.total_seconds().to_numpy()[known]
    delays = delays[np.isfinite(delays)]
    return Coverage(
        rows=len(times),
        answered=int(scored.sum()),
        known=int(known.sum()),
        delay_s=float(np.median(delays)) if len(delays) else None,
        late_s=float(np.quantile(delays, 0.9)) if len(delays) else None,
        warnings=(
            *_compare_known(answers, known, scored, task),
            *_compare_delays(truth, truth_times - times, known, task),
        ),
    )


def _compare_known(
    answers: pd.DataFrame, known: NDArray[np.bool_], scored: NDArray[np.bool_], task: Task
) -> Iterator[str]:
    unknown = scored & ~known
    if min(known.sum(), unknown.sum()) < FEWEST:
        return
    scores = list_scores(answers, task)
    sides = [Sample(pd.DataFrame(index=scores[side].index), scores[side]) for side in (unknown, known)]
    found = find_drift(sides[0], sides[1], DriftRule(min_rows=FEWEST))
    if found.verdict == "drift":
        yield (
            f"the {known.sum():,} predictions whose truth is known are not like the {unknown.sum():,} others "
            f"({found.reason}): their quality is not everybody's"
        )


def _compare_delays(
    truth: "pd.Series[Any]", delays: "pd.Series[Any]", known: NDArray[np.bool_], task: Task
) -> Iterator[str]:
    """Truths of one class that come later are missing among the newest predictions."""
    told = pd.DataFrame({"truth": truth[known], "delay": delays[known].dt.total_seconds()})
    if not task.classes or known.all():
        return
    medians = told.groupby("truth")["delay"].agg(["median", "size"])
    medians = medians[medians["size"] >= FEWEST // 4]
    if len(medians) < 2:  # noqa: PLR2004 - nothing to compare
        return
    slow, fast = medians["median"].idxmax(), medians["median"].idxmin()
    most, least = float(medians["median"].max()), float(medians["median"].min())
    if most > UNLIKE * max(least, 1.0):
        yield (
            f"the truth arrives later for {slow} (half of it after {word_seconds(most)}) than for {fast} "
            f"({word_seconds(least)}): among the newest predictions {slow} is still missing"
        )


def word_seconds(seconds: float) -> str:
    """A time as people say it.

    >>> word_seconds(5), word_seconds(9000)
    ('5 s', '2.5 h')
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
