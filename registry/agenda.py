"""Who asked for training, and who took which time slot: a model's agenda, shared by all its schedulers.

A slot is taken by one append to the model's training journal: of any number of schedulers exactly one gets
it. Slots are taken in the order of their times, so a clock that is set back takes none twice. What a
schedule's times are, and when to train, is ``training``'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from .clock import Clock, SystemClock, format_time, parse_time
from .environment import Settings, read_settings
from .errors import TamperedError
from .journal import Journal, Page
from .names import check_model_name
from .store import RegistryStore

__all__ = ["Agenda", "AgendaState", "Claim", "Occasion", "open_agenda"]

KEPT_SCHEDULES: Final = 12
KEPT_CLAIMS: Final = 6
KEPT_REQUESTS: Final = 20
"""So many, the newest, a page begins with: its opening is one param of at most 6,000 characters."""
LOST: Final = "lost"
"""The outcome of a claim whose holder gave no sign of life any more; it keeps no later slot from running."""
MAX_WHO: Final = 80
MAX_TEXT: Final = 400
"""Characters of a sentence in a line; the runs themselves hold the whole."""

NOTE: Final = (
    "**Who asked for training of {model}, and which scheduler took which time slot.** Each param is one "
    "line, written once; `greenroom schedule {model}` reads them. Deleting this run loses that."
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A training that somebody took on himself.

    Attributes:
        seq: Its line in the journal.
        page: The run of the page that holds the line, and the claimant's signs of life.
        schedule: The name of the claimant's schedule.
        slot: The time slot, RFC 3339; empty where only requests were the cause.
        requests: Runs that asked for training.
        who: The claimant.
        lease_s: After so long without a sign of life it counts as dead.
        time: When, by the claimant's clock, RFC 3339.
        missed: Slots that nobody took since the one before.
    """

    seq: int
    page: str
    schedule: str
    slot: str
    requests: tuple[str, ...]
    who: str
    lease_s: float
    time: str
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Occasion:
    """A claim with what became of it, for people.

    Attributes:
        claim: The claim.
        outcome: ``trained``, ``failed``, ``interrupted``, ``lost`` (no sign of life any more), or ``open``.
        run_id: The training run, if it came so far.
        version: The candidate that came of it.
        text: One sentence: the error, or what the gates said.
        time: When it ended; while it is open, the newest sign of life.
    """

    claim: Claim
    outcome: str
    run_id: str = ""
    version: str = ""
    text: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class AgendaState:
    """The fold of a journal.

    Attributes:
        schedules: Schedule → the newest slot taken, or the moment at which the schedule began (RFC 3339).
        busy_until: Schedule → when its last training ended that did not just vanish (RFC 3339).
        open: Claims without an end, by line.
        waiting: Runs that ask for training and were not taken yet, oldest first.
    """

    schedules: Mapping[str, str] = field(default_factory=dict)
    busy_until: Mapping[str, str] = field(default_factory=dict)
    open: Mapping[int, Claim] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()

    def find_latest(self, schedule: str) -> datetime | None:
        """The newest slot taken, or when the schedule began; None: nobody ever ran it."""
        known = self.schedules.get(schedule)
        return parse_time(known) if known else None

    def find_end(self, schedule: str) -> datetime | None:
        """When the schedule's last training ended; None: none has yet."""
        known = self.busy_until.get(schedule)
        return parse_time(known) if known else None


_Decide = Callable[[AgendaState], Mapping[str, Any] | None]


class Agenda:
    """One model's agenda.

    Args:
        store: MLflow.
        model: The registered model; it need not exist yet.
        template: The experiment of its history, with ``{model}``; the journal is beside it.
        clock: Tells the lines' times.
    """

    def __init__(
        self, store: RegistryStore, model: str, *, template: str, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self.model = model
        self.store = store
        self.journal = Journal(
            store,
            f"{template.format(model=check_model_name(model))}/training",
            note=NOTE.format(model=model),
            clock=self._clock,
        )

    def read(self) -> AgendaState:
        """What is taken and asked for now; writes nothing."""
        page = self.journal.find()
        return _fold_page(page) if page else AgendaState()

    def begin(self, schedule: str) -> AgendaState:
        """Writes down that a schedule exists from now on, if that is new: what comes due later counts."""
        state = self.read()
        if schedule not in state.schedules:
            line = {"kind": "begin", "schedule": schedule, "time": self._now()}
            self._append(lambda now: None if schedule in now.schedules else line)
            state = self.read()
        return state

    def claim_slot(
        self, schedule: str, slot: datetime, *, who: str, lease_s: float, missed: int = 0
    ) -> Claim | None:
        """Takes a slot. None: it is taken, or a later one is.

        Raises:
            UnreachableError: MLflow gives no answer.
        """
        line = self._draft(schedule, format_time(slot), (), who, lease_s) | {"missed": missed}

        def decide(state: AgendaState) -> Mapping[str, Any] | None:
            latest = state.find_latest(schedule)
            return line if latest is None or slot > latest else None

        return self._append_claim(decide)

    def claim_requests(
        self, schedule: str, requests: tuple[str, ...], *, who: str, lease_s: float
    ) -> Claim | None:
        """Begins a training that answers requests, which the caller has taken, beside a schedule's slots."""
        line = self._draft(schedule, "", requests, who, lease_s)
        return self._append_claim(lambda _: line)

    def settle(
        self,
        claim: Claim,
        outcome: str,
        *,
        run_id: str = "",
        version: str = "",
        text: str = "",
        ended: datetime | None = None,
    ) -> bool:
        """Writes down what became of a claim, and when (None: now); False: somebody did already."""
        time = format_time(ended) if ended else self._now()
        line = {"kind": "done", "claim": claim.seq, "outcome": outcome, "time": time}
        line |= {"run_id": run_id, "version": version, "text": text[:MAX_TEXT]}
        return self._append(lambda state: line if claim.seq in state.open else None) is not None

    def ask(self, run_id: str) -> None:
        """Writes down that a run asks for training; once."""
        line = {"kind": "ask", "run_id": run_id, "time": self._now()}
        self._append(lambda state: None if run_id in state.waiting else line)

    def strike(self, run_id: str) -> None:
        """Writes down that a request was taken."""
        line = {"kind": "taken", "run_id": run_id, "time": self._now()}
        self._append(lambda state: line if run_id in state.waiting else None)

    def beat(self, claim: Claim, run_id: str) -> None:
        """Leaves a sign of life: the time and the training run, if there is one already."""
        self.store.set_run_tag(claim.page, f"greenroom.alive.{claim.seq}", f"{self._now()} {run_id}".strip())

    def read_beat(self, claim: Claim) -> str:
        """The newest sign of life; empty if there is none."""
        return self.store.get_run(claim.page).tags.get(f"greenroom.alive.{claim.seq}", "")

    def list_occasions(self, limit: int) -> list[Occasion]:
        """The newest claims with what became of them, newest first."""
        ends: dict[int, Mapping[str, Any]] = {}
        found: list[Occasion] = []
        for page in self.journal.walk_back():
            for seq, line in reversed(list(enumerate(page.lines, page.first_seq))):
                if line["kind"] == "done":
                    ends.setdefault(line["claim"], line)
                elif line["kind"] == "claim":
                    found.append(
                        _make_occasion(_parse_claim(line, seq, page.run_id), ends.get(seq), page.tags)
                    )
                if len(found) == limit:
                    return found
        return found

    def _draft(
        self, schedule: str, slot: str, requests: tuple[str, ...], who: str, lease_s: float
    ) -> dict[str, Any]:
        return {
            "kind": "claim",
            "schedule": schedule,
            "slot": slot,
            "requests": list(requests[:KEPT_REQUESTS]),
            "who": who[:MAX_WHO],
            "lease_s": lease_s,
            "time": self._now(),
        }

    def _append_claim(self, decide: _Decide) -> Claim | None:
        done = self._append(decide)
        if done is None:
            return None
        page, line = done
        return _parse_claim(line, page.first_seq + len(page.lines), page.run_id)

    def _append(self, decide: _Decide) -> tuple[Page, Mapping[str, Any]] | None:
        return self.journal.append(
            lambda page: decide(_fold_page(page)), lambda page: _pack(_fold_page(page))
        )

    def _now(self) -> str:
        return format_time(self._clock.now())


def open_agenda(
    store: RegistryStore, model: str, *, settings: Settings | None = None, clock: Clock | None = None
) -> Agenda:
    """A model's agenda, where the environment says that histories live.

    Args:
        store: MLflow.
        model: The registered model.
        settings: Read from the environment if None.
        clock: Tells the lines' times; the machine's if None.
    """
    template = (settings or read_settings()).ledger_experiment
    return Agenda(store, model, template=template, clock=clock)


def _step(state: AgendaState, line: Mapping[str, Any], seq: int, page: str) -> AgendaState:
    """The state after one more line; lines of a kind that this version does not know change nothing."""
    kind = line["kind"]
    if kind == "begin":
        return replace(state, schedules={**state.schedules, line["schedule"]: line["time"]})
    if kind == "claim":
        claim = _parse_claim(line, seq, page)
        kept = {name: slot for name, slot in state.schedules.items() if name != claim.schedule}
        taken = {claim.schedule: claim.slot} if claim.slot else {}
        return replace(state, schedules=kept | taken, open={**state.open, seq: claim})
    if kind == "done":
        return _end(state, line)
    if kind == "ask":
        return replace(state, waiting=(*state.waiting, line["run_id"]))
    if kind == "taken":
        return replace(state, waiting=tuple(one for one in state.waiting if one != line["run_id"]))
    return state


def _end(state: AgendaState, line: Mapping[str, Any]) -> AgendaState:
    claim = state.open.get(line["claim"])
    if claim is None:
        return state
    left = {number: other for number, other in state.open.items() if number != claim.seq}
    if line["outcome"] == LOST:
        return replace(state, open=left)
    return replace(state, open=left, busy_until={**state.busy_until, claim.schedule: line["time"]})


def _fold_page(page: Page) -> AgendaState:
    try:
        state = _unpack(page.opening)
        for seq, line in enumerate(page.lines, page.first_seq):
            state = _step(state, line, seq, page.run_id)
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"Page {page.run_id} of a training journal cannot be read: {error!r}.") from error
    return state


def _pack(state: AgendaState) -> dict[str, Any]:
    """What the next page opens with. The least recently used are left behind where there are too many."""
    claims = list(state.open.values())[-KEPT_CLAIMS:]
    return {
        "schedules": [
            [name, latest, state.busy_until.get(name, "")]
            for name, latest in list(state.schedules.items())[-KEPT_SCHEDULES:]
        ],
        "open": [asdict(claim) | {"requests": []} for claim in claims],
        "waiting": list(state.waiting[-KEPT_REQUESTS:]),
    }


def _unpack(opening: Mapping[str, Any]) -> AgendaState:
    if not opening:
        return AgendaState()
    claims = [Claim(**kept | {"requests": ()}) for kept in opening["open"]]
    return AgendaState(
        schedules={name: latest for name, latest, _ in opening["schedules"]},
        busy_until={name: end for name, _, end in opening["schedules"] if end},
        open={claim.seq: claim for claim in claims},
        waiting=tuple(opening["waiting"]),
    )


def _parse_claim(line: Mapping[str, Any], seq: int, page: str) -> Claim:
    return Claim(
        seq=seq,
        page=page,
        schedule=line["schedule"],
        slot=line["slot"],
        requests=tuple(line["requests"]),
        who=line["who"],
        lease_s=float(line["lease_s"]),
        time=line["time"],
        missed=int(line.get("missed", 0)),
    )


def _make_occasion(claim: Claim, end: Mapping[str, Any] | None, tags: Mapping[str, str]) -> Occasion:
    if end is None:
        alive, _, run_id = tags.get(f"greenroom.alive.{claim.seq}", "").partition(" ")
        return Occasion(claim, "open", run_id, time=alive)
    return Occasion(claim, end["outcome"], end["run_id"], end["version"], end["text"], end["time"])
