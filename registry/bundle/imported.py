"""Reads back what imports brought: where versions came from, and what was decided about them there."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import GreenroomError, NotFoundError, TamperedError, UnreachableError
from registry.ledger.entry import Entry
from registry.store import RegistryStore

from .history import HISTORY, parse_history
from .record import RUN

__all__ = ["ImportedHistory", "check_import", "read_imports"]


@dataclass(frozen=True, slots=True)
class ImportedHistory:
    """What came along with one imported version.

    Attributes:
        entry: The entry of the import, in the history here.
        entries: The entries there, in order; empty if there was no history, or ``problem`` says why.
        runs: Runs that came along: their id there → their id here.
        problem: Why it cannot be shown, as a sentence; empty if it can.
        is_tampered: Whether what was found is not what came.
    """

    entry: Entry
    entries: tuple[Entry, ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    is_tampered: bool = False


def read_imports(store: RegistryStore, entries: Sequence[Entry]) -> Iterator[ImportedHistory]:
    """The histories that came along, one for each import, each checked.

    Args:
        store: MLflow.
        entries: Of the history here.

    Raises:
        UnreachableError: MLflow or the artifact store gives no answer.
    """
    yield from (_read(store, entry) for entry in entries if entry.action == "import")


def check_import(store: RegistryStore, found: ImportedHistory) -> Iterator[str]:
    """Sentences about what came along with a version and is not as it came: its history, its evidence.

    Raises:
        UnreachableError: MLflow or the artifact store gives no answer.
    """
    if found.is_tampered:
        yield found.problem
    yield from _check_evidence(store, found)


def _read(store: RegistryStore, entry: Entry) -> ImportedHistory:
    wanted, record = entry.details.get("history"), entry.details.get("record")
    if not wanted:
        return ImportedHistory(entry)
    where = f"The history that came with version {entry.version} (entry {entry.seq})"
    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
            content = Path(store.download_run_file(str(record), HISTORY, scratch)).read_bytes()
        if hashlib.sha256(content).hexdigest() != wanted:
            return ImportedHistory(entry, problem=f"{where} was changed.", is_tampered=True)
        return ImportedHistory(
            entry, parse_history(content.decode("utf-8")).entries, _read_runs(store, entry)
        )
    except UnreachableError:
        raise
    except TamperedError as error:
        return ImportedHistory(entry, problem=f"{where} was changed: {error.what}", is_tampered=True)
    except GreenroomError as error:
        return ImportedHistory(entry, problem=f"{where} is gone: {error.what}")


def _check_evidence(store: RegistryStore, found: ImportedHistory) -> Iterator[str]:
    from registry.evidence import read_evidence  # noqa: PLC0415 - pydantic, which reading a history needs not

    there = found.entry.details.get("from", {})
    about = (there.get("version"), there.get("created_ms"))
    for entry in found.entries:
        run_id = found.runs.get(entry.evidence_run or "")
        if not run_id or not entry.evidence or (entry.version, entry.created_ms) != about:
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
                read_evidence(store, run_id, Path(scratch), digest=entry.evidence)
        except UnreachableError:
            raise
        except NotFoundError:
            continue  # gone, as any run may be
        except GreenroomError as error:
            yield f"Entry {entry.seq}, which came with version {found.entry.version}: {error.what}"


def _read_runs(store: RegistryStore, entry: Entry) -> dict[str, str]:
    """What the record says was made of which run."""
    params = store.get_run(str(entry.details.get("record"))).params
    return {key.removeprefix(RUN): run_id for key, run_id in params.items() if key.startswith(RUN)}
