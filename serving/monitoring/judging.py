"""Judges one window: did what came in drift, how good was every version, is the watched one worse?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from registry import MetricPolicy, MonitorPolicy, PredictionTable, choose_metric, format_time

from .drift import Drift, DriftRule, Sample, find_drift
from .findings import Finding
from .outcomes import Task, list_scores, read_answers, read_truth
from .quality import (
    Judged,
    Quality,
    compare_quality,
    estimate_quality,
    judge_rows,
    measure_quality,
)
from .reference import Reference
from .truths import Coverage, measure_coverage
from .windows import Window

__all__ = [
    "Baseline",
    "VersionLook",
    "find_baseline",
    "judge_drift",
    "judge_quality",
    "look_at_versions",
    "measure_scores",
    "pool",
]

WORDS: Final = {
    "log_loss": "log loss",
    "brier": "Brier score",
    "error": "error rate",
    "roc_auc": "ROC AUC",
    "squared_error": "mean squared error",
    "absolute_error": "mean absolute error",
    "pinball": "pinball loss",
}
ABSOLUTE_MARGIN: Final = 0.01
RELATIVE_MARGIN: Final = 0.02
"""What gates call an improvement worth a promotion, unless the policy says otherwise."""

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)

FEWEST_KNOWN: Final = 50
"""Rows with a truth below which a window's quality is not judged."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What live quality is measured in, and against.

    Attributes:
        metric: The metric.
        quantile: Which quantile is predicted (``pinball``).
        judged: The reference's own rows; None where nobody knows truth and answers.
        offset: What the reference's quality was beyond what its probabilities promised.
        margin: How much worse is still fine.
    """

    metric: str
    quantile: float
    judged: Judged | None
    offset: float
    margin: float


@dataclass(frozen=True, slots=True)
class VersionLook:
    """One version in one window, or in several.

    Attributes:
        version: Which.
        coverage: What is known of its predictions.
        quality: How good they were; None where no truth is known.
        estimated: How good they are if probabilities come true as they did on the reference; None without
            probabilities.
        judged: The rows behind the quality.
    """

    version: str
    coverage: Coverage
    quality: Quality | None
    estimated: float | None
    judged: Judged | None


def find_baseline(
    reference: Reference, live: pd.DataFrame, metric: MetricPolicy, margin: float | None
) -> Baseline:
    """Chooses the metric, and measures the reference by it.

    Args:
        reference: What the model is used to.
        live: Some of its live answers.
        metric: What the policy says of metrics.
        margin: ``monitor.margin``.

    Raises:
        DataError: The metric does not fit.
    """
    task = reference.task
    given = [frame for frame in (reference.answers, live) if len(frame.columns)]
    name = choose_metric(metric.name, task=task.kind, classes=task.classes, answers=given)
    judged = None
    if len(reference.answers.columns):
        judged = judge_rows(
            name, reference.truth, reference.answers, task, reference.blocks, quantile=metric.quantile
        )
    expected = estimate_quality(name, reference.answers, task)
    observed = judged.value if judged else None
    offset = observed - expected if observed is not None and expected is not None else 0.0
    if margin is None:
        margin = RELATIVE_MARGIN * abs(observed or 0.0) if task.kind == "regression" else ABSOLUTE_MARGIN
    return Baseline(name, metric.quantile, judged, offset, margin)


def judge_drift(
    reference: Reference, table: PredictionTable, version: str, window: Window, policy: MonitorPolicy
) -> tuple[Drift, Finding]:
    """Compares what a version was sent, and answered, in a window with the reference."""
    own = (table.meta["version"] == version).to_numpy()
    inputs = table.inputs[own]
    sample = Sample(
        inputs,
        list_scores(read_answers(table.outputs[own], reference.task), reference.task),
        reference.grouping.find_blocks(table.meta["time"][own], inputs) if own.any() else None,
    )
    rule = DriftRule(policy.level, policy.min_effect, policy.min_rows, policy.ignore)
    drift = find_drift(reference.sample, sample, rule)
    finding = Finding(
        kind="drift",
        since=format_time(window.since),
        until=format_time(window.until),
        verdict="bad" if drift.verdict == "drift" else drift.verdict,
        marks=drift.drifted,
        rows=drift.rows,
        reason=drift.reason,
        numbers={column.name: round(column.effect, 4) for column in drift.columns},
    )
    return drift, finding


def look_at_versions(
    reference: Reference, baseline: Baseline, table: PredictionTable
) -> tuple[VersionLook, ...]:
    """Every version that answered in the window, by number."""
    task = reference.task
    truth = read_truth(table.truth["truth"], task)
    blocks = reference.grouping.find_blocks(table.meta["time"], table.inputs) if len(table.meta) else None
    looks = []
    for version in sorted(table.meta["version"].unique(), key=_as_number):
        own = (table.meta["version"] == version).to_numpy()
        answers = read_answers(table.outputs[own].dropna(axis=1, how="all"), task)
        coverage = measure_coverage(
            times=table.meta["time"][own],
            truth=truth[own],
            truth_times=table.truth["truth_time"][own],
            answers=answers,
            task=task,
        )
        judged = judge_rows(
            baseline.metric,
            truth[own],
            answers,
            task,
            None if blocks is None else blocks[own],
            quantile=baseline.quantile,
        )
        expected = estimate_quality(baseline.metric, answers, task)
        estimated = None if expected is None else expected + baseline.offset
        quality = measure_quality(judged) if judged else None
        looks.append(VersionLook(str(version), coverage, quality, estimated, judged))
    return tuple(looks)


def judge_quality(
    baseline: Baseline, look: VersionLook | None, window: Window, policy: MonitorPolicy, *, is_last_call: bool
) -> Finding | None:
    """Whether a version's live quality is worse than on the reference, by more than the margin.

    Args:
        baseline: What it is measured against.
        look: The version in the window; None: it did not answer there.
        window: The window.
        policy: What counts.
        is_last_call: The window is judged with what is known, however little.

    Returns:
        None: its truth is still awaited.
    """
    known, share = (look.coverage.known, look.coverage.share) if look else (0, 0.0)
    if share < policy.truth_share and not is_last_call:
        return None
    worse, reason, numbers = False, _find_lack(baseline, look, share, policy), _list_numbers(look)
    if not reason and look and look.judged and baseline.judged:
        found = compare_quality(baseline.judged, look.judged, margin=baseline.margin, level=policy.level)
        worse = found.p_value <= policy.level
        if found.lower is None:
            reason = "one block of rows, or none, stands by itself: no telling how much is chance"
        else:
            words = (
                f"{WORDS[baseline.metric]} {_value(look):.4g}, {baseline.judged.value:.4g} on the reference"
            )
            reason = f"{words}: {'worse' if found.amount > 0 else 'no worse'} by {abs(found.amount):.4g}"
            return _make_finding(window, "bad" if worse else "quiet", known, reason, numbers)
    return _make_finding(window, "not_enough_data", known, reason, numbers)


def _find_lack(baseline: Baseline, look: VersionLook | None, share: float, policy: MonitorPolicy) -> str:
    if baseline.judged is None:
        return "the reference has no answers with truths to compare with"
    if look is None:
        return "it did not answer in this window"
    if look.coverage.known < FEWEST_KNOWN:
        return f"the truth of {look.coverage.known:,} predictions is known; {FEWEST_KNOWN} are needed"
    if share < policy.truth_share:
        return f"the truth of {share:.0%} is known; {policy.truth_share:.0%} are needed"
    return "" if look.judged else "the metric cannot be computed: all truths are alike"


def _list_numbers(look: VersionLook | None) -> dict[str, float]:
    if look is None:
        return {}
    found = {"estimated": look.estimated, "truth_share": look.coverage.share}
    if look.quality:
        quality = look.quality
        found |= {"value": quality.value, "lower": quality.lower, "upper": quality.upper}
    return {
        name: round(value, 6) for name, value in found.items() if value is not None and math.isfinite(value)
    }


def _make_finding(
    window: Window, verdict: Any, rows: int, reason: str, numbers: Mapping[str, float]
) -> Finding:
    since, until = format_time(window.since), format_time(window.until)
    marks = ("quality",) if verdict == "bad" else ()
    return Finding("quality", since, until, verdict, marks, rows, reason, numbers)


def _value(look: VersionLook) -> float:
    return look.quality.value if look.quality else math.nan


def measure_scores(answers: pd.DataFrame, task: Task) -> dict[str, tuple[float, ...]]:
    """Quantiles (5, 25, 50, 75, 95 %) of the answers that are numbers, by name."""
    found = {}
    for name, values in list_scores(answers, task).items():
        numbers = values.dropna()
        if len(numbers) and pd.api.types.is_numeric_dtype(numbers.dtype):
            found[str(name)] = tuple(map(float, np.quantile(numbers.to_numpy(dtype=np.float64), QUANTILES)))
    return found


def pool(looks: Sequence[VersionLook]) -> VersionLook:
    """One version over several windows. A ROC AUC is the mean of the windows' by their rows."""
    coverages = [look.coverage for look in looks]
    judged = [look.judged for look in looks if look.judged]
    losses = None
    if judged:
        blocks = [one.blocks for one in judged if one.blocks is not None]
        losses = Judged(
            judged[0].metric,
            np.concatenate([one.losses for one in judged]),
            np.concatenate(blocks) if len(blocks) == len(judged) else None,
        )
    return VersionLook(
        version=looks[-1].version,
        coverage=_pool_coverage(coverages),
        quality=measure_quality(losses) if losses else None,
        estimated=_average([(look.estimated, look.coverage.answered) for look in looks]),
        judged=losses,
    )


def _pool_coverage(parts: Sequence[Coverage]) -> Coverage:
    return Coverage(
        rows=sum(part.rows for part in parts),
        answered=sum(part.answered for part in parts),
        known=sum(part.known for part in parts),
        delay_s=_average([(part.delay_s, part.known) for part in parts]),
        late_s=max((part.late_s for part in parts if part.late_s is not None), default=None),
        warnings=parts[-1].warnings,
    )


def _average(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _as_number(version: Any) -> tuple[int, str]:
    text = str(version)
    return (int(text), "") if text.isdigit() else (1 << 62, text)
