"""What the answers' and the guard's layers do to the held-out rows: numbers and pictures of a run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .answering import measure_costs
from .metrics import measure
from .plots import draw_calibrated, draw_costs, draw_typicality
from .result import Outcome, Trained, TrainingPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_layers", "measure_layers"]

BEFORE = ("log_loss", "brier")
HALF = 0.5


def measure_layers(plan: TrainingPlan, trained: Trained) -> dict[str, float]:
    """Metrics of the run beside the model's own quality, by name; empty without such layers."""
    metrics: dict[str, float] = {}
    answers, guard, cost = trained.fitted.answers, trained.fitted.guard, plan.job.spec.answer.cost
    if "calibration" in answers.plan and trained.raw is not None:
        raw = measure(trained.raw)
        metrics |= {f"{name}_before_calibration": raw[name] for name in BEFORE}
    if cost is not None:
        metrics["mean_cost"] = _cost(trained.outcome, answers.plan["threshold"], plan)
        metrics["mean_cost_at_half"] = _cost(trained.outcome, HALF, plan)
    if "threshold" in answers.plan:
        metrics["threshold"] = answers.plan["threshold"]
    if guard is not None and trained.typicality is not None:
        metrics["guard_refused"] = float(np.mean(trained.typicality <= _limit(guard.plan)))
    return metrics


def draw_layers(plan: TrainingPlan, trained: Trained) -> Iterator[tuple[str, "Figure"]]:
    """Yields (file name without ending, figure)."""
    answers, guard, cost = trained.fitted.answers, trained.fitted.guard, plan.job.spec.answer.cost
    if "calibration" in answers.plan and trained.raw is not None:
        yield from draw_calibrated(trained.raw, trained.outcome)
    if cost is not None and answers.held is not None:
        parts = {"rows it was chosen on": answers.held, "held-out rows": trained.outcome}
        curves = {name: measure_costs(*_list_chances(part), cost) for name, part in parts.items()}
        yield from draw_costs(curves, answers.plan["threshold"])
    if guard is not None and trained.typicality is not None:
        yield from draw_typicality(trained.typicality, _limit(guard.plan))


def _limit(plan: dict[str, int | list[int]]) -> float:
    """The typicality up to which a row is refused."""
    most, scores = plan["most"], plan["scores"]
    assert isinstance(most, int)
    assert isinstance(scores, list)
    return most / (1 + len(scores))


def _list_chances(outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How likely the second class is, and whether it was so."""
    assert outcome.probabilities is not None
    return outcome.probabilities[:, 1], np.asarray(outcome.truth == outcome.classes[1])


def _cost(outcome: Outcome, threshold: float, plan: TrainingPlan) -> float:
    """The mean cost of a row."""
    cost = plan.job.spec.answer.cost
    assert cost is not None
    chances, happened = _list_chances(outcome)
    said = chances >= threshold
    return float(np.mean(cost.miss * (happened & ~said) + cost.false_alarm * (said & ~happened)))
