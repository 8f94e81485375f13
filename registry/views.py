"""What is where, who moved what when, what was in production at a time: reading, and nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from .clock import format_time
from .deviations import find_deviations
from .errors import NotFoundError, TamperedError
from .ledger.chapter import Chapter
from .ledger.entry import Entry
from .ledger.fold import step
from .ledger.ledger import Ledger
from .ledger.state import Holding, State
from .names import PRODUCTION, STAGES, STAGING, Tag
from .store import ModelVersion, RegistryStore

__all__ = [
    "Lineage",
    "ModelStatus",
    "find_holder",
    "find_version",
    "read_as_of",
    "read_history",
    "read_lineage",
    "read_status",
]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Where a model's versions are. ``managed`` is False if it has no history (aliases are shown instead).

    ``notes`` are sentences about what does not agree: aliases moved by hand, deleted versions.
    """

    model: str
    seq: int
    hash: str
    holders: dict[str, Holding]
    candidates: tuple[str, ...]
    pending: tuple[str, ...]
    rejected: tuple[str, ...]
    managed: bool
    notes: tuple[str, ...] = ()


def read_status(ledger: Ledger) -> ModelStatus:
    """Reads the history and compares MLflow with it; writes nothing.

    Raises:
        NotFoundError: There is no such model.
        TamperedError: History is not sound.
    """
    reading = ledger.find()
    versions = ledger.store.list_versions(ledger.name)
    if reading is None or reading.state.seq == 0:
        return _show_unmanaged(ledger, versions)
    state = reading.state
    standings = {one.version: state.standing(one.version, one.created_ms) for one in versions}
    return ModelStatus(
        model=ledger.name,
        seq=state.seq,
        hash=state.hash,
        holders=dict(state.holders),
        candidates=tuple(number for number, where in standings.items() if where == "candidate"),
        pending=tuple(state.pending),
        rejected=tuple(number for number, where in standings.items() if where == "rejected"),
        managed=True,
        notes=tuple(find_deviations(ledger.store, reading, versions)),
    )


def _show_unmanaged(ledger: Ledger, versions: Sequence[ModelVersion]) -> ModelStatus:
    aliases = ledger.store.get_model(ledger.name).aliases
    known = {version.version: version for version in versions}
    holders = {
        stage: Holding(version=aliases[stage], seq=0, since="", created_ms=known[aliases[stage]].created_ms)
        for stage in STAGES
        if aliases.get(stage) in known
    }
    taken = {held.version for held in holders.values()}
    return ModelStatus(
        model=ledger.name,
        seq=0,
        hash="",
        holders=holders,
        candidates=tuple(version.version for version in versions if version.version not in taken),
        pending=(),
        rejected=(),
        managed=False,
        notes=(f"No history yet. Begin one: greenroom adopt {ledger.name}",),
    )


def find_holder(
    store: RegistryStore, name: str, stage: str, *, template: str | None = None
) -> Holding | None:
    """Who has a stage by history; None if nobody has, or the model has no history.

    Only a history that the model's own tag names counts: others could begin one without rights on the model.

    Args:
        store: MLflow.
        name: The registered model.
        stage: ``staging`` or ``production``.
        template: The ledger experiment's name with ``{model}``, where it is not the default.

    Raises:
        NotFoundError: There is no such model.
        TamperedError: History is not sound.
        UnreachableError: MLflow gives no answer.
    """
    ledger = Ledger(store, name, template=template) if template else Ledger(store, name)
    reading = ledger.find()
    if reading is None or Tag.LEDGER not in reading.model.tags:
        return None
    return reading.state.holder(stage)


def read_history(ledger: Ledger) -> tuple[Entry, ...]:
    """All entries in order, every chapter checked against the one before.

    Raises:
        NotFoundError: No such model, or it has no history.
        TamperedError: History is not sound.
    """
    return tuple(entry for chapter in _walk_checked(ledger) for entry in chapter.entries)


def _walk_checked(ledger: Ledger) -> Iterator[Chapter]:
    state: State | None = None
    for chapter in ledger.walk():
        state = chapter.opening.state
        for entry in chapter.entries:
            state = step(state, entry)
        yield chapter


def read_as_of(ledger: Ledger, moment: datetime) -> State:
    """The state that held at a time, found from the newest chapter backwards.

    An entry counts from the latest time that any entry up to it names: a clock that ran backwards moves
    nothing back.

    Raises:
        NotFoundError: No such model or history, or the history begins later.
        TamperedError: History is not sound.
    """
    limit = format_time(moment)
    for chapter in ledger.walk_back():
        found = find_state(list_states(chapter), limit)
        if found is not None:
            return found
    raise NotFoundError(f"The history of {ledger.name} begins after {limit}.")


def list_states(chapter: Chapter) -> Iterator[State]:
    """What held when the chapter began, and after each of its entries.

    Raises:
        TamperedError: An entry does not follow from the one before.
    """
    state = chapter.opening.state
    yield state
    for entry in chapter.entries:
        state = step(state, entry)
        yield state


def find_state(states: Iterable[State], limit: str) -> State | None:
    """The last of states in order that held at a time (RFC 3339 UTC); None if all are later."""
    found = None
    for state in states:
        if state.time > limit:
            break
        found = state if state.seq else None
    return found


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version came from: version → run → data → commit. Empty strings where MLflow does not know."""

    model: str
    version: str
    stage: str | None
    manifest: str
    run_id: str | None
    experiment_id: str
    run_name: str
    user: str
    trained_ms: int
    data_sha256: str
    commit: str
    dirty: str
    source: str
    evidence_run: str | None


def read_lineage(ledger: Ledger, version: str | None, stage: str | None) -> Lineage:
    """Follows a version back to its data and code.

    Args:
        ledger: The model's history.
        version: The version, or None: the one that has the stage.
        stage: The stage, production if None.

    Raises:
        NotFoundError: No such model or version, or nobody has the stage.
        TamperedError: The version that has the stage was deleted, and another has its number.
    """
    status = read_status(ledger)
    row = _find_row(ledger, status, version, stage or PRODUCTION)
    run = ledger.store.get_run(row.run_id) if row.run_id else None
    tags = run.tags if run else {}
    holds = next((name for name in (PRODUCTION, STAGING) if _holds(status, name, row)), None)
    return Lineage(
        model=ledger.name,
        version=row.version,
        stage=holds,
        manifest=row.tags.get(Tag.MANIFEST, ""),
        run_id=row.run_id,
        experiment_id=run.experiment_id if run else "",
        run_name=run.name if run else "",
        user=run.user if run else row.user,
        trained_ms=run.start_ms if run else row.created_ms,
        data_sha256=tags.get(Tag.DATA_SHA256, ""),
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("greenroom.git_dirty", ""),
        source=tags.get("mlflow.source.name", ""),
        evidence_run=row.tags.get(Tag.EVIDENCE),
    )


def find_version(ledger: Ledger, version: str | None, stage: str) -> ModelVersion:
    """The version named, or the one that has the stage. Raises as :func:`read_lineage` does."""
    return _find_row(ledger, read_status(ledger), version, stage)


def _find_row(ledger: Ledger, status: ModelStatus, version: str | None, stage: str) -> ModelVersion:
    if version is not None:
        return ledger.store.get_version(ledger.name, version)
    holder = status.holders.get(stage)
    if holder is None:
        raise NotFoundError(f"{ledger.name} has no version in {stage}.")
    row = ledger.store.get_version(ledger.name, holder.version)
    if not _holds(status, stage, row):
        raise TamperedError(
            f"Version {holder.version} of {ledger.name}, in {stage} by history, was deleted, and another has "
            "its number now.",
            hint=f"Move production: greenroom rollback {ledger.name}, or promote another version.",
        )
    return row


def _holds(status: ModelStatus, stage: str, row: ModelVersion) -> bool:
    holder = status.holders.get(stage)
    return holder is not None and (holder.version, holder.created_ms) == (row.version, row.created_ms)
