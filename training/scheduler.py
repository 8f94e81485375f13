"""Waits for slots and requests, takes each at most once among all schedulers, and has it trained.

It decides by ``schedule.plan_next`` and acts through the model's agenda; how a training is done is the
runner's. All it knows it reads from the server at every look, so it can be stopped and started anywhere.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, NoReturn, Protocol

from registry import (
    AccessDeniedError,
    Agenda,
    AgendaState,
    Claim,
    Clock,
    GreenroomError,
    NotFoundError,
    StoreError,
    TrainingRequest,
    UnreachableError,
    find_training_requests,
    format_time,
    parse_time,
    take_training_request,
)

from .pulse import Pulse
from .schedule import CatchUp, Due, Past, Schedule, plan_next

__all__ = ["Cause", "Ending", "Options", "Runner", "Scheduler", "Training"]

MAX_PAUSE_S: Final = 60.0
MAX_NAP_S: Final = 30.0
"""Looked at no less often, so that a clock that jumps ahead is noticed."""
REQUEST_ATTEMPTS: Final = 5
"""A training that was asked for is tried so often while something does not answer."""
LOOKS_PER_LEASE: Final = 3
KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is trained.

    Attributes:
        schedule: The schedule's name.
        slot: The slot; None: requests were the cause.
        moment: What relative moments of the job are relative to: the slot, or now.
        requests: Requests that this training answers.
    """

    schedule: str
    slot: datetime | None
    moment: datetime
    requests: tuple[TrainingRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a training.

    Attributes:
        outcome: ``trained``, ``failed`` or ``interrupted``.
        run_id: The run, if there is one.
        version: The candidate, if there is one.
        text: What went wrong, or what the gates said.
    """

    outcome: Literal["trained", "failed", "interrupted"]
    run_id: str = ""
    version: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """One training of this scheduler, for its report."""

    claim: Claim
    requests: tuple[TrainingRequest, ...]
    ending: Ending
    ended: datetime


class Runner(Protocol):
    """Trains."""

    def __call__(self, cause: Cause, pulse: Pulse, /) -> Ending:
        """Trains once. Known failures are an ending.

        Raises:
            UnreachableError: Trying again may help.
        """


@dataclass(frozen=True, slots=True)
class Options:
    """How a scheduler behaves.

    Attributes:
        schedule: Its slots; None: it waits for requests only.
        lane: What the agenda calls the schedule: schedulers that share it share its slots.
        who: This scheduler; no other has the same name.
        catch_up: What becomes of slots that nobody ran.
        on_drift: Whether it answers requests.
        poll_s: Seconds between two looks for requests.
        lease_s: After so long without a sign of life a training counts as dead.
    """

    schedule: Schedule | None
    lane: str
    who: str
    catch_up: CatchUp = "latest"
    on_drift: bool = False
    poll_s: float = 60.0
    lease_s: float = 60.0


class Scheduler:
    """One scheduler; any number may run beside each other.

    Args:
        agenda: The model's.
        options: How it behaves.
        runner: Trains.
        clock: Tells the time, and waits.
        tell: Is told what happens, sentence by sentence.

    Attributes:
        trainings: The newest trainings of this scheduler, oldest first; at most 1,000.
        counts: Slots that were ``missed`` and ``overlapped`` while it ran.
    """

    def __init__(
        self, agenda: Agenda, options: Options, runner: Runner, *, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        self.trainings: deque[Training] = deque(maxlen=KEPT)
        self.counts = {"missed": 0, "overlapped": 0}
        self._agenda, self._options, self._runner = agenda, options, runner
        self._clock, self._tell = clock, tell
        self._since = clock.now()
        self._told_until: datetime | None = None
        self._announced: datetime | None = None
        self._seen: dict[int, tuple[str, datetime]] = {}
        self._unsettled: Training | None = None
        self._failures = 0

    def run(self) -> NoReturn:
        """Goes on until it is interrupted. A server that does not answer is asked again.

        Raises:
            KeyboardInterrupt: Ctrl-C; a training in progress was closed, and its end written down.
            AccessDeniedError: MLflow does not let this user write.
        """
        while True:
            try:
                again = self.look()
            except UnreachableError as error:
                if not self._failures:
                    self._tell(f"{error} Going on as soon as it answers.")
                self._clock.sleep(min(MAX_PAUSE_S, 2.0**self._failures))
                self._failures += 1
                continue
            while (left := (again - self._clock.now()).total_seconds()) > 0:
                self._clock.sleep(min(left, MAX_NAP_S))

    def look(self) -> datetime:
        """Looks once, and trains if something is due; returns when to look again.

        Raises:
            UnreachableError: MLflow gives no answer.
        """
        options, state = self._options, self._read()
        lane = [claim for claim in state.open.values() if claim.schedule == options.lane]
        mine = next((claim for claim in lane if claim.who == options.who), None)
        if mine is not None:  # taken, and the answer got lost
            return self._train(mine, ())
        is_busy = self._watch(lane)
        now = self._clock.now()
        due = self._plan(state, is_busy=is_busy)
        if due is not None and due.slot is not None:
            claim = self._agenda.claim_slot(
                options.lane, due.slot, who=options.who, lease_s=options.lease_s, missed=due.missed
            )
            return self._train(claim, self._take_requests()) if claim else now
        if not is_busy and (requests := self._take_requests()):
            ids = tuple(request.run_id for request in requests)
            claim = self._agenda.claim_requests(options.lane, ids, who=options.who, lease_s=options.lease_s)
            return self._train(claim, requests) if claim else now
        moments = [due.until] if due else []
        if options.on_drift:
            moments.append(now + timedelta(seconds=options.poll_s))
        if is_busy:
            moments += [now + timedelta(seconds=claim.lease_s / LOOKS_PER_LEASE) for claim in lane]
        return min(moments)

    def _read(self) -> AgendaState:
        if self._unsettled is not None:
            self._settle(self._unsettled)
        agenda, lane = self._agenda, self._options.lane
        state = agenda.begin(lane) if self._options.schedule else agenda.read()
        if self._failures:
            self._failures = 0
            self._tell("MLflow answers again.")
        return state

    def _plan(self, state: AgendaState, *, is_busy: bool) -> Due | None:
        options = self._options
        if options.schedule is None:
            return None
        past = Past(
            latest=state.find_latest(options.lane) or self._since,
            watched_since=self._since,
            busy_until=state.find_end(options.lane),
            is_busy=is_busy,
        )
        due = plan_next(options.schedule, self._clock.now(), past, options.catch_up)
        self._report(options.schedule, past, due)
        return due

    def _report(self, schedule: Schedule, past: Past, due: Due) -> None:
        """Says what is left out, once, and when the next slot is."""
        now, latest = self._clock.now(), max(past.latest, self._told_until or past.latest)
        fresh = plan_next(schedule, now, replace(past, latest=latest), self._options.catch_up)
        if fresh.missed or fresh.overlapped:
            self.counts["missed"] += fresh.missed
            self.counts["overlapped"] += fresh.overlapped
            self._tell(_word_skipped(fresh, latest))
            self._told_until = schedule.latest_until(now)
        if due.slot is None and due.until != self._announced and not past.is_busy:
            self._announced = due.until
            self._tell(f"The next slot is {format_time(due.until)}.")

    def _watch(self, claims: list[Claim]) -> bool:
        """Whether a training of this schedule is in progress; buries those that give no sign of life."""
        is_busy = False
        for claim in claims:
            beat, now = self._agenda.read_beat(claim), self._clock.now()
            known, since = self._seen.get(claim.seq, (None, now))
            if known != beat or now < since:
                self._seen[claim.seq] = (beat, now)
                is_busy = True
            elif (now - since).total_seconds() <= claim.lease_s:
                is_busy = True
            else:
                self._bury(claim, beat)
        return is_busy

    def _bury(self, claim: Claim, beat: str) -> None:
        told, _, run_id = beat.partition(" ")
        text = f"No sign of life from {claim.who} since {told or claim.time}."
        store = self._agenda.store
        with suppress(NotFoundError, StoreError):  # the run was deleted
            if run_id and store.get_run(run_id).status == "RUNNING":
                store.set_run_tag(run_id, "greenroom.reason", text)
                store.finish_run(run_id, "KILLED")
        if self._agenda.settle(claim, "lost", run_id=run_id, text=text):
            self._tell(f"{_name(claim)}: {text} It counts as killed; later slots go on.")

    def _take_requests(self) -> tuple[TrainingRequest, ...]:
        """All that wait: one training answers them."""
        if not self._options.on_drift:
            return ()
        waiting = find_training_requests(self._agenda.store, self._agenda.model)
        return tuple(one for one in waiting if self._take(one))

    def _take(self, request: TrainingRequest) -> bool:
        try:
            return take_training_request(self._agenda.store, request, taker=self._options.who)
        except AccessDeniedError:
            raise
        except (NotFoundError, StoreError):  # the asking run was deleted in between
            return False

    def _train(self, claim: Claim, requests: tuple[TrainingRequest, ...]) -> datetime:
        slot = parse_time(claim.slot) if claim.slot else None
        cause = Cause(claim.schedule, slot, slot or self._clock.now(), requests)
        for request in requests:
            self._tell(f"Run {request.run_id} asked for training: {request.reason}")
        self._tell(f"{_name(claim)}: training.")
        with Pulse(self._agenda, claim) as pulse:
            try:
                ending = self._try(cause, pulse)
            except KeyboardInterrupt:
                with suppress(GreenroomError):
                    self._agenda.settle(claim, "interrupted", run_id=pulse.run_id)
                ending = Ending("interrupted", pulse.run_id)
                self.trainings.append(Training(claim, requests, ending, self._clock.now()))
                raise
            self._unsettled = Training(claim, requests, ending, self._clock.now())
            self.trainings.append(self._unsettled)
            self._tell(f"{_name(claim)}: {_word(ending)}")
            self._settle(self._unsettled)
        return self._clock.now()

    def _try(self, cause: Cause, pulse: Pulse) -> Ending:
        """Again and again, within the slot, while something does not answer."""
        attempt = 0
        while True:
            try:
                return self._runner(cause, pulse)
            except UnreachableError as error:
                pause = min(MAX_PAUSE_S, 2.0**attempt)
                attempt += 1
                if not self._has_time(cause, pause, attempt):
                    return Ending("failed", pulse.run_id, text=f"{error} Given up after {attempt} attempts.")
                self._tell(f"{error} Trying again in {pause:g} s.")
                self._clock.sleep(pause)

    def _has_time(self, cause: Cause, pause: float, attempt: int) -> bool:
        if cause.slot is None or self._options.schedule is None:
            return attempt < REQUEST_ATTEMPTS
        following = self._options.schedule.next_after(cause.slot)
        return self._clock.now() + timedelta(seconds=pause) < following

    def _settle(self, training: Training) -> None:
        ending = training.ending
        self._agenda.settle(
            training.claim,
            ending.outcome,
            run_id=ending.run_id,
            version=ending.version,
            text=ending.text,
            ended=training.ended,
        )
        self._unsettled = None


def _name(claim: Claim) -> str:
    return f"Slot {claim.slot}" if claim.slot else "On request"


def _word(ending: Ending) -> str:
    if ending.outcome == "trained":
        return f"version {ending.version}, run {ending.run_id}. {ending.text}".strip()
    return f"{ending.outcome}: {ending.text}"


def _word_skipped(due: Due, since: datetime) -> str:
    parts = []
    if due.missed:
        parts.append(f"Slots missed since {format_time(since)}, as nobody ran: {due.missed}.")
    if due.overlapped:
        parts.append(f"Slots left out, as a training was in progress: {due.overlapped}.")
    return " ".join(parts)
