"""Drives a stream: takes it up where it was left, feeds it, keeps its states, makes its snapshots versions.

A snapshot is first committed as a state, then published as a version, then promoted if the gates say yes.
Killed in between, the next trainer finds the state and does the rest: no version is half made, or made twice.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from registry import (
    DataError,
    GreenroomError,
    Policy,
    RegistryStore,
    Settings,
    SystemClock,
    Tag,
    UsageError,
    get_user_name,
    open_store,
    read_settings,
)
from training.job import AnswerSection, Job
from training.tracking import Tracker, TrainingRun

from .amount import parse_duration
from .engine import Engine, find_start
from .keeping import Keeper
from .learner import check_estimator
from .logsource import LogSource, is_log
from .pace import Pace
from .publishing import Publisher
from .result import OnlinePlan, OnlineResult, Snapshot
from .snapshot import format_moment
from .source import Bookmark, EventSource, TableSource, get_online
from .state import StreamState

__all__ = ["OnlinePlan", "OnlineResult", "Snapshot", "plan_online", "train_online"]

Progress = Callable[[str], None]


def plan_online(job: Job) -> OnlinePlan:
    """Reads and checks everything; writes nothing. Raises as :func:`train_online` does."""
    source = open_source(job, is_classifier=_check(job))
    events = source.read(Bookmark(), (), -1)
    moment = find_start(events, Pace.of_job(job))
    return OnlinePlan(
        model=job.name,
        text=source.text,
        task=source.kind[0],
        features=len(source.features.names),
        events=len(events),
        held=int(events.held.sum()),
        warmup=get_online(job).warmup,
        begins=format_moment(moment) if moment is not None else "",
    )


def train_online(
    job: Job,
    *,
    settings: Settings | None = None,
    promote_to: str | None = None,
    policy: Policy | None = None,
    until_end: bool = False,
    progress: Progress = lambda _: None,
) -> OnlineResult:
    """Takes the job's stream up where it was left, and drives it to its end; a log has none unless asked.

    Args:
        job: The job; its section ``online``.
        settings: Where MLflow is; read from the environment if None.
        promote_to: ``staging`` or ``production``: ask the gates for each snapshot.
        policy: What these ask; None: the defaults, and the ROC AUC where there are two classes with
            probabilities: labels that are wrong at random do not deceive it as they do the log loss.
        until_end: Stop when all events that are known now were played.
        progress: Is told what is going on.

    Raises:
        UsageError: The job is written wrongly, or the stream was begun by another one.
        DataError: The events cannot be used as asked.
        ConflictError: Another trainer drives this stream.
        UnreachableError: A data source or MLflow gives no answer; start again later.
    """
    settings = settings or read_settings()
    is_classifier = _check(job)
    progress("reading the events")
    source = open_source(job, is_classifier=is_classifier)
    driver = _Driver(job, source, settings, promote_to=promote_to, policy=policy, progress=progress)
    return driver.drive(until_end=until_end)


def open_source(job: Job, *, is_classifier: bool) -> EventSource:
    """The job's events: a prediction log, or a table."""
    if is_log(job.spec.data.source):
        return LogSource(job, is_classifier=is_classifier)
    return TableSource(job, is_classifier=is_classifier)


def _check(job: Job) -> bool:
    for section, given in (
        ("answer", job.spec.answer != AnswerSection()),
        ("guard", job.spec.guard is not None),
    ):
        if given:
            raise UsageError(
                f"[{section}] does not go with --online.", hint="Train such models from a table."
            )
    return check_estimator(job.spec)


def compute_job_digest(job: Job) -> str:
    """sha256 over what of a job a state depends on; where the rows are is not part of it."""
    spec = json.loads(job.spec.model_dump_json())
    online = get_online(job)
    kept = {
        "name": job.name,
        "seed": spec["job"]["seed"],
        "data": {key: spec["data"][key] for key in ("target", "task", "time", "types", "missing_target")},
        "group": spec["split"]["group"],
        "features": spec["features"],
        "model": {key: spec["model"][key] for key in ("estimator", "params")},
        "online": [online.available, online.warmup, online.step, online.holdout, online.classes],
    }
    for lookup in kept["features"]["lookup"]:
        lookup.update(source="", query="", args={})
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class _Driver:
    """One trainer of one stream."""

    def __init__(
        self,
        job: Job,
        source: EventSource,
        settings: Settings,
        *,
        promote_to: str | None,
        policy: Policy | None,
        progress: Progress,
    ) -> None:
        self._job, self._source, self._settings, self._progress = job, source, settings, progress
        self._tracker = Tracker(settings)
        self._store: RegistryStore = open_store(settings)
        self._publisher = Publisher(
            job,
            source,
            store=self._store,
            tracker=self._tracker,
            settings=settings,
            promote_to=promote_to,
            policy=policy,
            progress=progress,
        )
        self._stream = get_online(job).stream
        self._snapshots: list[Snapshot] = []

    def drive(self, *, until_end: bool) -> OnlineResult:
        keeper = Keeper(self._store, self._settings, model=self._job.name, stream=self._stream)
        with keeper.claim(compute_job_digest(self._job), self._begin_run):
            run = self._tracker.resume_run(keeper.kept.run_id)
            status = "FAILED"
            try:
                result = self._play(keeper, run, until_end=until_end)
                status = "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                self._close(run, status)
        return result

    def _close(self, run: TrainingRun, status: str) -> None:
        try:
            self._store.finish_run(run.run_id, status)
        except GreenroomError:
            if status == "FINISHED":
                raise

    def _begin_run(self) -> str:
        experiment_id = self._tracker.find_experiment(self._job.experiment)
        tags = {
            Tag.KIND: "online",
            "greenroom.model": self._job.name,
            "mlflow.user": get_user_name(),
            "mlflow.source.name": self._job.path.name if self._job.path else "Job.from_frame",
        }
        return self._store.create_run(experiment_id, f"stream {self._stream}", tags).run_id

    def _play(self, keeper: Keeper, run: TrainingRun, *, until_end: bool) -> OnlineResult:
        state = keeper.load()
        engine = Engine(self._job, self._source, state and replace(state, scores=state.scores.iloc[:0]))
        if state is not None:
            self._snapshots.append(self._publisher.publish(run, state))
        clock, poll_s = SystemClock(), parse_duration(get_online(self._job).poll, "online.poll") / 1e9
        while True:
            for due in engine.feed(self._read(engine.state)):
                keeper.commit(due)
                self._snapshots.append(self._publisher.publish(run, due))
            if until_end or not self._source.is_endless:
                break
            self._tell(engine.state)
            clock.sleep(poll_s)
        last = engine.finish()
        if last is not None:
            keeper.commit(last)
            self._snapshots.append(self._publisher.publish(run, last))
        if engine.state is None:
            raise DataError(
                f"{self._source.text} has too few events with a known truth to begin: the warm-up takes "
                f"{engine.warmup}.",
                hint="Shorten online.warmup, or wait for more.",
            )
        return self._conclude(run, engine.state)

    def _read(self, state: StreamState | None) -> Any:
        if state is None:
            return self._source.read(Bookmark(), (), -1)
        return self._source.read(state.bookmark, state.pending.keys.tolist(), state.position)

    def _tell(self, state: StreamState | None) -> None:
        if state is None:
            self._progress("waiting for the warm-up to be complete")
        else:
            self._progress(f"{state.known:,} truths, {state.learned:,} events learned; waiting for more")

    def _conclude(self, run: TrainingRun, state: StreamState) -> OnlineResult:
        return OnlineResult(
            model=self._job.name,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            scored=state.scored,
            known=state.known,
            learned=state.learned,
            pending=len(state.pending.keys),
            figures=dict(state.points[-1].figures) if state.points else {},
            snapshots=tuple(self._snapshots),
            link=self._tracker.link(f"/experiments/{run.experiment_id}/runs/{run.run_id}"),
        )
