"""How good the stream was lately: loss, accuracy and ROC AUC of a sliding window, each with a 95 % interval.

Rows of one group (a day) count together, so the interval is as wide as the days are different. Pure.

Source: Dawid, JRSS A 147 (1984), prequential: each event judges the model that had not learned from it;
DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), the ROC AUC's variance by what each row adds to it;
Liang and Zeger, Biometrika 73 (1986), sums over groups.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Outcomes", "Reading", "empty_outcomes", "measure_window", "rank_influence"]

CONFIDENCE: Final = 0.95
FEWEST_UNITS: Final = 3
"""Groups (or rows) below which nothing is said about how far a figure may be off."""
CLIP: Final = 1e-15
"""As the gates' log loss clips: a probability of 0 for what happened costs 34.5, not infinity."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Events whose truth arrived, in the order in which it did.

    Attributes:
        truth: Place of the class, or the number; shape (n,).
        said: Probability of each class, shape (n, classes); or the answer (place, number), shape (n, 1).
        groups: What depends on each other, text; empty text: every row by itself; shape (n,).
    """

    truth: NDArray[np.float64]
    said: NDArray[np.float64]
    groups: NDArray[Any]

    def __len__(self) -> int:
        return len(self.truth)

    def keep_last(self, rows: int) -> "Outcomes":
        """The last so many."""
        return Outcomes(self.truth[-rows:], self.said[-rows:], self.groups[-rows:])

    def join(self, other: "Outcomes") -> "Outcomes":
        """These, then others."""
        return Outcomes(
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.said, other.said]),
            np.concatenate([self.groups, other.groups]),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure, and the ends of its 95 % interval; these are NaN where there is too little to say."""

    value: float
    low: float
    high: float


def empty_outcomes(width: int) -> Outcomes:
    """None yet."""
    return Outcomes(np.empty(0), np.empty((0, width)), np.empty(0, dtype=object))


def measure_window(outcomes: Outcomes, task: str, *, has_probability: bool) -> dict[str, Reading]:
    """Figures over all of these outcomes.

    Args:
        outcomes: At least one.
        task: ``binary``, ``multiclass`` or ``regression``.
        has_probability: Whether ``said`` holds probabilities.

    Returns:
        ``log_loss`` and ``accuracy`` (classes), ``roc_auc`` (two classes, both of them present), or
        ``absolute_error`` and ``squared_error`` (numbers).

    >>> seen = Outcomes(np.array([1.0, 0, 1, 0]), np.array([[0.2, 0.8], [0.6, 0.4], [0.4, 0.6], [0.3, 0.7]]),
    ...     np.array([""] * 4, dtype=object))
    >>> found = measure_window(seen, "binary", has_probability=True)
    >>> round(found["log_loss"].value, 3), found["accuracy"].value, found["roc_auc"].value
    (0.612, 0.75, 0.75)
    """
    truth, said, units = outcomes.truth, outcomes.said, _number_units(outcomes.groups)
    if task == "regression":
        misses = truth - said[:, 0]
        return {
            "absolute_error": _read_mean(np.abs(misses), units),
            "squared_error": _read_mean(misses**2, units),
        }
    if not has_probability:
        return {"accuracy": _read_mean((said[:, 0] == truth).astype(np.float64), units)}
    places = truth.astype(np.intp)
    losses = -np.log(np.clip(said[np.arange(len(places)), places], CLIP, 1.0))
    right = (said.argmax(axis=1) == places).astype(np.float64)
    found = {"log_loss": _read_mean(losses, units), "accuracy": _read_mean(right, units)}
    if task == "binary" and 0 < places.sum() < len(places):
        found["roc_auc"] = _read_auc(places == 1, said[:, 1], units)
    return found


def rank_influence(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The ROC AUC, and what each row adds to its error; these sum to 0.

    >>> area, rests = rank_influence(np.array([True, False, True, False]), np.array([0.9, 0.1, 0.4, 0.6]))
    >>> area, rests.tolist()
    (0.75, [0.125, 0.125, -0.125, -0.125])
    """
    count, others = int(positive.sum()), int((~positive).sum())
    ranks = pd.Series(score).rank().to_numpy()
    within = np.empty(len(score))
    within[positive] = pd.Series(score[positive]).rank().to_numpy()
    within[~positive] = pd.Series(score[~positive]).rank().to_numpy()
    share = np.where(positive, (ranks - within) / others, 1 - (ranks - within) / count)
    area = float(share[positive].mean())
    return area, (share - area) / np.where(positive, count, others)


def _number_units(groups: NDArray[Any]) -> NDArray[np.intp] | None:
    codes, names = pd.factorize(groups)
    return None if len(names) == 1 and names[0] == "" else codes


def _read_mean(losses: NDArray[np.float64], units: NDArray[np.intp] | None) -> Reading:
    mean = float(losses.mean())
    return _widen(mean, (losses - mean) / len(losses), units)


def _read_auc(
    positive: NDArray[np.bool_], score: NDArray[np.float64], units: NDArray[np.intp] | None
) -> Reading:
    return _widen(*rank_influence(positive, score), units)


def _widen(value: float, rests: NDArray[np.float64], units: NDArray[np.intp] | None) -> Reading:
    """Student's t over sums of groups: few groups, a wide interval."""
    from scipy import stats  # noqa: PLC0415 - heavy

    sums = rests if units is None else np.bincount(units, weights=rests)
    size = len(sums)
    if size < FEWEST_UNITS:
        return Reading(value, float("nan"), float("nan"))
    error = float(np.sqrt((sums**2).sum() * size / (size - 1)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, size - 1)) * error
    return Reading(value, value - reach, value + reach)
