"""Writes a training down: everything into the run first, the version last."""

import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sklearn.pipeline import Pipeline

from registry import EvaluationRows, Tag, compute_table_digest, format_evaluation

from .fitting import make_row_layer
from .importance import measure_importance
from .layer_figures import draw_layers
from .package import Package, write_package
from .plots import draw_importance, draw_outcome
from .provenance import measure_peak_memory_mb
from .record import (
    flatten_job,
    list_tags,
    list_warnings,
    make_dataset_record,
    write_evaluation_rows,
    write_job,
    write_pictures,
)
from .result import Fitted, Trained, TrainingPlan, TrainingResult
from .texts import describe_run, describe_version
from .tracking import Tracker, TrainingRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Record", "Recorder", "list_tags", "register_training"]


@dataclass(frozen=True, slots=True)
class Record:
    """What was written down.

    Attributes:
        plan: With every warning.
        sha256: Of the data.
        warning: What the artifact's form should make a person think about; may be empty.
    """

    plan: TrainingPlan
    sha256: str
    warning: str


class Recorder:
    """Writes one training into its run, as early as the facts are known and beside the work itself.

    Args:
        run: Open.
        plan: The job and its data; its digest is computed from now on.
        pool: Threads. It must be closed after the recorder, so that nobody writes into a removed folder.
    """

    def __init__(self, run: TrainingRun, plan: TrainingPlan, pool: Executor) -> None:
        self._run, self._plan, self._pool = run, plan, pool
        self._folder = tempfile.TemporaryDirectory(prefix="greenroom-")
        self._digest = pool.submit(compute_table_digest, plan.dataset.frame)
        self._package: Future[Package] | None = None
        self._tasks: list[Future[Any]] = [self._digest]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait(self._tasks)
        self._folder.cleanup()

    def start_package(self, fitted: Fitted) -> None:
        """Begins to write and store the artifact, while the model is being judged."""
        spec = self._plan.job.spec
        model_id = self._run.start_model(
            self._plan.job.name, spec.model.params | fitted.params, {Tag.KIND: "training"}
        )
        folder = Path(self._folder.name) / "model"
        ids = {"model_id": model_id, "run_id": self._run.run_id}

        def store() -> Package:
            package = write_package(folder, self._plan, fitted, **ids)
            self._run.upload_model(package.folder)
            return package

        self._package = self._pool.submit(store)
        self._tasks.append(self._package)

    def finish(self, trained: Trained) -> Record:
        """Stores files, data set, params, metrics and tags; pictures are drawn while the server writes."""
        assert self._package is not None, "start_package comes first"
        plan, files = self._plan, Path(self._folder.name) / "run"
        files.mkdir()
        importing = self._pool.submit(_measure_importance, plan, trained)
        rows = write_evaluation_rows(plan, trained.outcome, files)
        logging = self._pool.submit(self._log, trained, rows)
        self._tasks += [importing, logging]
        write_job(plan, trained.fitted, files)
        self._draw(trained, importing, files)
        record = logging.result()
        self._run.upload(files)
        self._run.finish_model()
        return record

    def _log(self, trained: Trained, rows: EvaluationRows) -> Record:
        assert self._package is not None
        package, sha256, plan = self._package.result(), self._digest.result(), self._plan
        if package.warning:
            plan = replace(plan, warnings=(*plan.warnings, package.warning))
        self._run.log_dataset(make_dataset_record(plan, sha256))
        self._run.log(
            params=flatten_job(plan, trained.fitted),
            metrics=trained.metrics | _measure_costs(plan),
            tags={
                Tag.DATA_SHA256: sha256,
                Tag.EVALUATION: format_evaluation(rows),
                "greenroom.serialization": package.serialization,
                "mlflow.note.content": describe_run(plan, trained.metrics),
                **list_warnings(plan),
            },
        )
        return Record(plan, sha256, package.warning)

    def _draw(self, trained: Trained, importing: "Future[pd.DataFrame | None]", files: Path) -> None:
        plan, outcome = self._plan, trained.outcome
        if plan.job.spec.evaluation.plots:
            write_pictures(draw_outcome(outcome, plan.target.name), files)
            write_pictures(draw_layers(plan, trained), files)
        importance = importing.result()
        if importance is None:
            return
        importance.to_csv(files / "feature_importance.csv", index=False)
        if plan.job.spec.evaluation.plots:
            write_pictures(draw_importance(importance, outcome), files)


def register_training(
    tracker: Tracker,
    run: TrainingRun,
    record: Record,
    trained: Trained,
    tags: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Makes the finished run's model a candidate version; ``tags`` go on the version in the same call."""
    plan = record.plan
    version = tracker.register(
        run,
        plan.job.name,
        {Tag.STAGE: "candidate", Tag.DATA_SHA256: record.sha256, **(tags or {})},
        describe_version(plan, trained.metrics, run.experiment_id, run.run_id, record.sha256),
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
