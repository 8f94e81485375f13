"""What monitors agree on: which windows were judged, which alarms raised, and what was done about them.

Each line is kept once, in one order, whoever writes it (:class:`registry.Journal`). So no window counts
twice, an alarm has one author, and what an author who died left undone is done by the next monitor.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from registry import Clock, Journal, Page, RegistryStore, TamperedError, format_time

from .findings import MAX_MARKS, Finding, FindingKind, Series, Streak, Waiting

__all__ = ["Alarm", "Diary", "DiaryState"]

MAX_TEXT: Final = 5_500
"""Characters of a line, or of what a page opens with: one param, of which MLflow keeps 6,000."""

KEPT_MARKS: Final = 6
"""Marks of a streak that a page opens with, the longest."""

MAX_REASON: Final = 400
"""Characters of a sentence in a line; the run has the whole."""

NOTE: Final = (
    "**What `monitor-model {model}` has judged.** Each param is one line, written once, so that several "
    "monitors count no window twice. Deleting this run lets monitors begin anew."
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """So many bad windows in a row.

    Attributes:
        seq: Its line.
        series: Which version, watched how.
        kind: ``drift`` or ``quality``.
        version: The version it is about.
        holder_seq: The entry of history by which the version held its stage; 0: it held none.
        action: What the policy says: ``nothing``, ``retrain`` or ``rollback``.
        marks: What was bad.
        until: End of the last of the windows.
        run_id: The monitor's run that shows it.
        reason: In a sentence.
    """

    seq: int
    series: str
    kind: FindingKind
    version: str
    holder_seq: int
    action: str
    marks: tuple[str, ...]
    until: str
    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiaryState:
    """The fold of a diary.

    Attributes:
        series: By name, the least recently used first.
        open: Alarms whose action is not done, by line.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    open: Mapping[int, Alarm] = field(default_factory=dict)

    def get(self, name: str) -> Series:
        """A series; a new one where nobody wrote any."""
        return self.series.get(name, Series())

    def put(self, name: str, series: Series) -> "DiaryState":
        """With the series, as the latest."""
        others = {other: kept for other, kept in self.series.items() if other != name}
        return replace(self, series={**others, name: series})


_Decide = Callable[[DiaryState], Mapping[str, Any] | None]


class Diary:
    """One model's diary.

    Args:
        store: MLflow.
        model: The registered model.
        experiment: The experiment of the model's history; the diary is beside it.
        clock: Tells the lines' times.
    """

    def __init__(self, store: RegistryStore, model: str, experiment: str, clock: Clock) -> None:
        self.store = store
        self._clock = clock
        self._journal = Journal(store, f"{experiment}/monitor", note=NOTE.format(model=model), clock=clock)

    def read(self) -> DiaryState:
        """What is judged and raised by now; writes nothing."""
        page = self._journal.find()
        return _fold_page(page) if page else DiaryState()

    def begin(self) -> str:
        """The experiment's id; the diary is begun if there is none."""
        page = self._journal.find()
        if page is None:
            self._append(lambda _: {"kind": "begin"})
            page = self._journal.find()
        assert page is not None, "a line was just written"
        return page.experiment_id

    def record(self, name: str, finding: Finding, run_id: str) -> bool:
        """Writes a window's finding down; False: somebody judged this window already.

        Args:
            name: The series.
            finding: What it showed.
            run_id: The monitor's run that shows it.
        """
        line = {"kind": "finding", "series": name, "run": run_id, "finding": _shorten(finding)}
        return self._append(lambda state: line if state.get(name).is_new(finding) else None) is not None

    def raise_alarm(
        self, name: str, kind: FindingKind, needed: int, *, version: str, holder_seq: int, action: str
    ) -> Alarm | None:
        """Raises an alarm if so many windows in a row say so; None: they do not, or somebody raised it.

        Args:
            name: The series.
            kind: About what.
            needed: Windows in a row.
            version: As the alarm says, like all that follows.
            holder_seq: Likewise.
            action: Likewise.
        """

        def decide(state: DiaryState) -> Mapping[str, Any] | None:
            streak = state.get(name).get_streak(kind)
            ripe = streak.list_ripe(needed)
            if not ripe:
                return None
            alarm = Alarm(
                seq=0,
                series=name,
                kind=kind,
                version=version,
                holder_seq=holder_seq,
                action=action,
                marks=ripe,
                until=streak.until,
                run_id=streak.run_id,
                reason=_word_alarm(streak, kind, version, needed),
            )
            return {"kind": "alarm", "alarm": _pack_alarm(alarm)}

        done = self._append(decide)
        if done is None:
            return None
        page, line = done
        return _unpack_alarm(line["alarm"], page.first_seq + len(page.lines))

    def settle(self, alarm: Alarm, outcome: str) -> bool:
        """Writes down what was done about an alarm; False: somebody did already."""
        line = {"kind": "done", "alarm": alarm.seq, "outcome": outcome[:MAX_REASON]}
        return self._append(lambda state: line if alarm.seq in state.open else None) is not None

    def list_findings(self, name: str, limit: int) -> list[Finding]:
        """The newest findings of a series, oldest first."""
        found: list[Finding] = []
        for page in self._journal.walk_back():
            for line in reversed(page.lines):
                if line["kind"] == "finding" and line["series"] == name:
                    found.append(_unpack_finding(line["finding"]))
                if len(found) == limit:
                    return found[::-1]
        return found[::-1]

    def _append(self, decide: _Decide) -> tuple[Page, Mapping[str, Any]] | None:
        def draft(page: Page) -> Mapping[str, Any] | None:
            line = decide(_fold_page(page))
            return None if line is None else {**line, "time": format_time(self._clock.now())}

        return self._journal.append(draft, lambda page: _pack(_fold_page(page)))


def _word_alarm(streak: Streak, kind: FindingKind, version: str, needed: int) -> str:
    what = "inputs or scores drifted" if kind == "drift" else "live quality is worse"
    times = f"{needed} windows in a row" if needed > 1 else "one window"
    return f"version {version}: {what}, {times} up to {streak.until}: {streak.reason}"


def _step(state: DiaryState, line: Mapping[str, Any], seq: int) -> DiaryState:
    """After one more line; lines of a kind that this version does not know change nothing."""
    kind = line["kind"]
    if kind == "finding":
        name = line["series"]
        return state.put(name, state.get(name).step(_unpack_finding(line["finding"]), line["run"]))
    if kind == "alarm":
        alarm = _unpack_alarm(line["alarm"], seq)
        state = state.put(alarm.series, state.get(alarm.series).alarm(alarm.kind))
        return replace(state, open={**state.open, seq: alarm})
    if kind == "done":
        return replace(state, open={at: one for at, one in state.open.items() if at != line["alarm"]})
    return state


def _fold_page(page: Page) -> DiaryState:
    try:
        state = _unpack(page.opening)
        for seq, line in enumerate(page.lines, page.first_seq):
            state = _step(state, line, seq)
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"Page {page.run_id} of a monitor's diary cannot be read: {error!r}.") from error
    return state


def _pack(state: DiaryState) -> dict[str, Any]:
    """What the next page opens with; the least recently used series begin anew if there are too many."""
    series = [[name, _pack_series(kept)] for name, kept in state.series.items()]
    alarms = [[seq, _pack_alarm(alarm)] for seq, alarm in state.open.items()]
    while len(json.dumps([series, alarms])) > MAX_TEXT:
        (series if len(series) > 1 else alarms).pop(0)
    return {"series": series, "open": alarms}


def _unpack(opening: Mapping[str, Any]) -> DiaryState:
    if not opening:
        return DiaryState()
    return DiaryState(
        series={name: _unpack_series(kept) for name, kept in opening["series"]},
        open={seq: _unpack_alarm(kept, seq) for seq, kept in opening["open"]},
    )


def _pack_series(series: Series) -> dict[str, Any]:
    return {
        "until": series.until,
        "drift": _pack_streak(series.drift),
        "quality": _pack_streak(series.quality),
        "waiting": [[one.since, one.until] for one in series.waiting],
    }


def _pack_streak(streak: Streak) -> dict[str, Any]:
    longest = sorted(streak.counts.items(), key=lambda item: -item[1])[:KEPT_MARKS]
    return asdict(replace(streak, counts=dict(longest), reason=streak.reason[:MAX_REASON]))


def _unpack_series(kept: Mapping[str, Any]) -> Series:
    return Series(
        until=kept["until"],
        drift=Streak(**kept["drift"]),
        quality=Streak(**kept["quality"]),
        waiting=tuple(Waiting(*one) for one in kept["waiting"]),
    )


def _pack_alarm(alarm: Alarm) -> dict[str, Any]:
    packed = asdict(replace(alarm, marks=alarm.marks[:KEPT_MARKS], reason=alarm.reason[:MAX_REASON]))
    return {name: value for name, value in packed.items() if name != "seq"}


def _unpack_alarm(kept: Mapping[str, Any], seq: int) -> Alarm:
    return Alarm(**{**kept, "seq": seq, "marks": tuple(kept["marks"])})


def _shorten(finding: Finding) -> dict[str, Any]:
    """As a line holds it: the largest marks and figures first, as many as fit."""
    short = replace(finding, reason=finding.reason[:MAX_REASON], marks=finding.marks[:MAX_MARKS])
    numbers = dict(finding.numbers)
    while len(json.dumps(asdict(replace(short, numbers=numbers)))) > MAX_TEXT:
        if numbers:
            numbers.popitem()
        else:
            short = replace(short, marks=short.marks[:-1])
    return asdict(replace(short, numbers=numbers))


def _unpack_finding(kept: Mapping[str, Any]) -> Finding:
    return Finding(**{**kept, "marks": tuple(kept["marks"])})
