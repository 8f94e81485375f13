"""Schedulers in a simulated world: one clock, one store, trainings that take time, processes that die."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from registry import (
    Agenda,
    FixedClock,
    MemoryStore,
    RegistryStore,
    Run,
    UnreachableError,
    find_training_requests,
    open_agenda,
    request_training,
)
from training.pulse import Pulse
from training.schedule import CatchUp, parse_schedule
from training.scheduler import Cause, Ending, Options, Scheduler

START = datetime(2026, 1, 1, tzinfo=UTC)
LANE = "job.toml: 1h"
HOUR = timedelta(hours=1)


class Killed(BaseException):
    """``kill -9``: nothing of ours runs any more."""


@dataclass
class Actor:
    """A scheduler's process."""

    scheduler: Scheduler
    again: datetime
    is_training: bool = False
    is_alive: bool = True


@dataclass
class World:
    """Time passes here, and every process acts when its time comes."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))
    actors: dict[str, Actor] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    take: Callable[[str], timedelta] = lambda _: timedelta(minutes=5)
    kills: set[int] = field(default_factory=set)

    @property
    def agenda(self) -> Agenda:
        return open_agenda(self.store, "m", clock=self.clock)

    @property
    def slots(self) -> list[datetime]:
        """The slots that were trained, in order."""
        return [cause.slot for cause in self.causes if cause.slot]

    def start(self, who: str, *, catch_up: CatchUp = "latest", on_drift: bool = False) -> Scheduler:
        """Starts a process."""

        def train(cause: Cause, pulse: Pulse) -> Ending:
            self.causes.append(cause)
            number, actor = len(self.causes), self.actors[who]
            pulse.begin_run(self.add_run().run_id)
            actor.is_training = True
            self._live_on(self.take(who), pulse)
            if number in self.kills:
                actor.is_alive = False
                raise Killed
            actor.is_training = False
            return Ending("trained", pulse.run_id, str(number))

        options = Options(
            parse_schedule("1h"), LANE, who, catch_up, on_drift=on_drift, poll_s=60.0, lease_s=900.0
        )
        scheduler = Scheduler(self.agenda, options, train, clock=self.clock, tell=self.said.append)
        self.actors[who] = Actor(scheduler, self.clock.now())
        return scheduler

    def pass_time(self, duration: timedelta) -> None:
        """Lets everybody act who is not in the middle of something."""
        until = self.clock.now() + duration
        while True:
            idle = [one for one in self.actors.values() if one.is_alive and not one.is_training]
            actor = min(idle, key=lambda one: one.again, default=None)
            if actor is None or actor.again > until:
                break
            self.clock.at = max(self.clock.at, actor.again)
            try:
                actor.again = actor.scheduler.look()
            except Killed:
                continue
        self.clock.at = max(self.clock.at, until)

    def _live_on(self, duration: timedelta, pulse: Pulse) -> None:
        """A pulse beats by the machine's clock, which stands still here."""
        until = self.clock.now() + duration
        while (left := until - self.clock.now()) > timedelta():
            pulse.begin_run(pulse.run_id)
            self.pass_time(min(left, timedelta(minutes=5)))

    def add_run(self) -> Run:
        """A run, of a training or of a monitor."""
        name = "runs"
        found = self.store.find_experiment(name)
        return self.store.create_run(
            found.experiment_id if found else self.store.create_experiment(name, {}), "run", {}
        )


def test_two_schedulers_run_every_slot_once() -> None:
    world = World()
    world.start("a")
    world.start("b")
    world.pass_time(24 * HOUR)
    assert world.slots == [START + number * HOUR for number in range(1, 25)]
    assert world.agenda.read().open == {}


def test_a_slot_that_comes_due_during_a_training_is_left_out_and_told() -> None:
    world = World(take=lambda _: timedelta(minutes=90))
    first = world.start("a")
    world.start("b")
    world.pass_time(10 * HOUR)
    assert world.slots == [START + number * HOUR for number in (1, 3, 5, 7, 9)]
    assert "Slots left out, as a training was in progress: 1." in world.said
    assert 1 <= first.counts["overlapped"] <= 5
    assert first.counts["missed"] == 0


def test_when_a_training_is_killed_its_run_says_so_and_the_other_scheduler_goes_on() -> None:
    world = World(kills={2})
    world.start("a")
    world.start("b")
    world.pass_time(5 * HOUR)
    assert world.slots == [START + number * HOUR for number in (1, 2, 3, 4, 5)]
    lost = [one for one in world.agenda.list_occasions(10) if one.outcome == "lost"]
    assert [one.claim.slot for one in lost] == ["2026-01-01T02:00:00.000Z"]
    run = world.store.get_run(lost[0].run_id)
    assert run.status == "KILLED"
    assert run.tags["greenroom.reason"].startswith("No sign of life from ")
    assert sum("counts as killed" in line for line in world.said) == 1


def test_a_killed_training_whose_run_was_deleted_keeps_nobody_from_going_on() -> None:
    world = World(kills={1})
    world.start("a")
    world.pass_time(1.2 * HOUR)
    (claim,) = world.agenda.read().open.values()
    world.store.delete_run(world.agenda.read_beat(claim).partition(" ")[2])
    world.start("b")
    world.pass_time(2 * HOUR)
    assert world.slots == [START + number * HOUR for number in (1, 2, 3)]


def test_a_scheduler_that_is_killed_and_started_again_goes_on_from_the_servers_record() -> None:
    world = World(kills={2})
    world.start("a")
    world.pass_time(3 * HOUR)
    world.start("a again")
    world.pass_time(3 * HOUR)
    assert world.slots == [START + number * HOUR for number in (1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize(("catch_up", "hours"), [("latest", [1, 2, 8, 9, 10]), ("none", [1, 2, 9, 10])])
def test_of_a_stretch_that_nobody_watched_the_latest_slot_is_run_or_none(
    catch_up: CatchUp, hours: list[int]
) -> None:
    world = World()
    world.start("a")
    world.pass_time(2.5 * HOUR)
    world.actors["a"].is_alive = False
    world.pass_time(6 * HOUR)
    again = world.start("b", catch_up=catch_up)
    world.pass_time(2 * HOUR)
    assert world.slots == [START + number * HOUR for number in hours]
    missed = 10 - len(hours)
    assert again.counts == {"missed": missed, "overlapped": 0}
    assert f"as nobody ran: {missed}." in " ".join(world.said)
    assert max(one.claim.missed for one in world.agenda.list_occasions(10)) == missed


def test_a_schedule_that_was_stopped_before_its_first_slot_knows_that_it_missed_it() -> None:
    world = World()
    world.start("a")
    world.pass_time(timedelta(minutes=10))
    world.actors.clear()
    world.pass_time(2 * HOUR)
    world.start("b")
    world.pass_time(timedelta(minutes=1))
    assert world.slots == [START + 2 * HOUR]


def test_a_clock_that_is_set_back_takes_no_slot_twice() -> None:
    world = World()
    world.start("a")
    world.pass_time(5 * HOUR)
    world.clock.at -= 3 * HOUR
    world.actors["a"].again = world.clock.at
    world.start("b")
    world.pass_time(5 * HOUR)
    assert world.slots == [START + number * HOUR for number in range(1, 8)]


def test_requests_are_answered_by_one_training_of_one_scheduler() -> None:
    world = World()
    monitors = [world.add_run().run_id for _ in range(2)]
    world.start("a", on_drift=True)
    world.start("b", on_drift=True)
    world.pass_time(timedelta(minutes=10))
    for run_id in monitors:
        request_training(world.store, "m", run_id=run_id, reason="input drift", clock=world.clock)
    world.pass_time(timedelta(minutes=20))
    (cause,) = world.causes
    assert cause.slot is None
    assert START + timedelta(minutes=10) <= cause.moment <= START + timedelta(minutes=11)
    assert [request.run_id for request in cause.requests] == monitors
    assert find_training_requests(world.store, "m") == []
    (occasion,) = world.agenda.list_occasions(5)
    assert (occasion.outcome, occasion.claim.requests) == ("trained", tuple(monitors))


def test_a_scheduler_that_does_not_look_for_requests_leaves_them() -> None:
    world = World()
    world.start("a")
    request_training(world.store, "m", run_id=world.add_run().run_id, reason="drift")
    world.pass_time(2 * HOUR)
    assert len(find_training_requests(world.store, "m")) == 1
    assert all(not cause.requests for cause in world.causes)


@given(
    minutes=st.lists(st.integers(1, 150), min_size=40, max_size=40),
    kills=st.sets(st.integers(1, 10), max_size=4),
    count=st.integers(1, 3),
)
@settings(max_examples=5, deadline=None)
def test_whatever_dies_and_however_long_it_takes_no_slot_is_run_twice(
    minutes: list[int], kills: set[int], count: int
) -> None:
    world = World(kills=kills)
    world.take = lambda _: timedelta(minutes=minutes[len(world.causes) % 40])
    for number in range(count):
        world.start(f"first {number}")
    for time in range(3):
        world.pass_time(4 * HOUR)
        world.start(f"another {time}")
    world.pass_time(4 * HOUR)
    assert world.slots == sorted(set(world.slots))
    outcomes = [one.outcome for one in world.agenda.list_occasions(1000)]
    assert len(outcomes) == len(world.causes)
    assert set(outcomes) <= {"trained", "lost", "open"}
    assert any(slot >= START + 13 * HOUR for slot in world.slots), "somebody goes on"


class Flaky(MemoryStore):
    """Does not answer when told so; ``late``: it writes, and the answer gets lost."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.late = 0

    def get_run(self, run_id: str) -> Run:
        if self.is_away:
            raise UnreachableError("No answer from MLflow.")
        return super().get_run(run_id)

    def log_param(self, run_id: str, key: str, value: str) -> None:
        super().log_param(run_id, key, value)
        if self.late:
            self.late -= 1
            self.is_away = True
            raise UnreachableError("No answer from MLflow.")


def make_scheduler(
    store: RegistryStore, clock: FixedClock, train: Callable[[Cause, Pulse], Ending], said: list[str]
) -> Scheduler:
    options = Options(parse_schedule("1h"), LANE, "me")
    agenda = open_agenda(store, "m", clock=clock)
    return Scheduler(agenda, options, train, clock=clock, tell=said.append)


def test_a_slot_whose_claim_was_written_while_the_answer_got_lost_is_trained_all_the_same() -> None:
    store, clock, said, slots = Flaky(), FixedClock(START), list[str](), list[datetime | None]()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        slots.append(cause.slot)
        return Ending("trained", "run", "1")

    scheduler = make_scheduler(store, clock, train, said)
    clock.at = scheduler.look()
    store.late = 1
    with pytest.raises(UnreachableError):
        scheduler.look()
    store.is_away = False
    scheduler.look()
    assert slots == [START + HOUR]


def test_a_training_is_tried_again_within_its_slot_while_something_does_not_answer() -> None:
    clock, said, attempts = FixedClock(START), list[str](), list[datetime]()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        attempts.append(clock.now())
        if len(attempts) < 4:
            raise UnreachableError("The database does not answer.")
        return Ending("trained", "run", "1")

    scheduler = make_scheduler(MemoryStore(), clock, train, said)
    clock.at = scheduler.look()
    scheduler.look()
    assert len(attempts) == 4
    assert "The database does not answer. Trying again in 4 s." in said
    assert [one.ending.outcome for one in scheduler.trainings] == ["trained"]


def test_a_slot_in_which_nothing_ever_answers_has_failed_and_the_next_one_is_tried() -> None:
    clock, said = FixedClock(START), list[str]()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        raise UnreachableError("The database does not answer.")

    scheduler = make_scheduler(MemoryStore(), clock, train, said)
    for _ in range(2):
        clock.at = scheduler.look()
        scheduler.look()
    assert [one.ending.outcome for one in scheduler.trainings] == ["failed", "failed"]
    assert scheduler.trainings[0].ending.text.startswith("The database does not answer. Given up after ")
    assert [one.claim.slot[11:13] for one in scheduler.trainings] == ["01", "02"]


def test_slots_that_pass_while_the_end_of_a_training_cannot_be_written_are_missed_and_the_latest_is_run() -> (
    None
):
    store, clock, said = Flaky(), FixedClock(START), list[str]()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        clock.at += timedelta(minutes=10)
        store.is_away = len(scheduler.trainings) == 0
        return Ending("trained", "run", "1")

    scheduler = make_scheduler(store, clock, train, said)
    clock.at = scheduler.look()
    with pytest.raises(UnreachableError):
        scheduler.look()
    clock.at = START + 3.5 * HOUR
    store.is_away = False
    scheduler.look()
    assert [one.claim.slot[11:13] for one in scheduler.trainings] == ["01", "03"]
    assert scheduler.counts == {"missed": 1, "overlapped": 0}


def test_an_interruption_during_a_training_is_written_down() -> None:
    clock, said, store = FixedClock(START), list[str](), MemoryStore()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        pulse.run_id = "its-run"
        raise KeyboardInterrupt

    scheduler = make_scheduler(store, clock, train, said)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    (occasion,) = open_agenda(store, "m").list_occasions(5)
    assert (occasion.outcome, occasion.run_id) == ("interrupted", "its-run")
    assert scheduler.trainings[0].ending.outcome == "interrupted"


def test_a_server_that_does_not_answer_is_told_once_and_waited_for() -> None:
    store, clock, said = Flaky(), FixedClock(START), list[str]()

    def train(cause: Cause, pulse: Pulse) -> Ending:
        raise KeyboardInterrupt

    scheduler = make_scheduler(store, clock, train, said)
    scheduler.look()
    store.is_away = True
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        clock.at += timedelta(seconds=seconds)
        store.is_away = clock.at < START + 1.5 * HOUR

    patient = make_scheduler(store, Sleeper(clock, nap), train, said)
    with pytest.raises(KeyboardInterrupt):
        patient.run()
    assert naps[:3] == [1.0, 2.0, 4.0]
    assert max(naps) == 60.0
    assert [line for line in said if "answer" in line] == [
        "No answer from MLflow. Going on as soon as it answers.",
        "MLflow answers again.",
    ]


class Sleeper(FixedClock):
    """A clock whose sleep is watched."""

    def __init__(self, clock: FixedClock, nap: Callable[[float], None]) -> None:
        super().__init__(clock.at)
        self._clock, self._nap = clock, nap

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        self._nap(seconds)
