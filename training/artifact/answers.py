"""From the estimator's probabilities to answers: calibrated, decided by a threshold, called by labels."""

from typing import Any

import numpy as np

EDGE = 1e-12
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken."""


class Answers:
    """Turns probabilities into better ones, and into answers.

    Args:
        plan: As in ``layers.json``, ``answer``; may be empty.
        classes: The estimator's classes in order.
    """

    def __init__(self, plan: dict[str, Any], classes: Any) -> None:
        self.calibration = plan.get("calibration")
        self.threshold = plan.get("threshold")
        self.classes = np.array(classes, dtype=object if isinstance(next(iter(classes), 0), str) else None)
        labels = plan.get("labels")
        self.names = None if labels is None else np.array([*labels, None], dtype=object)[:-1]

    @property
    def decides(self) -> bool:
        """Whether answers come from the probabilities; else the estimator itself says them."""
        return self.calibration is not None or self.threshold is not None

    def list_labels(self) -> list[Any]:
        """What the classes are called, in order."""
        return list(self.classes if self.names is None else self.names)

    def calibrate(self, probabilities: Any) -> Any:
        """Returns probabilities (rows, classes) that come true more often; rows sum to 1."""
        if self.calibration is None:
            return probabilities
        bend = BENDS[self.calibration["method"]]
        curves = self.calibration["curves"]
        if len(self.classes) == 2:  # noqa: PLR2004 - of two classes one curve says all
            second = bend(probabilities[:, 1], curves[0])
            return np.column_stack([1 - second, second])
        bent = np.column_stack(
            [bend(column, curve) for column, curve in zip(probabilities.T, curves, strict=True)]
        )
        total = bent.sum(axis=1, keepdims=True)
        return np.where(total > 0, bent, 1.0) / np.where(total > 0, total, float(len(curves)))

    def decide(self, probabilities: Any) -> Any:
        """Returns each row's class: the second of two from the threshold on, else the likeliest."""
        if self.threshold is None:
            return self.classes[probabilities.argmax(axis=1)]
        return self.classes[(probabilities[:, 1] >= self.threshold).astype(int)]

    def label(self, answers: Any) -> Any:
        """Returns the labels of classes; the classes themselves where they have none."""
        return answers if self.names is None else self.names[np.searchsorted(self.classes, answers)]


def bend_sigmoid(values: Any, curve: Any) -> Any:
    """A logistic curve of the log-odds; ``curve`` is slope and intercept.

    Source: Platt, Probabilistic Outputs for Support Vector Machines (1999), on log-odds as scores.
    """
    inside = np.clip(values, EDGE, 1 - EDGE)
    return 1 / (1 + np.exp(-(curve[0] * np.log(inside / (1 - inside)) + curve[1])))


def bend_isotonic(values: Any, curve: Any) -> Any:
    """Straight lines between knots; ``curve`` is where they are and what they say.

    Source: Zadrozny and Elkan, KDD 2002.
    """
    return np.interp(values, curve[0], curve[1])


BENDS = {"sigmoid": bend_sigmoid, "isotonic": bend_isotonic}
