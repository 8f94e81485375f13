"""Fits what turns probabilities into answers: calibration and threshold, on rows not learned from.

Source: costs and thresholds, Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001; Platt's targets,
Probabilistic Outputs for Support Vector Machines (1999), section 2.2.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError, UsageError

from .dataset import Target
from .fitting import answer, has_probability, make_pipeline
from .job import CostSection, JobSpec
from .jobfile import guess
from .result import AnswerLayer, Outcome, TrainingPlan

__all__ = ["apply_answers", "check_answers", "find_threshold", "fit_answers", "measure_costs", "spell"]

TWO: Final = 2
LARGE: Final = 1e6
"""scikit-learn's C where nothing is to be shrunk: the smoothed targets keep the slope finite already."""


def check_answers(plan: TrainingPlan) -> None:
    """Refuses what the data or the estimator cannot give.

    Raises:
        UsageError: A label is of no class or lacks one, a threshold is asked of more than two classes, or
            probabilities of an estimator that has none.
    """
    section, target = plan.job.spec.answer, plan.target
    if section.labels:
        spell(plan.job.spec, target)
    wanted = "answer.threshold" if section.threshold is not None else "answer.cost" if section.cost else ""
    if wanted and len(target.classes) != TWO:
        kind = f"has {len(target.classes)}" if target.classes else "is a number"
        raise UsageError(f"{wanted} needs a target of two classes, and {target.name!r} {kind}.")
    wanted = wanted or ("answer.calibrate" if section.calibrate != "none" else "")
    if not wanted:
        return
    if not target.classes:
        raise UsageError(f"{wanted} needs a target of classes, and {target.name!r} is a number.")
    if not has_probability(make_pipeline(plan.job.spec, plan.features)):
        raise UsageError(
            f"{wanted} needs probabilities, and {plan.job.spec.model.estimator} gives none.",
            hint="Choose an estimator with predict_proba.",
        )


def spell(spec: JobSpec, target: Target) -> list[str]:
    """The labels in the order of the classes.

    Raises:
        UsageError: A label is of no class, or a class lacks one.
    """
    labels = spec.answer.labels
    classes = [_word(label) for label in target.classes]
    if not classes:
        raise UsageError(f"answer.labels needs a target of classes, and {target.name!r} is a number.")
    for name in labels:
        if name not in classes:
            hint = guess(name, classes) or f"It has: {', '.join(classes[:12])}."
            raise UsageError(f"answer.labels: {target.name!r} has no class {name!r}.", hint=hint)
    for name in classes:
        if name not in labels:
            raise UsageError(f"answer.labels: the class {name!r} has no label.", hint="Give every class one.")
    return [labels[name] for name in classes]


def fit_answers(
    plan: TrainingPlan, pipeline: Any, features: pd.DataFrame, truth: NDArray[Any]
) -> AnswerLayer:
    """Fits the section ``[answer]`` on rows that the pipeline did not learn from.

    Args:
        plan: The job.
        pipeline: Fitted.
        features: Rows after the row layer; empty if nothing is to be fitted.
        truth: Their classes.

    Raises:
        DataError: A class is not among these rows.
    """
    section = plan.job.spec.answer
    made: dict[str, Any] = {}
    if section.labels:
        made["labels"] = spell(plan.job.spec, plan.target)
    if section.threshold is not None:
        made["threshold"] = section.threshold
    if not section.learns:
        return AnswerLayer(made)
    held = answer(pipeline, features, truth, plan)
    if section.calibrate != "none":
        made["calibration"] = _calibrate(section.calibrate, held)
    held = apply_answers(AnswerLayer(made), held)
    if section.cost is not None:
        assert held.probabilities is not None  # check_answers saw to it
        made["threshold"] = find_threshold(
            held.probabilities[:, 1], held.truth == held.classes[1], section.cost
        )
        held = apply_answers(AnswerLayer({"threshold": made["threshold"]}), held)
    return AnswerLayer(made, held)


def apply_answers(layer: AnswerLayer, raw: Outcome) -> Outcome:
    """The answers that the model gives, from the estimator's own; classes, not labels."""
    from .artifact.answers import Answers  # noqa: PLC0415 - beside its only user

    answers = Answers(layer.plan, list(raw.classes))
    if raw.probabilities is None or not answers.decides:
        return raw
    probabilities = answers.calibrate(raw.probabilities)
    return replace(raw, answers=answers.decide(probabilities), probabilities=probabilities)


def find_threshold(chances: NDArray[np.float64], happened: NDArray[np.bool_], cost: CostSection) -> float:
    """The probability from which on the second class is the cheaper answer, in the middle between two rows'.

    Of several that cost the same, the one nearest to what calibrated probabilities would ask for.

    >>> find_threshold(np.array([0.1, 0.2, 0.6]), np.array([False, True, True]), CostSection(miss=5))
    0.15
    """
    values, costs = measure_costs(chances, happened, cost)
    ideal = cost.false_alarm / (cost.false_alarm + cost.miss)
    best = np.flatnonzero(costs <= costs.min() * (1 + 1e-12))
    nearest = values[best[np.argmin(np.abs(values[best] - ideal))]]
    return float(np.round(nearest, 6)) if _decides_alike(chances, nearest) else float(nearest)


def measure_costs(
    chances: NDArray[np.float64], happened: NDArray[np.bool_], cost: CostSection
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every threshold that divides these rows otherwise, ascending, and the mean cost of a row at each."""
    values, places = np.unique(chances, return_inverse=True)
    edges = np.concatenate([[0.0], values, [max(1.0, values[-1] + 2e-6)]])  # the last one: nobody
    middles = (edges[:-1] + edges[1:]) / 2
    misses = np.concatenate([[0], np.cumsum(np.bincount(places, happened, len(values)))])
    alarms = np.concatenate([np.cumsum(np.bincount(places, ~happened, len(values))[::-1])[::-1], [0]])
    return middles, (cost.miss * misses + cost.false_alarm * alarms) / len(chances)


def _decides_alike(chances: NDArray[np.float64], threshold: float) -> bool:
    """Whether a threshold that a person can read divides the rows in the same way."""
    return bool(np.array_equal(chances >= threshold, chances >= np.round(threshold, 6)))


def _calibrate(method: str, held: Outcome) -> dict[str, Any]:
    assert held.probabilities is not None  # check_answers saw to it
    fit = _fit_sigmoid if method == "sigmoid" else _fit_isotonic
    columns = range(len(held.classes)) if len(held.classes) > TWO else (1,)
    curves = []
    for column in columns:
        happened = held.truth == held.classes[column]
        if not 0 < happened.sum() < len(happened):
            raise DataError(
                f"answer.calibrate: the class {held.classes[column]!r} is in none or all of the "
                f"{len(happened)} rows held out for it.",
                hint="Raise answer.held_out, or leave calibration away.",
            )
        curves.append(fit(held.probabilities[:, column], happened))
    return {"method": method, "curves": curves}


def _fit_sigmoid(chances: NDArray[np.float64], happened: NDArray[np.bool_]) -> list[float]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow import

    from .artifact.answers import EDGE  # noqa: PLC0415 - beside its only user

    inside = np.clip(chances, EDGE, 1 - EDGE)
    odds = np.log(inside / (1 - inside))[:, None]
    hits = int(happened.sum())
    target = np.where(happened, (hits + 1) / (hits + 2), 1 / (len(happened) - hits + 2))
    both = np.concatenate([np.ones(len(odds)), np.zeros(len(odds))])
    model = LogisticRegression(C=LARGE, max_iter=1000)
    model.fit(np.concatenate([odds, odds]), both, sample_weight=np.concatenate([target, 1 - target]))
    return [float(model.coef_[0, 0]), float(model.intercept_[0])]


def _fit_isotonic(chances: NDArray[np.float64], happened: NDArray[np.bool_]) -> list[list[float]]:
    """Never quite 0 or 1: that much n rows cannot know (Laplace's rule of succession)."""
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow import

    least = 1 / (len(chances) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    model.fit(chances, happened.astype(np.float64))
    return [model.X_thresholds_.astype(float).tolist(), model.y_thresholds_.astype(float).tolist()]


def _word(label: Any) -> str:
    """A class as TOML keys and people write it."""
    return str(label).lower() if isinstance(label, bool) else str(label)
