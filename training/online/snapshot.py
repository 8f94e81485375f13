"""A state of the stream as a candidate version: a run with a model, judged on rows it never learned from."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from registry import ModelVersion, NotFoundError, RegistryStore, format_time
from training.columns import convert_column
from training.contract import plan_contract
from training.dataset import Dataset, Target
from training.features import FeaturePlan
from training.fitting import answer, make_features
from training.job import ImportanceSection, Job
from training.metrics import measure
from training.record import list_tags
from training.recording import Recorder, register_training
from training.result import Fitted, Trained, TrainingPlan, TrainingResult
from training.split import Split
from training.tracking import Tracker, TrainingRun

from .run import GROUP, MOMENT, TRUTH
from .state import StreamState

__all__ = [
    "SNAPSHOT_TAG",
    "find_published",
    "format_moment",
    "is_ready",
    "name_snapshot",
    "plan_snapshot",
    "publish",
]

SNAPSHOT_TAG: Final = "greenroom.online_snapshot"
"""On a version and its run: the stream's run, and the number of the snapshot."""
WORKERS: Final = 3


def name_snapshot(run_id: str, number: int) -> str:
    """What the tag says."""
    return f"{run_id}/{number}"


def format_moment(ns: int) -> str:
    """A moment of the stream, RFC 3339."""
    return format_time(pd.Timestamp(ns, unit="ns", tz="UTC").to_pydatetime(warn=False))


def find_published(store: RegistryStore, model: str, run_id: str, number: int) -> ModelVersion | None:
    """The version made of a snapshot; None if there is none."""
    wanted = name_snapshot(run_id, number)
    try:
        versions = store.list_versions(model)
    except NotFoundError:
        return None
    return next((one for one in versions if one.tags.get(SNAPSHOT_TAG) == wanted), None)


def is_ready(state: StreamState) -> bool:
    """Whether there are held-out rows to judge a version by: of classes, at least two."""
    needed = 2 if state.learner.classes else 1
    return state.held[TRUTH].nunique() >= needed and len(state.held) > 1


def publish(
    tracker: Tracker, job: Job, features: FeaturePlan, stream: TrainingRun, state: StreamState
) -> TrainingResult:
    """Writes a snapshot down as a run, and registers its version when everything is stored.

    Args:
        tracker: MLflow.
        job: The job.
        features: What the model looks at.
        stream: The stream's run, whose child it becomes.
        state: At a snapshot, and ready.

    Raises:
        DataError: Rows break the contract, and the job refuses such rows.
        UnreachableError: MLflow gives no answer.
    """
    plan = plan_snapshot(job, features, state)
    mark = {SNAPSHOT_TAG: name_snapshot(stream.run_id, state.number)}
    tags = {**list_tags(plan), **mark, "mlflow.runName": f"snapshot {state.number}"}
    fitted = Fitted(state.learner.pipeline)
    with (
        tracker.open_run("", tags, parent=stream) as run,
        ThreadPoolExecutor(WORKERS) as pool,
        Recorder(run, plan, pool) as recorder,
    ):
        recorder.start_package(fitted)
        judge = make_features(plan, plan.rows.iloc[plan.split.evaluate])
        truth = plan.target.truth.iloc[plan.split.evaluate].to_numpy()
        outcome = answer(fitted.pipeline, judge, truth, plan)
        trained = Trained(fitted, outcome, judge, measure(outcome))
        record = recorder.finish(trained)
    return register_training(tracker, run, record, trained, mark)


def plan_snapshot(job: Job, features: FeaturePlan, state: StreamState) -> TrainingPlan:
    """The snapshot as if it had been trained: recent rows were learned from, held-out rows judge it."""
    kept = pd.concat([state.recent, state.held], ignore_index=True)
    spec, text = job.spec, f"the stream's {state.learned:,} events"
    rows = pd.DataFrame(
        {column.name: convert_column(kept[column.name], column.type, text) for column in features.raw}
    )
    task: Any = state.learner.task
    target = Target(spec.data.target, task, kept[TRUTH], state.learner.classes)
    frame = kept.drop(columns=[TRUTH, MOMENT, GROUP]).assign(**{spec.data.target: kept[TRUTH]})
    places = np.arange(len(kept))
    grouped = bool((kept[GROUP] != "").any())
    moment = format_moment(state.position)
    split = Split(
        train=places[: len(state.recent)],
        evaluate=places[len(state.recent) :],
        groups=kept[GROUP] if grouped else None,
        moments=pd.Series(pd.to_datetime(kept[MOMENT].to_numpy())),
        text=f"online: {state.learned:,} events until {moment}, judged on {len(state.held):,} held out",
    )
    quiet = spec.evaluation.model_copy(update={"importance": ImportanceSection(rows=0)})
    job = replace(job, spec=spec.model_copy(update={"evaluation": quiet}))
    contract = plan_contract(job.spec, features, rows, split, text)
    warnings = (contract.warning,) if contract and contract.warning else ()
    dataset = Dataset(frame, text, "memory")
    return TrainingPlan(job, dataset, target, features, rows, split, warnings, {}, contract)
