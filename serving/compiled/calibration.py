"""From an estimator's probabilities to the model's: calibrated, and decided by a threshold.

The same operations as in the model's own layers (``answers.py`` of its layers), on arrays and on one number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weigh", "make_bend", "make_choice", "make_weigh"]

Numbers = NDArray[np.float64]
Weigh = Callable[[Numbers], Numbers]
"""Raw scores to probabilities of shape (rows, classes)."""
EDGE: Final = 1e-12
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken; as in the layers."""


def make_weigh(weigh: Weigh, layer: Mapping[str, Any], classes: int) -> Weigh:
    """Calibrated probabilities, if the layer calibrates.

    Args:
        weigh: The estimator's.
        layer: Of the plan's document, ``answer``; may be empty.
        classes: How many.
    """
    calibration = layer.get("calibration")
    if calibration is None:
        return weigh
    bend = _BENDS[calibration["method"]]
    curves = [np.asarray(curve, dtype=np.float64) for curve in calibration["curves"]]
    if classes == 2:  # noqa: PLR2004 - of two classes one curve says all

        def bend_second(scores: Numbers) -> Numbers:
            second = bend(weigh(scores)[:, 1], curves[0])
            return np.column_stack([1 - second, second])

        return bend_second

    def bend_all(scores: Numbers) -> Numbers:
        columns = zip(weigh(scores).T, curves, strict=True)
        bent = np.column_stack([bend(column, curve) for column, curve in columns])
        total = bent.sum(axis=1, keepdims=True)
        shares: Numbers = np.where(total > 0, bent, 1.0) / np.where(total > 0, total, float(len(curves)))
        return shares

    return bend_all


def make_bend(layer: Mapping[str, Any]) -> Callable[[float], float]:
    """The calibration of one probability, of the second class of two."""
    calibration = layer.get("calibration")
    if calibration is None:
        return lambda share: share
    curve = calibration["curves"][0]
    if calibration["method"] == "isotonic":
        places, values = (np.asarray(part, dtype=np.float64) for part in curve)
        return lambda share: float(np.interp(share, places, values))
    slope, intercept = curve

    def bend(share: float) -> float:
        inside = min(max(share, EDGE), 1 - EDGE)
        lift = slope * math.log(inside / (1 - inside)) + intercept
        return 1.0 / (1.0 + math.exp(-lift)) if lift > -700 else 0.0  # noqa: PLR2004 - as e**700 still is a number

    return bend


def make_choice(layer: Mapping[str, Any]) -> Callable[[Numbers], Sequence[int]]:
    """Places of the classes that probabilities of shape (rows, classes) are decided as."""
    threshold = layer.get("threshold")
    if threshold is None:
        return lambda shares: list(shares.argmax(axis=1).tolist())
    return lambda shares: list((shares[:, 1] >= threshold).astype(np.intp).tolist())


def _bend_sigmoid(values: Numbers, curve: Numbers) -> Numbers:
    inside = np.clip(values, EDGE, 1 - EDGE)
    with np.errstate(over="ignore"):
        bent: Numbers = 1 / (1 + np.exp(-(curve[0] * np.log(inside / (1 - inside)) + curve[1])))
    return bent


def _bend_isotonic(values: Numbers, curve: Numbers) -> Numbers:
    bent: Numbers = np.interp(values, curve[0], curve[1])
    return bent


_BENDS: Final[Mapping[str, Callable[[Numbers, Numbers], Numbers]]] = {
    "sigmoid": _bend_sigmoid,
    "isotonic": _bend_isotonic,
}
