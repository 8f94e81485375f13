"""Makes MLflow's aliases, tags and descriptions say what history says: a projection, never the truth.

Written after the commit, always from a freshly read ledger, the moving alias first (one upsert, so that
production is never without a version), the marker ``greenroom.projected`` last. Whoever finds a marker
behind the head finds an unfinished projection, and finishes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .errors import NotFoundError
from .ledger.entry import Entry
from .ledger.ledger import Ledger
from .ledger.reading import Reading
from .ledger.state import Holding, State
from .names import STAGES, Tag
from .store import ModelVersion, RegisteredModel, RegistryStore
from .texts import describe_model, describe_version, merge_block
from .witness import format_witness, parse_seq

__all__ = ["AliasMove", "has_witnesses", "is_present", "is_projected", "plan_aliases", "project"]

ROUNDS: Final = 5
"""Times a projection is repeated because history moved on meanwhile."""


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One alias to write. ``version`` None: to delete."""

    alias: str
    version: str | None


def plan_aliases(state: State, aliases: Mapping[str, str]) -> tuple[AliasMove, ...]:
    """What must change so that the aliases equal history; production first, deletions last.

    >>> plan_aliases(State("run", "m"), {"production": "3", "champion": "1"})
    (AliasMove(alias='production', version=None),)
    """
    moves = []
    for stage in reversed(STAGES):
        holder = state.holder(stage)
        wanted = holder.version if holder else None
        if aliases.get(stage) != wanted:
            moves.append(AliasMove(stage, wanted))
    return tuple(sorted(moves, key=lambda move: move.version is None))


def project(ledger: Ledger) -> Reading | None:
    """Reads the ledger and makes MLflow equal to it; None if there is no ledger (nothing is touched).

    Args:
        ledger: The model's ledger.

    Raises:
        TamperedError: The ledger is not sound; nothing is touched.
    """
    reading = ledger.find()
    for _ in range(ROUNDS):
        if reading is None or reading.state.seq == 0:
            return reading
        _write(ledger, reading)
        newest = ledger.find()
        if newest is None or newest.state.seq == reading.state.seq:
            return newest
        reading = newest
    return reading


def _write(ledger: Ledger, reading: Reading) -> None:
    store, model, state = ledger.store, reading.model, reading.state
    for move in plan_aliases(state, model.aliases):
        _move_alias(store, state, model.name, move)
    marker = parse_seq(model.tags.get(Tag.PROJECTED)) or 0
    touched = _find_touched(reading, marker)
    for version in touched:
        _write_version(store, reading, version)
    for key, value in _list_model_tags(ledger, reading).items():
        if model.tags.get(key) != value:
            store.set_model_tag(model.name, key, value)
    text = merge_block(model.description, describe_model(reading))
    if text != model.description:
        store.describe_model(model.name, text)
    if model.tags.get(Tag.PROJECTED) != str(state.seq):
        store.set_model_tag(model.name, Tag.PROJECTED, str(state.seq))


def _move_alias(store: RegistryStore, state: State, name: str, move: AliasMove) -> None:
    holder = state.holder(move.alias)
    if holder is None:
        store.delete_alias(name, move.alias)
    elif is_present(store, name, holder):
        store.set_alias(name, move.alias, holder.version)


def is_present(store: RegistryStore, name: str, holder: Holding) -> bool:
    """Whether the very version that holds a stage still exists, and not another one of its number.

    Where it does not, the alias is left alone: pointing it elsewhere would serve something nobody promoted.
    """
    try:
        return store.get_version(name, holder.version).created_ms == holder.created_ms
    except NotFoundError:
        return False


def _find_touched(reading: Reading, marker: int) -> Sequence[str]:
    """Versions that entries after the marker were about; all known ones if the marker is far behind."""
    if marker < reading.chapter.opening.state.seq:
        return sorted(reading.state.records, key=int)
    return sorted(set(_name_versions(reading.chapter.entries, marker)), key=int)


def _name_versions(entries: Sequence[Entry], marker: int) -> Iterator[str]:
    for entry in entries:
        if entry.seq > marker:
            yield from (version for version in (entry.version, entry.was) if version)
            if entry.action == "adopt":
                yield from (entry.details[stage]["version"] for stage in STAGES if entry.details.get(stage))


def _write_version(store: RegistryStore, reading: Reading, number: str) -> None:
    try:
        version = store.get_version(reading.model.name, number)
    except NotFoundError:
        return
    state = reading.state
    tags: dict[str, str] = {Tag.STAGE: state.standing(number, version.created_ms)}
    record = state.records.get(number)
    if record and record.created_ms == version.created_ms and record.manifest:
        tags[Tag.MANIFEST] = record.manifest
    tags[Tag.HEAD] = format_witness(state.seq, state.hash)
    newest = _find_newest(reading.chapter.entries, number)
    if newest and newest.evidence_run:
        tags[Tag.EVIDENCE] = newest.evidence_run
    for key, value in tags.items():
        if version.tags.get(key) != value:
            store.set_version_tag(version.name, number, key, value)
    _describe_version(store, reading, version)


def _describe_version(store: RegistryStore, reading: Reading, version: ModelVersion) -> None:
    text = merge_block(version.description, describe_version(reading, version))
    if text != version.description:
        store.describe_version(version.name, version.version, text)


def _find_newest(entries: Sequence[Entry], number: str) -> Entry | None:
    return next((entry for entry in reversed(entries) if entry.version == number), None)


def _list_model_tags(ledger: Ledger, reading: Reading) -> Mapping[str, str]:
    state = reading.state
    return {
        Tag.LEDGER: state.ledger,
        Tag.LEDGER_SERVER: ledger.store.tracking_uri,
        Tag.HEAD_RUN: reading.chapter.run_id,
        Tag.HEAD: format_witness(state.seq, state.hash),
    }


def has_witnesses(ledger: Ledger, reading: Reading) -> bool:
    """Whether the model's tags are those that the newest projection wrote.

    A server may be known by several addresses, so of its tag it matters only that it is there.
    """
    tags = reading.model.tags
    wanted = _list_model_tags(ledger, reading)
    return all(
        tags.get(key) == text or (key == Tag.LEDGER_SERVER and key in tags) for key, text in wanted.items()
    )


def is_projected(model: RegisteredModel, state: State) -> bool:
    """Whether the marker says that aliases and tags were made equal to this state."""
    return model.tags.get(Tag.PROJECTED) == str(state.seq)
