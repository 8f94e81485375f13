"""How good the answers are on rows the model has not seen. Pure: arrays in, numbers out.

Source: definitions as in scikit-learn, https://scikit-learn.org/stable/modules/model_evaluation.html.
Brier score: mean squared difference of probability and outcome, summed over the classes if there
are more than two.
``log_loss_of_mean`` is what the evaluation rows' own class shares would score as a constant answer: the best
constant there is, so a model has to beat it to know anything. ``rmse_of_mean`` likewise.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .result import Outcome

__all__ = ["DIRECTIONS", "MAIN_METRICS", "measure", "sample_losses"]

DIRECTIONS: Final[dict[str, Literal["higher", "lower"]]] = {
    "roc_auc": "higher",
    "average_precision": "higher",
    "log_loss": "lower",
    "brier": "lower",
    "accuracy": "higher",
    "balanced_accuracy": "higher",
    "f1": "higher",
    "f1_macro": "higher",
    "roc_auc_ovr": "higher",
    "rmse": "lower",
    "mae": "lower",
    "median_absolute_error": "lower",
    "r2": "higher",
}
"""Metrics that can be better or worse. Base rates are facts about the rows, not about the model."""

MAIN_METRICS: Final = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}

_TINY: Final = np.finfo(np.float64).eps


def measure(outcome: Outcome) -> dict[str, float]:
    """Every metric that is defined for these rows (ROC AUC is not where only one class occurs)."""
    if outcome.task == "regression":
        return _measure_regression(outcome)
    shares = np.array([np.mean(outcome.truth == label) for label in outcome.classes])
    metrics = {"accuracy": float(np.mean(outcome.answers == outcome.truth))}
    metrics |= _measure_binary(outcome) if outcome.task == "binary" else _measure_multiclass(outcome)
    metrics["base_rate"] = float(shares[-1] if outcome.task == "binary" else shares.max())
    known = shares[shares > 0]
    metrics["log_loss_of_mean"] = float(-(known * np.log(known)).sum())
    return metrics


def sample_losses(outcome: Outcome) -> NDArray[np.float64]:
    """The loss of each row: log loss, or error (0 or 1) without probabilities, or squared error."""
    if outcome.task == "regression":
        return np.asarray((outcome.truth - outcome.answers) ** 2, dtype=np.float64)
    if outcome.probabilities is None:
        return np.asarray(outcome.answers != outcome.truth, dtype=np.float64)
    chosen = outcome.probabilities[np.arange(len(outcome.truth)), _positions(outcome)]
    return np.asarray(-np.log(np.clip(chosen, _TINY, 1.0)), dtype=np.float64)


def _positions(outcome: Outcome) -> NDArray[np.int64]:
    return np.asarray(np.searchsorted(np.asarray(outcome.classes), outcome.truth), dtype=np.int64)


def _measure_binary(outcome: Outcome) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score  # noqa: PLC0415 - slow import

    positive = outcome.truth == outcome.classes[-1]
    metrics = {"f1": float(f1_score(positive, outcome.answers == outcome.classes[-1], zero_division=0))}
    if outcome.probabilities is None:
        return metrics
    chance = outcome.probabilities[:, -1]
    metrics["log_loss"] = float(sample_losses(outcome).mean())
    metrics["brier"] = float(np.mean((chance - positive) ** 2))
    if 0 < positive.sum() < len(positive):
        metrics["roc_auc"] = float(roc_auc_score(positive, chance))
        metrics["average_precision"] = float(average_precision_score(positive, chance))
    return metrics


def _measure_multiclass(outcome: Outcome) -> dict[str, float]:
    from sklearn.metrics import f1_score, roc_auc_score  # noqa: PLC0415 - slow import

    metrics = {"f1_macro": float(f1_score(outcome.truth, outcome.answers, average="macro", zero_division=0))}
    recalls = [np.mean(outcome.answers[rows] == label) for label, rows in _by_class(outcome)]
    metrics["balanced_accuracy"] = float(np.mean(recalls))
    if outcome.probabilities is None:
        return metrics
    metrics["log_loss"] = float(sample_losses(outcome).mean())
    hits = outcome.truth[:, None] == np.asarray(outcome.classes)[None, :]
    metrics["brier"] = float(((outcome.probabilities - hits) ** 2).sum(axis=1).mean())
    if all(hits.any(axis=0)):
        areas = [roc_auc_score(hits[:, k], outcome.probabilities[:, k]) for k in range(len(outcome.classes))]
        metrics["roc_auc_ovr"] = float(np.mean(areas))
    return metrics


def _by_class(outcome: Outcome) -> list[tuple[Any, NDArray[np.bool_]]]:
    pairs = [(label, outcome.truth == label) for label in outcome.classes]
    return [(label, rows) for label, rows in pairs if rows.any()]


def _measure_regression(outcome: Outcome) -> dict[str, float]:
    errors = np.asarray(outcome.answers - outcome.truth, dtype=np.float64)
    spread = float(np.std(outcome.truth))
    rmse = float(np.sqrt(np.mean(errors**2)))
    metrics = {
        "rmse": rmse,
        "mae": float(np.mean(np.abs(errors))),
        "median_absolute_error": float(np.median(np.abs(errors))),
        "rmse_of_mean": spread,
    }
    if spread > 0:
        metrics["r2"] = 1.0 - (rmse / spread) ** 2
    return metrics
