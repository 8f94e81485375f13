"""All quality gates of one decision: pure, so that a replay gives the same answers to the last digit."""

from collections.abc import Iterator
from typing import Any

from registry.errors import DataError
from registry.policy import Policy

from .budget import level_of_attempt
from .extensions import judge_extensions
from .harm import judge_calibration, judge_slices
from .latency import judge_latency
from .material import CANDIDATE, HOLDER, Material
from .metric import judge_floor, judge_metric
from .refusals import judge_refusals
from .verdict import GateResult

__all__ = ["judge_quality"]


def judge_quality(material: Material, policy: Policy, *, attempt: int) -> tuple[GateResult, ...]:
    """Every gate that the policy asks, in a fixed order.

    Args:
        material: The rows and answers.
        policy: What the team asks.
        attempt: Which look this is at the stage's present holder, from 1.
    """
    level = level_of_attempt(policy.alpha, attempt)
    next_level = level_of_attempt(policy.alpha, attempt + 1)
    return tuple(_judge(material, policy, level, next_level))


def _judge(material: Material, policy: Policy, level: float, next_level: float) -> Iterator[GateResult]:
    has_holder = HOLDER in material.answers
    if has_holder:
        yield _guard(
            "metric", lambda: judge_metric(material, policy.metric, level=level, next_level=next_level)[0]
        )
    if policy.metric.floor is not None:
        yield _guard("floor", lambda: judge_floor(material, policy.metric, level=level))
    if has_holder and policy.slices.columns:
        yield _guard("slices", lambda: judge_slices(material, policy))
    if policy.calibration.max_error is not None:
        yield _guard("calibration", lambda: judge_calibration(material, policy.calibration.max_error or 0.0))
    if policy.max_refused is not None:
        yield judge_refusals(material, policy.max_refused)
    if policy.latency.is_asked and CANDIDATE in material.timings:
        yield judge_latency(material.timings, policy.latency)
    yield from judge_extensions(material, policy.gates)


def _guard(name: str, ask: Any) -> GateResult:
    """Rows or answers that a gate cannot use are no answer, and say why."""
    try:
        said: GateResult = ask()
    except DataError as error:
        return GateResult(name, "not_enough_data", str(error))
    return said
