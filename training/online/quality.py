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

from registry import find_influence, gather

__all__ = ["Outcomes", "Reading", "empty_outcomes", "measure_window"]

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
    truth, said, blocks = outcomes.truth, outcomes.said, _find_blocks(outcomes.groups)
    if task == "regression":
        misses = truth - said[:, 0]
        return {
            "absolute_error": _read(np.abs(misses), blocks),
            "squared_error": _read(misses**2, blocks),
        }
    if not has_probability:
        return {"accuracy": _read((said[:, 0] == truth).astype(np.float64), blocks)}
    places = truth.astype(np.intp)
    losses = -np.log(np.clip(said[np.arange(len(places)), places], CLIP, 1.0))
    right = (said.argmax(axis=1) == places).astype(np.float64)
    found = {"log_loss": _read(losses, blocks), "accuracy": _read(right, blocks)}
    if task == "binary" and 0 < places.sum() < len(places):
        found["roc_auc"] = _read(find_influence(places == 1, said[:, 1]), blocks)
    return found


def _find_blocks(groups: NDArray[Any]) -> NDArray[Any] | None:
    """None where every row stands by itself."""
    return None if len(groups) and groups[0] == "" else pd.factorize(groups)[0]


def _read(contributions: NDArray[np.float64], blocks: NDArray[Any] | None) -> Reading:
    """The mean, and Student's t around it: few groups, a wide interval."""
    from scipy import stats  # noqa: PLC0415 - heavy

    units = gather(contributions, blocks)
    if len(units.sums) < FEWEST_UNITS:
        return Reading(units.mean, float("nan"), float("nan"))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, units.freedom)) * units.standard_error
    return Reading(units.mean, units.mean - reach, units.mean + reach)
