"""Makes a committed snapshot public: curves and scores on the stream's run, a version, the gates' answer."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from registry import (
    PRODUCTION,
    STAGING,
    GreenroomError,
    MetricPolicy,
    Outcome,
    Policy,
    PromotionRequest,
    RegistryStore,
    Settings,
    UnreachableError,
    open_ledger,
    promote,
)
from training.job import Job
from training.record import write_pictures
from training.tracking import Tracker, TrainingRun

from .plots import draw_curves
from .result import Snapshot
from .snapshot import SNAPSHOT_TAG, find_published, is_ready, name_snapshot, publish
from .source import EventSource, get_online
from .state import StreamState

__all__ = ["Publisher", "choose_policy"]

PROMOTION_TAG: Final = "greenroom.online_promotion"
"""On a snapshot's version: which stage it was proposed for, and what the gates said."""
MAX_TAG: Final = 2_000
SCORES_PATH: Final = "scores/{number:05d}.parquet"


class Publisher:
    """Publishes the snapshots of one stream; what was published already is left as it is.

    Args:
        job: The job.
        source: Where its events are from.
        store: MLflow.
        tracker: The same, for runs.
        settings: Where it is.
        promote_to: The stage that snapshots are proposed for; None: none.
        policy: What gates ask; None: see :func:`choose_policy`.
        progress: Is told what is going on.
    """

    def __init__(
        self,
        job: Job,
        source: EventSource,
        *,
        store: RegistryStore,
        tracker: Tracker,
        settings: Settings,
        promote_to: str | None,
        policy: Policy | None,
        progress: Callable[[str], None],
    ) -> None:
        self._job, self._features, self._is_log = job, source.features, source.is_endless
        self._store, self._tracker, self._settings = store, tracker, settings
        self._promote_to, self._policy, self._progress = promote_to, policy, progress
        self._logged = 0

    def publish(self, run: TrainingRun, state: StreamState) -> Snapshot:
        """Curves, version, promotion: each only if it is not there yet."""
        self._progress(f"snapshot {state.number}: {state.learned:,} events learned")
        self._log_curves(run, state)
        self._upload(run, state)
        name = self._job.name
        found = find_published(self._store, name, run.run_id, state.number)
        if found is None and not is_ready(state):
            return Snapshot(state.number, None, None)
        if found is None:
            self._tracker.close_leftovers(
                run.experiment_id, SNAPSHOT_TAG, name_snapshot(run.run_id, state.number)
            )
            made = publish(self._tracker, self._job, self._features, run, state)
            snapshot, said = Snapshot(state.number, made.version, made.run_id), False
        else:
            snapshot = Snapshot(state.number, found.version, found.run_id)
            said = PROMOTION_TAG in found.tags
        if self._promote_to and not said and snapshot.version is not None:
            policy = self._policy or choose_policy(state)
            return replace(snapshot, verdicts=self._promote(snapshot.version, policy))
        return snapshot

    def _log_curves(self, run: TrainingRun, state: StreamState) -> None:
        lines = [
            (f"prequential_{name}{end}", value, point.moment // 1_000_000, point.known)
            for point in state.points
            if point.known > self._logged
            for name, reading in point.figures.items()
            for end, value in (("", reading.value), ("_low", reading.low), ("_high", reading.high))
            if value == value  # noqa: PLR0124 - an interval may be unknown
        ]
        run.log_curves(lines)
        self._logged = state.points[-1].known if state.points else 0

    def _upload(self, run: TrainingRun, state: StreamState) -> None:
        """Every score with its truth, and the picture of the curves."""
        with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
            if len(state.scores):
                path = Path(folder) / SCORES_PATH.format(number=state.number)
                path.parent.mkdir()
                state.scores.to_parquet(path, index=False)
            if self._job.spec.evaluation.plots and state.points:
                by_time = self._job.spec.data.time is not None or self._is_log
                window = get_online(self._job).window
                write_pictures(draw_curves(state.points, window, by_time=by_time), Path(folder))
            if any(Path(folder).iterdir()):
                self._store.upload(run.run_id, folder)

    def _promote(self, version: str, policy: Policy) -> dict[str, str]:
        """Asks the gates, stage by stage; a refusal is an answer, and the stream goes on."""
        ledger = open_ledger(self._job.name, settings=self._settings, store=self._store)
        verdicts: dict[str, str] = {}
        for stage in (STAGING, PRODUCTION)[: 1 if self._promote_to == STAGING else 2]:
            request = PromotionRequest(
                self._job.name,
                stage,
                version,
                policy,
                reason=f"online, stream {get_online(self._job).stream}",
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


def choose_policy(state: StreamState) -> Policy:
    """What gates ask of a snapshot without a policy.

    Labels that are wrong at random make a model less sure, and the log loss by such labels praises that; they
    do not change which of two rows should rank higher. Measured: ``benchmarks/bench_online.py``.
    """
    ranks = state.learner.task == "binary" and state.learner.has_probability
    return Policy(metric=MetricPolicy(name="roc_auc")) if ranks else Policy()


def _word(outcome: Outcome) -> str:
    """The verdict, and the gate that it comes from."""
    decisive = next((gate for gate in outcome.gates if gate.verdict != "yes"), None)
    decisive = decisive or next((gate for gate in outcome.gates if gate.name == "metric"), None)
    return f"{outcome.verdict}: {decisive.reason}" if decisive else str(outcome.verdict)
