"""Drives a stream: takes it up where it was left, feeds it, keeps its states, makes its snapshots versions.

A snapshot is first committed as a state, then published as a version, then promoted if the gates say yes.
Killed in between, the next trainer finds the state and does the rest: no version is half made, or made twice.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from registry import (
    PRODUCTION,
    STAGING,
    DataError,
    GreenroomError,
    Outcome,
    Policy,
    PromotionRequest,
    RegistryStore,
    Settings,
    SystemClock,
    Tag,
    UnreachableError,
    UsageError,
    get_user_name,
    open_ledger,
    open_store,
    promote,
    read_settings,
)
from training.job import AnswerSection, Job
from training.record import write_pictures
from training.tracking import Tracker, TrainingRun

from .amount import parse_duration
from .engine import Engine, find_start
from .keeping import Keeper
from .learner import check_estimator
from .logsource import LogSource, is_log
from .pace import Pace
from .plots import draw_curves
from .quality import Reading
from .snapshot import SNAPSHOT_TAG, find_published, format_moment, is_ready, name_snapshot, publish
from .source import Bookmark, EventSource, TableSource, get_online
from .state import StreamState

__all__ = ["OnlinePlan", "OnlineResult", "Snapshot", "plan_online", "train_online"]

PROMOTION_TAG: Final = "greenroom.online_promotion"
"""On a snapshot's version: which stage it was proposed for, and what the gates said."""
MAX_TAG: Final = 2_000
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that this trainer published.

    Attributes:
        number: From 1.
        version: The version made of it; None: there were no held-out rows yet to judge it by.
        run_id: Its run.
        verdicts: Stage → what the gates said, where promotion was asked for.
    """

    number: int
    version: str | None
    run_id: str | None
    verdicts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """Where a stream was left.

    Attributes:
        model: The registered model's name.
        run_id: The stream's run.
        experiment_id: Its experiment.
        scored: Events scored, over the stream's whole life.
        known: Truths of these that arrived.
        learned: Events learned from.
        pending: Events whose truth is awaited.
        figures: Of the window, by name.
        snapshots: Those made by this trainer, in order.
        link: The run's page in the MLflow UI.
    """

    model: str
    run_id: str
    experiment_id: str
    scored: int
    known: int
    learned: int
    pending: int
    figures: dict[str, Reading]
    snapshots: tuple[Snapshot, ...]
    link: str


@dataclass(frozen=True, slots=True)
class OnlinePlan:
    """What a stream would be, if it began now.

    Attributes:
        model: The registered model's name.
        text: What the source is.
        task: What is predicted.
        features: How many features there are.
        events: Known by now.
        held: Of these, held out.
        warmup: What the stream needs before it begins.
        begins: When it would (RFC 3339, UTC); empty: not yet.
    """

    model: str
    text: str
    task: str
    features: int
    events: int
    held: int
    warmup: str
    begins: str


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
        policy: What these ask.
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
    driver = _Driver(
        job, source, settings, promote_to=promote_to, policy=policy or Policy(), progress=progress
    )
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
        policy: Policy,
        progress: Progress,
    ) -> None:
        self._job, self._source, self._settings = job, source, settings
        self._promote_to, self._policy, self._progress = promote_to, policy, progress
        self._tracker = Tracker(settings)
        self._store: RegistryStore = open_store(settings)
        self._stream = get_online(job).stream
        self._snapshots: list[Snapshot] = []
        self._logged = 0

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
        engine = Engine(self._job, self._source, state)
        if state is not None:
            self._publish(run, state)
        clock, poll_s = SystemClock(), parse_duration(get_online(self._job).poll, "online.poll") / 1e9
        while True:
            for due in engine.feed(self._read(engine.state)):
                keeper.commit(due)
                self._publish(run, due)
            if until_end or not self._source.is_endless:
                break
            self._tell(engine.state)
            clock.sleep(poll_s)
        last = engine.finish()
        if last is not None:
            keeper.commit(last)
            self._publish(run, last)
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

    def _publish(self, run: TrainingRun, state: StreamState) -> None:
        """Curves, version, promotion: each only if it is not there yet."""
        self._progress(f"snapshot {state.number}: {state.learned:,} events learned")
        self._log_curves(run, state)
        name = self._job.name
        found = find_published(self._store, name, run.run_id, state.number)
        if found is None and not is_ready(state):
            self._snapshots.append(Snapshot(state.number, None, None))
            return
        if found is None:
            self._tracker.close_leftovers(
                run.experiment_id, SNAPSHOT_TAG, name_snapshot(run.run_id, state.number)
            )
            made = publish(self._tracker, self._job, self._source.features, run, state)
            snapshot, said = Snapshot(state.number, made.version, made.run_id), False
        else:
            snapshot = Snapshot(state.number, found.version, found.run_id)
            said = PROMOTION_TAG in found.tags
        if self._promote_to and not said and snapshot.version is not None:
            snapshot = replace(snapshot, verdicts=self._promote(snapshot.version))
        self._snapshots.append(snapshot)

    def _log_curves(self, run: TrainingRun, state: StreamState) -> None:
        if not state.points:
            return
        lines = [
            (f"prequential_{name}{end}", value, point.moment // 1_000_000, point.known)
            for point in state.points
            if point.known > self._logged
            for name, reading in point.figures.items()
            for end, value in (("", reading.value), ("_low", reading.low), ("_high", reading.high))
            if value == value  # noqa: PLR0124 - an interval may be unknown
        ]
        run.log_curves(lines)
        self._logged = state.points[-1].known
        if self._job.spec.evaluation.plots:
            with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
                by_time = self._job.spec.data.time is not None or self._source.is_endless
                window = get_online(self._job).window
                write_pictures(draw_curves(state.points, window, by_time=by_time), Path(folder))
                self._store.upload(run.run_id, folder)

    def _promote(self, version: str) -> dict[str, str]:
        """Asks the gates, stage by stage; a refusal is an answer, and the stream goes on."""
        ledger = open_ledger(self._job.name, settings=self._settings, store=self._store)
        verdicts: dict[str, str] = {}
        for stage in (STAGING, PRODUCTION)[: 1 if self._promote_to == STAGING else 2]:
            request = PromotionRequest(
                self._job.name, stage, version, self._policy, reason=f"online, stream {self._stream}"
            )
            try:
                outcome = promote(ledger, request, progress=self._progress)
                verdicts[stage] = _word(outcome)
            except UnreachableError:
                raise
            except GreenroomError as error:
                verdicts[stage] = f"refused: {error.what}"
            if not verdicts[stage].startswith("yes"):
                break
        said = json.dumps(verdicts, ensure_ascii=False)[:MAX_TAG]
        self._store.set_version_tag(self._job.name, version, PROMOTION_TAG, said)
        return verdicts

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


def _word(outcome: Outcome) -> str:
    """The verdict, and the gate that it comes from."""
    decisive = next((gate for gate in outcome.gates if gate.verdict != "yes"), None)
    decisive = decisive or next((gate for gate in outcome.gates if gate.name == "metric"), None)
    return f"{outcome.verdict}: {decisive.reason}" if decisive else str(outcome.verdict)
