"""What people read about a training: descriptions in the MLflow UI (Markdown) and the command's answer."""

from collections.abc import Mapping
from typing import Final

from .result import TrainingPlan, TrainingResult

__all__ = ["describe_run", "describe_version", "list_key_figures", "write_answer", "write_plan"]

KEY_FIGURES: Final = {
    "binary": (
        "roc_auc",
        "average_precision",
        "log_loss",
        "log_loss_of_mean",
        "brier",
        "accuracy",
        "base_rate",
    ),
    "multiclass": ("accuracy", "f1_macro", "log_loss", "log_loss_of_mean", "roc_auc_ovr", "base_rate"),
    "regression": ("rmse", "rmse_of_mean", "mae", "r2"),
}
MEANINGS: Final = {
    "roc_auc": "0.5 is chance, 1 is perfect",
    "log_loss": "lower is better",
    "log_loss_of_mean": "what the best constant answer scores",
    "rmse": "lower is better",
    "rmse_of_mean": "what the best constant answer scores",
    "base_rate": "share of the positive class, or of the largest one",
    "brier": "lower is better",
    "mean_cost": "of a row, with the threshold chosen",
    "mean_cost_at_half": "what it would be with a threshold of 0.5",
    "guard_refused": "share of the held-out rows answered: nothing found",
}
LAYER_FIGURES: Final = ("mean_cost", "mean_cost_at_half", "guard_refused")
"""Shown after the others, where there are such layers."""


def list_key_figures(task: str, metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """The metrics people ask for first, in that order."""
    return [(name, metrics[name]) for name in (*KEY_FIGURES[task], *LAYER_FIGURES) if name in metrics]


def describe_run(plan: TrainingPlan, metrics: Mapping[str, float]) -> str:
    """The run's description. MLflow renders bold and links, no tables."""
    spec, split = plan.job.spec, plan.split
    figures = list_key_figures(plan.target.task, metrics)
    lines = [f"**{spec.job.name}**: {spec.job.description or spec.model.estimator}", ""]
    lines += [f"- {name} **{value:.4f}**" + _explain(name) for name, value in figures]
    lines += [
        "",
        f"Learned from {len(split.train):,} rows of {plan.dataset.text}, judged on {len(split.evaluate):,}.",
    ]
    lines += [f"Split by {split.text}.", ""]
    lines += [f"**Careful:** {warning}" for warning in plan.warnings]
    lines += [f"Next: `promote-model {spec.job.name} --to staging`"]
    return "\n".join(lines)


def describe_version(
    plan: TrainingPlan, metrics: Mapping[str, float], experiment_id: str, run_id: str, sha256: str
) -> str:
    """The version's description, with a link to its run that works on any host."""
    link = f"#/experiments/{experiment_id}/runs/{run_id}"
    figures = ", ".join(
        f"{name} {value:.4f}" for name, value in list_key_figures(plan.target.task, metrics)[:4]
    )
    lines = [
        f"{figures}. Trained by [run {run_id[:8]}]({link}).",
        "",
        f"- **Data**: {plan.dataset.text}, {len(plan.dataset.frame):,} rows, sha256 `{sha256[:12]}…`",
        f"- **Split**: {plan.split.text}",
        f"- **Estimator**: `{plan.job.spec.model.estimator}`",
        f"- **Job**: [job.toml]({link}/artifacts/job.toml)",
    ]
    lines += [f"- **Careful**: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def write_answer(result: TrainingResult) -> str:
    """What ``train-model`` prints."""
    figures = list_key_figures(result.task, result.metrics)
    width = max(len(name) for name, _ in figures)
    lines = [f"  {name:<{width}}  {value:>9.4f}{_explain(name)}" for name, value in figures]
    lines += ["", f"{result.model} version {result.version} is a candidate; run {result.run_id}."]
    lines += [f"See {result.link}" if "://" in result.link else "Look at it: greenroom server"]
    lines += [f"Next: promote-model {result.model} --to staging"]
    return "\n".join(lines)


def write_plan(plan: TrainingPlan) -> str:
    """What ``train-model --dry-run`` prints."""
    spec, features = plan.job.spec, plan.features
    lines = [
        f"Would train {spec.job.name} in experiment {plan.job.experiment}; nothing was written.",
        f"  data       {plan.dataset.text}, {len(plan.dataset.frame):,} rows",
        f"  target     {plan.target.name} ({plan.target.task})",
        f"  features   {len(features.numeric)} numeric, {len(features.categorical)} categorical",
        f"  split      {plan.split.text}",
        f"  rows       {len(plan.split.train):,} to learn from, {len(plan.split.evaluate):,} to judge on",
        f"  estimator  {spec.model.estimator}",
    ]
    lines += [f"  lookup     {name}: {share:.1%} of the rows found" for name, share in features.matched]
    if spec.answer.learns:
        lines.append(
            f"  answers    fitted on {spec.answer.held_out:.0%} of the rows to learn from, held out for that"
        )
    if spec.guard is not None:
        lines.append(
            f"  guard      {spec.guard.false_refusal:.2%} of ordinary rows may be answered: nothing found"
        )
    if spec.search is not None:
        lines.append(f"  search     {spec.search.method}, {', '.join(spec.search.space)}")
    return "\n".join(lines)


def _explain(name: str) -> str:
    return f"  ({MEANINGS[name]})" if name in MEANINGS else ""
