"""What an average hides: a slice of the rows that got worse, probabilities that do not come true."""

from dataclasses import asdict
from typing import Any, Final

from registry.errors import DataError
from registry.policy import Policy
from registry.prediction import PROBABILITY

from .calibration import measure_calibration, pick_top_label
from .losses import place_classes
from .material import CANDIDATE, HOLDER, Material
from .metric import ROC_AUC, WORDS, find_metric, losses_of
from .slices import SliceResult, compare_slices
from .verdict import GateResult

__all__ = ["judge_calibration", "judge_slices"]

MAX_NAMED: Final = 5

CHANCE: Final = 0.05
"""Level at which probabilities are said not to come true."""


def judge_slices(material: Material, policy: Policy) -> GateResult:
    """None of the slices may be shown to be worse than its margin; corrected for their number.

    A slice with few rows cannot be shown to be worse: it is named, and does not decide. Where the metric is
    the ROC AUC, slices are compared by log loss.

    Raises:
        DataError: A row's target or answer is missing.
    """
    metric = find_metric(material, policy.metric)
    metric = "log_loss" if metric == ROC_AUC else metric
    losses = {who: losses_of(material, who, metric, policy.metric) for who in (HOLDER, CANDIDATE)}
    found = compare_slices(
        losses[HOLDER],
        losses[CANDIDATE],
        {name: material.rows[name].astype(str).to_numpy() for name in policy.slices.columns},
        material.blocks,
        level=policy.alpha,
        margin=policy.slices.margin,
        min_rows=policy.slices.min_rows,
    )
    return _word_slices(found, metric, policy.slices.margin)


def _word_slices(found: tuple[SliceResult, ...], metric: str, margin: float) -> GateResult:
    worse = [one for one in found if one.verdict == "worse"]
    few = [one for one in found if one.verdict == "too_few_rows"]
    numbers: dict[str, Any] = {
        "metric": metric,
        "margin": margin,
        "count": len(found),
        "worse": len(worse),
        "slices": [{"name": f"{one.column} = {one.value}", **asdict(one)} for one in found],
    }
    have = "has" if len(few) == 1 else "have"
    rest = f" {len(few)} of {len(found)} slices {have} too few rows to say." if few else ""
    if not worse:
        allowed = f" by more than {margin:g}" if margin else ""
        reason = f"None of {len(found) - len(few)} slices is shown to be worse{allowed}.{rest}"
        return GateResult("slices", "yes", reason, numbers=numbers)
    named = "; ".join(
        f"{one.column} = {one.value}: {WORDS[metric]} {-one.improvement:+.4f} ({one.rows:,} rows)"
        for one in sorted(worse, key=lambda one: one.improvement)[:MAX_NAMED]
    )
    more = f", and {len(worse) - MAX_NAMED} more" if len(worse) > MAX_NAMED else ""
    return GateResult("slices", "no", f"It got worse for {named}{more}.{rest}", numbers=numbers)


def judge_calibration(material: Material, max_error: float) -> GateResult:
    """The candidate's expected calibration error, freed of what chance adds, against the largest allowed.

    Refused where it is too large, and where that is no chance (slope and intercept are not 1 and 0 either).
    Of more than two classes the likeliest one is looked at.

    Raises:
        DataError: The candidate answers without probabilities.
    """
    answers = material.answers[CANDIDATE]
    names = [str(value) for value in material.classes]
    columns = [PROBABILITY + name for name in names]
    if not names or not all(column in answers for column in columns):
        raise DataError("The candidate answers without probabilities: they cannot be said to come true.")
    truth, table = place_classes(material.rows[material.target], names), answers[columns].to_numpy()
    two = len(names) == 2  # noqa: PLR2004 - of two classes one probability says all
    happened, sure = (truth == 1, table[:, 1]) if two else pick_top_label(truth, table)
    found = measure_calibration(happened, sure, material.blocks)
    numbers = {name: value for name, value in asdict(found).items() if name != "bins"} | {
        "max_error": max_error
    }
    shape = f"slope {found.slope:.2f}, intercept {found.intercept:+.2f}"
    said = (
        f"Probabilities are off by {found.ece:.3f} ({shape}, {found.rows:,} rows); {max_error:g} is allowed"
    )
    if found.ece <= max_error:
        return GateResult("calibration", "yes", f"{said}.", numbers=numbers)
    if found.p_value > CHANCE:
        reason = f"{said}, but with so few rows that may be chance (p = {found.p_value:.2g})."
        return GateResult("calibration", "not_enough_data", reason, numbers=numbers)
    return GateResult("calibration", "no", f"{said}.", numbers=numbers)
