"""The metric gate: is the candidate better than the holder, or no worse where the policy says so?

Three answers. *Yes*: shown at the level of this attempt. *No*: an improvement worth having can be ruled out,
so more rows would not help. Else *not enough data*, with the number that would be.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from registry.errors import UsageError
from registry.policy import MetricPolicy

from .bootstrap import Estimate, estimate, estimate_auc
from .losses import LOSSES, choose_metric, compute_loss
from .material import BEST, CANDIDATE, HOLDER, Material
from .mcnemar import rows_needed
from .power import expect_spread, units_needed
from .verdict import GateResult

__all__ = [
    "WORDS",
    "compare_versions",
    "count_fewest_blocks",
    "count_needed",
    "find_effect",
    "find_metric",
    "judge_floor",
    "judge_metric",
    "plan_look",
]

ROC_AUC: Final = "roc_auc"

WORDS: Final = {
    "log_loss": "log loss",
    "brier": "Brier score",
    "error": "error rate",
    ROC_AUC: "ROC AUC",
    "squared_error": "mean squared error",
    "absolute_error": "mean absolute error",
    "pinball": "pinball loss",
}

ABSOLUTE_EFFECT: Final = 0.01
"""The smallest improvement worth promoting for of a classifier, unless the policy says otherwise."""

RELATIVE_EFFECT: Final = 0.02
"""The same for regression: part of the holder's loss."""

POWER: Final = 0.9
"""Chance to see an improvement of that size with the rows named."""

FUTILITY: Final = 0.05
"""Chance to say "no" to a version that does have an improvement worth having."""

SPREAD_LEVEL: Final = 0.1
"""The spread is estimated too: rows needed are named for its upper bound, so that they suffice."""


def find_metric(material: Material, policy: MetricPolicy) -> str:
    """The metric's name; ``auto`` takes the finest that all answers allow.

    Raises:
        DataError: The metric does not fit the task, or the answers.
    """
    return choose_metric(
        policy.name,
        task=material.task,
        classes=material.classes,
        answers=tuple(material.answers.values()),
    )


def find_effect(policy: MetricPolicy, task: str, holder_loss: float) -> float:
    """The smallest improvement worth promoting for, in the metric's own unit."""
    if policy.effect is not None:
        return policy.effect
    return (
        (RELATIVE_EFFECT * abs(holder_loss) or RELATIVE_EFFECT) if task == "regression" else ABSOLUTE_EFFECT
    )


def losses_of(material: Material, who: str, metric: str, policy: MetricPolicy) -> Any:
    """Loss of each row, shape (n,)."""
    return compute_loss(
        metric,
        material.rows[material.target],
        material.answers[who],
        task=material.task,
        classes=material.classes,
        quantile=policy.quantile,
    )


def compare_versions(
    material: Material, metric: str, policy: MetricPolicy, against: str, *, level: float, margin: float
) -> Estimate:
    """The candidate's improvement over another version, on the same rows.

    Args:
        material: The rows and answers.
        metric: As :func:`find_metric` names it.
        policy: For the quantile.
        against: ``holder`` or ``best``.
        level: Chance of each bound to miss.
        margin: How much worse is still acceptable, in the metric's own unit.

    Raises:
        DataError: A row's target or answer is missing.
    """
    if metric == ROC_AUC:
        truth, scores = _find_scores(material)
        return estimate_auc(
            truth, scores[against], scores[CANDIDATE], material.blocks, level=level, margin=margin
        )
    losses = {who: losses_of(material, who, metric, policy) for who in (against, CANDIDATE)}
    return estimate(losses[against], losses[CANDIDATE], material.blocks, level=level, margin=margin)


def _find_scores(material: Material) -> tuple[Any, dict[str, Any]]:
    """Whether each row is of the positive class, and everybody's probability of it."""
    from registry.prediction import PROBABILITY  # noqa: PLC0415 - beside its user

    from .losses import place_classes  # noqa: PLC0415 - beside its user

    names = [str(value) for value in material.classes]
    truth = place_classes(material.rows[material.target], names) == 1
    column = PROBABILITY + names[-1]
    return truth, {who: answers[column].to_numpy() for who, answers in material.answers.items()}


def judge_metric(
    material: Material, policy: MetricPolicy, *, level: float, next_level: float
) -> tuple[GateResult, Estimate]:
    """Superiority over the holder; or non-inferiority, also to the best version that was in production.

    Args:
        material: The rows and answers.
        policy: What better means.
        level: Of this attempt.
        next_level: Of the next one: rows needed are named for it.
    """
    metric = find_metric(material, policy)
    margin = policy.margin or 0.0
    found = compare_versions(material, metric, policy, HOLDER, level=level, margin=margin)
    effect = policy.margin or find_effect(policy, material.task, _mean_loss(material, metric, policy))
    needed = count_needed(found, effect, next_level, metric)
    said = _judge(found, metric, effect, needed, material.unit)
    if policy.mode == "non_inferiority" and BEST in material.answers:
        best = compare_versions(material, metric, policy, BEST, level=level, margin=margin)
        said = _join(said, _judge(best, metric, effect, needed, material.unit), material)
    return said, found


def _mean_loss(material: Material, metric: str, policy: MetricPolicy) -> float:
    return 0.0 if metric == ROC_AUC else float(losses_of(material, HOLDER, metric, policy).mean())


def count_needed(found: Estimate, effect: float, level: float, metric: str) -> int | None:
    """Rows (or blocks) that show an improvement of this size with the power 0.9; None: out of reach."""
    try:
        return _count_needed(found, effect, level, metric)
    except ValueError:
        return None


def _count_needed(found: Estimate, effect: float, level: float, metric: str) -> int:
    from scipy import stats  # noqa: PLC0415 - heavy

    if metric == "error" and found.blocks == found.rows and not found.margin:
        # Of 0/1 losses the spread is the share of rows on which exactly one model is right.
        discordant = round((found.spread**2 + found.improvement**2) * found.rows)
        rest = max(found.rows - discordant, 1)
        upper = float(stats.beta.ppf(1 - SPREAD_LEVEL, discordant + 1, rest))
        return rows_needed(min(effect, upper), upper, level, POWER)
    freedom = max(found.blocks - 1, 1)
    spread = found.spread * math.sqrt(freedom / float(stats.chi2.ppf(SPREAD_LEVEL, freedom)))
    return units_needed(effect, spread, level, POWER) if spread > 0 else found.blocks


def plan_look(
    task: str,
    policy: MetricPolicy,
    holder: Any,
    candidate: Any,
    *,
    attempt: int,
    level: float,
    grouped: bool,
) -> str:
    """What a look costs and can show, before it is spent: from both models' answers, without the truth.

    Args:
        task: What is predicted.
        policy: What better means.
        holder: The holder's n answers; None: there is none.
        candidate: The candidate's.
        attempt: Which look it would be.
        level: Its level.
        grouped: Whether rows depend on each other: then the figure is the least there can be.
    """
    said = f"This is attempt {attempt} at this holder, at level {level:.2g}, on {len(candidate):,} rows."
    if holder is None:
        return said
    metric = _guess_metric(task, policy, holder, candidate)
    spread = expect_spread(task, metric, holder, candidate)
    effect = policy.margin or policy.effect or ABSOLUTE_EFFECT
    if spread is None:
        return f"{said} How many rows it takes can be told after the first look."
    if spread == 0:
        return f"{said} Both models answer alike on every row."
    needed = units_needed(effect, spread, level, POWER)
    least = "at least " if grouped else "about "
    return f"{said} An improvement of {effect:.2g} in {WORDS[metric]} takes {least}{needed:,} rows to show."


def _guess_metric(task: str, policy: MetricPolicy, holder: Any, candidate: Any) -> str:
    from registry.prediction import PROBABILITY  # noqa: PLC0415 - beside its user

    if policy.name != "auto":
        return policy.name
    if task == "regression":
        return "squared_error"
    both = all(any(str(name).startswith(PROBABILITY) for name in said) for said in (holder, candidate))
    return "log_loss" if both else "error"


def _judge(found: Estimate, metric: str, effect: float, needed: int | None, unit: str) -> GateResult:
    word = WORDS.get(metric, metric)
    numbers: dict[str, Any] = {name: getattr(found, name) for name in Estimate.__dataclass_fields__}
    numbers |= {"metric": metric, "effect": effect, "needed": needed, "unit": unit}
    over = f"{found.rows:,} rows" + (f" in {found.blocks:,} {unit}" if unit != "rows" else "")
    fewest = count_fewest_blocks(found.level)
    if found.blocks < fewest:
        what = unit if found.blocks != 1 else unit.removesuffix("s")
        reason = (
            f"{found.blocks} {what} cannot prove anything at level {found.level:.2g}, whatever they say: at "
            f"least {fewest} are needed."
        )
        return GateResult("metric", "not_enough_data", reason, numbers=numbers)
    seen = _say_change(found, metric, word)
    test = f"p = {_word_p(found.p_value)}, this attempt's level {found.level:.2g}; {over}"
    if found.p_value <= found.level:
        least = (
            f"at least {found.lower:.4f} better" if found.lower >= 0 else f"at worst {-found.lower:.4f} worse"
        )
        reason = f"{seen}, {least} ({test})."
        return GateResult("metric", "yes", reason, numbers=numbers)
    ceiling = _find_ceiling(found)
    if ceiling < (0.0 if found.margin else effect):
        return GateResult(
            "metric", "no", f"{seen}: {_say_no(found, ceiling, effect)} ({test}).", numbers=numbers
        )
    what = f"no worse than the margin {found.margin:g}" if found.margin else f"better by {effect:.2g}"
    takes = f"about {needed:,} {unit} (power {POWER:.0%})" if needed else f"more {unit} than can be had"
    reason = f"{seen}; that may be chance ({test}). To show a version that is {what} takes {takes}."
    return GateResult("metric", "not_enough_data", reason, numbers=numbers)


def _find_ceiling(found: Estimate) -> float:
    """The largest improvement that these rows leave possible (one-sided 95 %)."""
    from statistics import NormalDist  # noqa: PLC0415 - beside its user

    return found.improvement + NormalDist().inv_cdf(1 - FUTILITY) * found.standard_error


def _say_change(found: Estimate, metric: str, word: str) -> str:
    better, worse = ("higher", "lower") if metric == ROC_AUC else ("lower", "higher")
    if found.improvement == 0:
        return f"{word} is the same"
    return f"{word} is {abs(found.improvement):.4f} {better if found.improvement > 0 else worse}"


def _say_no(found: Estimate, ceiling: float, effect: float) -> str:
    if found.margin:
        return f"it is worse, by {-ceiling:.4f} at the very least"
    if ceiling <= 0:
        return "it is not better"
    return f"it is not better by what is worth a promotion, {effect:.2g}; at best by {ceiling:.4f}"


def _word_p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"  # noqa: PLR2004 - below that only the power matters


def count_fewest_blocks(level: float) -> int:
    """Independent blocks below which even complete agreement could be chance: the sign test's 2⁻ⁿ.

    Source: Dixon and Mood, The statistical sign test, JASA 41 (1946).

    >>> count_fewest_blocks(0.05)
    5
    """
    return math.ceil(-math.log2(level))


def _join(said: GateResult, of_best: GateResult, material: Material) -> GateResult:
    """Both must say yes; the sentence names the one that did not."""
    numbers = {**said.numbers, "best": dict(of_best.numbers)}
    best = material.versions[BEST]
    if said.verdict != "yes":
        return GateResult("metric", said.verdict, said.reason, numbers=numbers)
    reason = f"{said.reason} Against version {best}, the best so far: {of_best.reason}"
    return GateResult("metric", of_best.verdict, reason, numbers=numbers)


def judge_floor(material: Material, policy: MetricPolicy, *, level: float) -> GateResult:
    """What the candidate must reach by itself, whoever the holder is: shown at the level, or not yet.

    Raises:
        UsageError: The policy sets no floor.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    if policy.floor is None:
        raise UsageError("The policy sets no floor.")
    metric = find_metric(material, policy)
    if metric == ROC_AUC:
        truth, scores = _find_scores(material)
        chance = np.zeros(len(truth))
        found = estimate_auc(
            truth, chance, scores[CANDIDATE], material.blocks, level=level, margin=0.5 - policy.floor
        )
        value, reached = found.improvement + 0.5, found.improvement + 0.5 >= policy.floor
    else:
        losses = losses_of(material, CANDIDATE, metric, policy)
        found = estimate(np.full(len(losses), policy.floor), losses, material.blocks, level=level)
        value, reached = float(losses.mean()), found.improvement >= 0
    return _word_floor(found, metric, value, policy.floor, reached=reached)


def _word_floor(found: Estimate, metric: str, value: float, floor: float, *, reached: bool) -> GateResult:
    least = "least" if metric == ROC_AUC else "most"
    said = f"{WORDS[metric]} is {value:.4f}; the policy asks for {floor:g} at {least}"
    numbers: Mapping[str, Any] = {"metric": metric, "value": value, "floor": floor, "p_value": found.p_value}
    if found.p_value <= found.level:
        return GateResult("floor", "yes", f"{said}.", numbers=numbers)
    if reached:
        return GateResult("floor", "not_enough_data", f"{said}, but that may be chance.", numbers=numbers)
    return GateResult("floor", "no", f"{said}.", numbers=numbers)


assert set(LOSSES) | {ROC_AUC} == set(WORDS)  # a metric without words would be a stranger in every sentence
