"""One training of a schedule: its job read anew, its run opened before anything fails, its version promoted.

The run is there from the beginning, tagged with its slot, so a refused job or a killed process can be seen in
MLflow as a run that FAILED or was KILLED, with the reason.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from registry import (
    PRODUCTION,
    STAGING,
    GreenroomError,
    Outcome,
    PromotionRequest,
    RegistryStore,
    Settings,
    Tag,
    UnreachableError,
    format_time,
    open_ledger,
    promote,
    read_policy,
)

from .job import Job
from .jobfile import read_job
from .progress import Progress
from .pulse import Pulse
from .result import TrainingResult
from .scheduler import Cause, Ending
from .tracking import REASON_TAG, Tracker
from .trainer import train

__all__ = ["Periodic"]

MAX_REASON: Final = 900
"""Characters of a training's cause in a promotion's entry."""


@dataclass(slots=True)
class Periodic:
    """A :class:`~training.scheduler.Runner` that trains a job file.

    Attributes:
        path: The job file; read again for every training, so an edited one counts from then on.
        overrides: ``--set``.
        settings: Where MLflow is.
        store: The same, opened.
        to: The stage to promote to; None: the version stays a candidate.
        policy: The policy file for it.
        make_progress: Shows a training's course.
        open_engine: Opens where a training computes.
    """

    path: Path
    overrides: Sequence[str]
    settings: Settings
    store: RegistryStore
    to: str | None
    policy: Path | None
    make_progress: Callable[[], Progress]
    open_engine: Callable[[], AbstractContextManager[None]] = nullcontext
    _unclosed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __call__(self, cause: Cause, pulse: Pulse) -> Ending:
        """Trains, and promotes if that is asked.

        Raises:
            UnreachableError: MLflow or a data source gives no answer; trying again may help.
        """
        self._close_left_runs()
        try:
            job = read_job(self.path, self.overrides, now=cause.moment)
            run_id = self._open_run(job, cause)
        except UnreachableError:
            raise
        except GreenroomError as error:
            return Ending("failed", text=str(error))
        pulse.begin_run(run_id)
        try:
            with self.open_engine():
                settings = replace(self.settings, run_id=run_id)
                result = train(job, settings=settings, progress=self.make_progress())
        except KeyboardInterrupt:
            self._close(run_id, "KILLED", "interrupted by the user")
            raise
        except UnreachableError as error:
            self._close(run_id, "FAILED", str(error))
            raise
        except GreenroomError as error:
            self._close(run_id, "FAILED", str(error))
            return Ending("failed", run_id, text=str(error))
        except Exception as error:  # noqa: BLE001 - this run's border: one bad night does not end the schedule
            text = f"Unexpected {type(error).__name__}: {error}"
            self._close(run_id, "FAILED", text)
            return Ending("failed", run_id, text=text)
        return Ending("trained", run_id, result.version, self._promote(result, cause))

    def _open_run(self, job: Job, cause: Cause) -> str:
        experiment_id = Tracker(self.settings).find_experiment(job.experiment)
        slot = format_time(cause.slot) if cause.slot else ""
        tags = {Tag.KIND: "training", "greenroom.schedule": cause.schedule}
        tags |= {"greenroom.slot": slot} if slot else {}
        asked = " ".join(request.run_id for request in cause.requests)
        tags |= {"greenroom.requested_by": asked} if asked else {}
        name = f"{job.name} {slot.removesuffix(':00.000Z') or 'on request'}"
        run_id = self.store.create_run(experiment_id, name, tags).run_id
        for request in cause.requests:
            with suppress(GreenroomError):  # a link for people
                self.store.set_run_tag(request.run_id, "greenroom.training_run", run_id)
        return run_id

    def _promote(self, result: TrainingResult, cause: Cause) -> str:
        """Asks the gates of every stage on the way; a no is an answer, and no failure of the schedule."""
        if self.to is None:
            return ""
        said = []
        for stage in (STAGING, PRODUCTION) if self.to == PRODUCTION else (STAGING,):
            try:
                outcome = self._ask_gates(result, stage, cause)
            except GreenroomError as error:
                said.append(f"{stage}: not decided ({error})")
                break
            said.append(f"{stage}: {outcome.verdict} (entry {outcome.seq})")
            if outcome.verdict != "yes":
                said += [f"{gate.name}: {gate.reason}" for gate in outcome.gates if gate.verdict != "yes"]
                break
        text = "; ".join(said)
        with suppress(GreenroomError):  # the history has it
            self.store.set_run_tag(result.run_id, "greenroom.promotion", text)
        return f"Promotion to {text}."

    def _ask_gates(self, result: TrainingResult, stage: str, cause: Cause) -> Outcome:
        what = f"slot {format_time(cause.slot)}" if cause.slot else "on request"
        reason = "; ".join([f"trained by schedule, {what}", *(one.reason for one in cause.requests)])
        request = PromotionRequest(
            result.model,
            stage,
            version=result.version,
            policy=read_policy(self.policy),
            reason=reason[:MAX_REASON],
        )
        return promote(open_ledger(result.model, settings=self.settings, store=self.store), request)

    def _close(self, run_id: str, status: str, reason: str) -> None:
        """Ends a run that the training itself did not; later, if MLflow does not answer now."""
        try:
            if self.store.get_run(run_id).status == "RUNNING":
                self.store.set_run_tag(run_id, REASON_TAG, reason)
                self.store.finish_run(run_id, status)
        except GreenroomError:
            self._unclosed[run_id] = (status, reason)

    def _close_left_runs(self) -> None:
        left, self._unclosed = self._unclosed, {}
        for run_id, (status, reason) in left.items():
            self._close(run_id, status, reason)
