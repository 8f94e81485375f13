"""Writes a training down: everything into the run first, the version last."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.pipeline import Pipeline

from registry import EvaluationRows, Tag, format_evaluation

from .fitting import make_row_layer
from .importance import measure_importance
from .package import write_package
from .provenance import measure_peak_memory_mb
from .record import (
    flatten_job,
    list_tags,
    make_dataset_record,
    write_evaluation_rows,
    write_job,
    write_pictures,
)
from .result import Trained, TrainingPlan, TrainingResult
from .texts import describe_run, describe_version
from .tracking import Tracker, TrainingRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["list_tags", "record_training", "register_training"]


def record_training(
    run: TrainingRun,
    plan: TrainingPlan,
    trained: Trained,
    get_digest: Callable[[], str],
    pool: ThreadPoolExecutor,
) -> str:
    """Stores files, model, data set, params, metrics and tags; returns a warning or nothing.

    Pictures are drawn in the pool while the model is being written.
    """
    spec = plan.job.spec
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        files, model = Path(scratch) / "run", Path(scratch) / "model"
        files.mkdir()
        drawing = pool.submit(_write_judgement, plan, trained, files)
        model_id = run.start_model(
            plan.job.name, spec.model.params | trained.fitted.params, {Tag.KIND: "training"}
        )
        package = write_package(model, plan, trained.fitted.pipeline, model_id=model_id, run_id=run.run_id)
        write_job(plan, trained.fitted, files)
        rows = drawing.result()
        run.upload(files, model)
    sha256 = get_digest()
    run.log_dataset(make_dataset_record(plan, sha256))
    run.log(
        params=flatten_job(plan, trained.fitted),
        metrics=trained.metrics | _measure_costs(plan),
        tags={
            Tag.DATA_SHA256: sha256,
            Tag.EVALUATION: format_evaluation(rows),
            "greenroom.serialization": package.serialization,
            "mlflow.note.content": describe_run(plan, trained.metrics),
        },
    )
    return package.warning


def register_training(
    tracker: Tracker, run: TrainingRun, plan: TrainingPlan, trained: Trained, sha256: str
) -> TrainingResult:
    """Makes the finished run's model a candidate version."""
    version = tracker.register(
        run,
        plan.job.name,
        {Tag.STAGE: "candidate", Tag.DATA_SHA256: sha256},
        describe_version(plan, trained.metrics, run.experiment_id, run.run_id, sha256),
        plan.job.spec.job.description,
    )
    steps: list[tuple[str, Any]] = [("rows", make_row_layer(plan.features)), *trained.fitted.pipeline.steps]
    return TrainingResult(
        model=plan.job.name,
        version=version.version,
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        metrics=trained.metrics,
        warnings=plan.warnings,
        link=tracker.link(f"/experiments/{run.experiment_id}/runs/{run.run_id}"),
        task=plan.target.task,
        pipeline=Pipeline(steps),
        durations_s=plan.durations_s,
    )


def _write_judgement(plan: TrainingPlan, trained: Trained, files: Path) -> EvaluationRows:
    """Evaluation rows, importances and pictures."""
    rows = write_evaluation_rows(plan, trained.outcome, files)
    importance = _measure_importance(plan, trained)
    if plan.job.spec.evaluation.plots:
        write_pictures(trained.outcome, importance, files)
    if importance is not None:
        importance.to_csv(files / "feature_importance.csv", index=False)
    return rows


def _measure_importance(plan: TrainingPlan, trained: Trained) -> "pd.DataFrame | None":
    section = plan.job.spec.evaluation.importance
    if section.rows == 0:
        return None
    return measure_importance(
        trained.fitted.pipeline,
        trained.features,
        trained.outcome,
        rows=section.rows,
        repeats=section.repeats,
        seed=plan.job.spec.job.seed,
    )


def _measure_costs(plan: TrainingPlan) -> dict[str, float]:
    """Seconds per step so far, peak memory, and how well the lookups matched."""
    costs = {f"duration_{step}_s": seconds for step, seconds in plan.durations_s.items()}
    costs["peak_memory_mb"] = measure_peak_memory_mb()
    for number, (_, share) in enumerate(plan.features.matched):
        costs[f"lookup_{number}_found"] = share
    return costs
