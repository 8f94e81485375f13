"""Checks a whole history and the artifacts it speaks of: is everything as it was written?"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .artifact import fetch_artifact
from .bundle.imported import check_import, read_imports
from .deviations import read_deviations
from .errors import GreenroomError, NotFoundError, TamperedError, UnreachableError
from .ledger.chapter import Chapter
from .ledger.entry import Entry
from .ledger.fold import step
from .ledger.ledger import Ledger
from .ledger.state import Record, State
from .names import Tag
from .store import ModelVersion
from .witness import parse_witness

__all__ = ["Audit", "audit"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was checked, and what was found.

    Attributes:
        model: The registered model.
        entries: Entries read.
        artifacts: Versions whose files were hashed.
        witnesses: What else knew of the history's head: it takes one that survives to see a cut tail.
        findings: Sentences about what is not as it was written; empty if all is well.
        notes: Sentences about what is gone (deleted versions); no tampering by itself.
        imported: Entries read of histories that came along with imported versions.
    """

    model: str
    entries: int
    artifacts: int
    witnesses: tuple[str, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    imported: int = 0


def audit(
    ledger: Ledger, *, artifacts: bool = True, progress: Callable[[str], None] = lambda _: None
) -> Audit:
    """Reads every entry from the first, refolds, compares snapshots and witnesses, hashes every artifact.

    Also the histories that came along with imported versions, and the evidence that they name.

    Raises:
        NotFoundError: No such model, or it has no history.
        UnreachableError: MLflow gives no answer.
    """
    progress("reading the history")
    try:
        chapters, state = _refold(ledger)
    except TamperedError as error:
        return Audit(ledger.name, 0, 0, (), (str(error),), ())
    entries = {entry.seq: entry for chapter in chapters for entry in chapter.entries}
    versions = ledger.store.list_versions(ledger.name)
    witnesses, findings = _check_witnesses(ledger, versions, entries)
    notes = [*_find_gone(state, versions), *read_deviations(ledger)]
    checked = 0
    for version in versions if artifacts else ():
        record = state.records.get(version.version)
        if record and record.manifest and record.created_ms == version.created_ms:
            progress(f"hashing the files of version {version.version}")
            findings.extend(_check_artifact(ledger, version, record))
            checked += 1
    imported = 0
    for found in read_imports(ledger.store, tuple(entries.values())):
        progress(f"checking what came with version {found.entry.version}")
        findings.extend(check_import(ledger.store, found))
        notes.extend([found.problem] if found.problem and not found.is_tampered else [])
        imported += len(found.entries)
    return Audit(
        ledger.name, len(entries), checked, tuple(witnesses), tuple(findings), tuple(notes), imported
    )


def _refold(ledger: Ledger) -> tuple[list[Chapter], State]:
    chapters: list[Chapter] = []
    state: State | None = None
    newest = ledger.find()
    for chapter in ledger.walk():
        opening = chapter.opening.state
        if state is not None and replace(state, link=opening.link) != opening:
            raise TamperedError(
                f"The snapshot that opens chapter {chapter.run_id} is not what its history adds up to."
            )
        state = opening
        for entry in chapter.entries:
            state = step(state, entry)
        chapters.append(chapter)
    if state is None:
        raise NotFoundError(f"{ledger.name} has no history yet.")
    if newest and newest.chapter.run_id not in {chapter.run_id for chapter in chapters}:
        raise TamperedError(
            f"Chapter {newest.chapter.run_id}, which a tag {Tag.HEAD_RUN} names, is none of this history's: "
            "no link leads to it."
        )
    return chapters, state


def _check_witnesses(
    ledger: Ledger, versions: Sequence[ModelVersion], entries: Mapping[int, Entry]
) -> tuple[list[str], list[str]]:
    witnesses, findings = [], []
    model = ledger.store.get_model(ledger.name)
    told = [("the registered model", model.tags), *((f"version {one.version}", one.tags) for one in versions)]
    for who, tags in told:
        if Tag.HEAD not in tags:
            continue
        seen = parse_witness(tags[Tag.HEAD])
        if seen is None:
            findings.append(f"The tag {Tag.HEAD} of {who} cannot be read: somebody changed it.")
            continue
        witnesses.append(f"{who} (entry {seen.seq})")
        entry = entries.get(seen.seq)
        if entry is None:
            findings.append(f"{who} has seen entry {seen.seq}, which the history lacks: its tail was cut.")
        elif entry.hash != seen.hash:
            findings.append(f"{who} has seen another entry {seen.seq} than the history has.")
    return witnesses, findings


def _find_gone(state: State, versions: Sequence[ModelVersion]) -> Iterator[str]:
    present = {version.version: version.created_ms for version in versions}
    for number, record in state.records.items():
        if number not in present:
            yield f"Version {number} was deleted from MLflow; it was {record.standing}."
        elif present[number] != record.created_ms:
            yield f"Version {number} is not the one that history knows: it was deleted and made again."


def _check_artifact(ledger: Ledger, version: ModelVersion, record: Record) -> Iterator[str]:
    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
            fetch_artifact(ledger.store, version, Path(scratch) / "model", manifest=record.manifest)
    except UnreachableError:
        raise
    except GreenroomError as error:
        yield error.what
