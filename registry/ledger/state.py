"""What a ledger adds up to: who has which stage, who had it, and what was said and tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Holding", "Look", "Pending", "Record", "Standing", "State"]

Standing = Literal["candidate", "staging", "production", "archived", "rejected"]


@dataclass(frozen=True, slots=True)
class Holding:
    """A version that has, or had, a stage. ``seq`` and ``since`` tell when it got it."""

    version: str
    seq: int
    since: str
    manifest: str = ""
    layout: str = ""
    created_ms: int = 0
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What history says of a version. ``created_ms`` tells it from a later one of the same number."""

    standing: Standing
    created_ms: int = 0
    manifest: str = ""
    produced: Holding | None = None
    """Its latest time in production, if it ever was there: what a rollback goes back to."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A promotion that waits for a person's word, or has it (``word``) and waits to be asked for again.

    Attributes:
        was: The version that had the stage.
        asker: Who asked for the promotion.
        word: seq of the approval; 0 while there is none.
        speaker: Who gave it.
        speaker_source: ``server`` or ``self-declared``.
    """

    version: str
    stage: str
    seq: int
    manifest: str
    evidence_run: str | None = None
    evidence: str | None = None
    policy: str | None = None
    was: str | None = None
    asker: str = ""
    word: int = 0
    speaker: str = ""
    speaker_source: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """An attempt of the error budget that is spent.

    Attributes:
        stage: The stage it was for.
        attempt: Which one since the stage got its holder, from 1.
        evidence_run: Where its answer is, if the look was not interrupted.
    """

    stage: str
    attempt: int
    evidence_run: str


@dataclass(frozen=True, slots=True)
class State:
    """A ledger folded up to ``seq``.

    Attributes:
        ledger: Its identity: run id of the first chapter.
        model: The registered model's present name.
        seq: The newest entry; 0 before the first.
        hash: That entry's hash.
        link: What the next entry must name as previous.
        time: The latest time any entry names (a clock may have run backwards since).
        holders: Stage → who has it.
        before: Those that production goes back to, oldest first, the holder excluded.
        records: Version → what history says of it.
        rejected: Manifests that a person rejected, for ever.
        approved: Manifests that a person vouched for → seq of that word.
        pending: Version → the promotion that waits.
        attempts: Stage → looks taken at its holder.
        spent: Version → looks taken at it until another came into production: a rollback gives none back.
        looks: Question's digest → the look that it took, since the stage got its holder.
        best: Version → what it was shown to be no worse than when it came into production: itself if it was
            better than the holder, else what the holder was measured against (no creeping decline).
        rogue: Acts outside of history recorded since the last entry of another kind, as ``alias=found``.
        imported: Where a version came from (a digest) → what it became here (see ``registry.bundle``).
    """

    ledger: str
    model: str
    seq: int = 0
    hash: str = ""
    link: str = ""
    time: str = ""
    holders: Mapping[str, Holding] = field(default_factory=dict)
    before: tuple[Holding, ...] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    approved: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, Pending] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)
    looks: Mapping[str, Look] = field(default_factory=dict)
    best: Mapping[str, Holding] = field(default_factory=dict)
    rogue: tuple[str, ...] = ()
    imported: Mapping[str, Holding] = field(default_factory=dict)

    def holder(self, stage: str) -> Holding | None:
        """Who has the stage."""
        return self.holders.get(stage)

    def best_of(self, holder: Holding) -> Holding:
        """What a holder was shown to be no worse than: itself, or an earlier version."""
        return self.best.get(holder.version, holder)

    def standing(self, version: str, created_ms: int) -> Standing:
        """Where a version stands; one that history does not know as this very thing is a candidate."""
        record = self.records.get(version)
        return record.standing if record and record.created_ms == created_ms else "candidate"
