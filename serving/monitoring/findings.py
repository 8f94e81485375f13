"""What a window showed, and what several in a row amount to: pure, so that every monitor folds alike.

A window says quiet, bad, or nothing (too little data). An alarm is so many bad windows in a row, with the
same mark: the same column for drift. An alarm uses them up: it takes as many new ones for the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

__all__ = ["Finding", "FindingKind", "Series", "Streak", "Waiting"]

FindingKind = Literal["drift", "quality"]
FindingVerdict = Literal["quiet", "bad", "not_enough_data"]

MAX_MARKS: Final = 20
"""Marks that are counted on: the largest come first. A line of the diary has 6,000 characters."""

MAX_MARK: Final = 60
"""Characters of a mark."""

MAX_WAITING: Final = 14
"""Windows that wait for their truth; older ones are given up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one window showed.

    Attributes:
        kind: About inputs and scores, or about live quality.
        since: The window's begin, RFC 3339.
        until: Its end.
        verdict: ``bad`` counts towards an alarm; ``not_enough_data`` counts for nothing.
        marks: What was bad, largest first.
        rows: Predictions it rests on.
        reason: One sentence.
        numbers: Figures to be drawn later, small.
    """

    kind: FindingKind
    since: str
    until: str
    verdict: FindingVerdict
    marks: tuple[str, ...]
    rows: int
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streak:
    """How often in a row.

    Attributes:
        counts: Mark → bad windows in a row, since the last alarm.
        stands: Whether an alarm stands: since one was raised, no window was quiet.
        until: End of the last bad window.
        run_id: The run that shows it.
        reason: What was bad there.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    stands: bool = False
    until: str = ""
    run_id: str = ""
    reason: str = ""

    def step(self, finding: Finding, run_id: str = "") -> "Streak":
        """After one more window.

        >>> bad = Finding("drift", "", "", "bad", ("a", "b"), 1, "")
        >>> Streak().step(bad).step(replace(bad, marks=("b",))).counts
        {'b': 2}
        """
        if finding.verdict == "not_enough_data":
            return self
        if finding.verdict == "quiet":
            return Streak()
        marks = [mark[:MAX_MARK] for mark in finding.marks[:MAX_MARKS]]
        counts = {mark: self.counts.get(mark, 0) + 1 for mark in marks}
        return Streak(counts, self.stands, finding.until, run_id, finding.reason)

    def list_ripe(self, needed: int) -> tuple[str, ...]:
        """The marks that were bad often enough for an alarm."""
        return tuple(mark for mark, count in self.counts.items() if count >= needed)

    def alarm(self) -> "Streak":
        """After an alarm."""
        return replace(self, counts={}, stands=True)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A window whose drift was judged, and whose quality not yet."""

    since: str
    until: str


@dataclass(frozen=True, slots=True)
class Series:
    """One version, watched in one way: windows one after the other.

    Attributes:
        until: End of the last window whose drift was judged; empty before the first.
        drift: In a row.
        quality: In a row.
        waiting: Windows that wait for their truth, oldest first.
    """

    until: str = ""
    drift: Streak = field(default_factory=Streak)
    quality: Streak = field(default_factory=Streak)
    waiting: tuple[Waiting, ...] = ()

    def is_new(self, finding: Finding) -> bool:
        """Whether the window was not judged yet. Windows come in order, each once."""
        if finding.kind == "drift":
            return finding.until > self.until
        return Waiting(finding.since, finding.until) in self.waiting

    def step(self, finding: Finding, run_id: str = "") -> "Series":
        """After one more finding, which a run shows; nothing changes where it was judged before."""
        if not self.is_new(finding):
            return self
        window = Waiting(finding.since, finding.until)
        if finding.kind == "drift":
            waiting = (*self.waiting, window)[-MAX_WAITING:]
            drift = self.drift.step(finding, run_id)
            return replace(self, until=finding.until, drift=drift, waiting=waiting)
        later = tuple(one for one in self.waiting if one.until > window.until)
        return replace(self, quality=self.quality.step(finding, run_id), waiting=later)

    def get_streak(self, kind: FindingKind) -> Streak:
        """The streak of that kind."""
        return self.drift if kind == "drift" else self.quality

    def alarm(self, kind: FindingKind) -> "Series":
        """After an alarm of that kind."""
        if kind == "drift":
            return replace(self, drift=self.drift.alarm())
        return replace(self, quality=self.quality.alarm())
