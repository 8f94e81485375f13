"""Checks what a bundle says against itself: files, manifest, history, evidence. Opens no model."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from registry.errors import ArtifactError, TamperedError
from registry.ledger.entry import Entry
from registry.manifest import Manifest, compute_manifest

from .container import read_container
from .history import HISTORY, BundledHistory, parse_history
from .index import ARTIFACT, RUNS, Index, RunRecord, parse_index, parse_run_record

__all__ = ["EVIDENCE", "RECORD", "ROWS", "Bundle", "check_content", "list_decisions", "open_bundle"]

EVIDENCE = "evidence.json"
ROWS = "rows.parquet"
RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was checked from the first byte to the last.

    Attributes:
        index: What it holds.
        digest: sha256 of the index.
        folder: Where it is unpacked; the caller removes it.
        manifest: Of the version's files.
        history: Where the version was; None if it had no history.
        runs: The runs that travel, by their id where they were.
    """

    index: Index
    digest: str
    folder: Path
    manifest: Manifest
    history: BundledHistory | None
    runs: dict[str, RunRecord]

    @property
    def artifact(self) -> Path:
        """The folder with the version's files."""
        return self.folder / ARTIFACT

    def find_files(self, run_id: str) -> Path:
        """The folder with a run's files; it may not exist."""
        return self.folder / RUNS / run_id / "files"


def open_bundle(source: Path, folder: Path, *, digest: str = "") -> Bundle:
    """Unpacks a bundle and checks everything that can be checked without an MLflow.

    Args:
        source: The file.
        folder: An existing, empty, private folder; the caller removes it.
        digest: What the index's sha256 must be, where the sender told it.

    Raises:
        NotFoundError: There is no such file.
        TamperedError: A byte is not as it was written, or the parts contradict each other.
        DataError: It is of a newer Greenroom, or there is no room to unpack it.
    """
    found, index = read_container(source, folder, lambda text: parse_index(text).members, digest=digest)
    return check_content(parse_index(index), folder, found)


def check_content(index: Index, folder: Path, digest: str) -> Bundle:
    """Checks that artifact, history and evidence are what index and entries say they are.

    Args:
        index: What must be in the folder.
        folder: The bundle, unpacked; the bytes of its files are those that the index names.
        digest: sha256 of the index.

    Raises:
        TamperedError: They contradict each other.
    """
    manifest = _check_artifact(index, folder)
    history = _check_history(index, folder)
    runs = {run_id: _read_run(folder, run_id) for run_id in index.runs}
    bundle = Bundle(index, digest, folder, manifest, history, runs)
    for entry in list_decisions(history, index):
        if entry.evidence and entry.evidence_run in runs:
            _check_evidence(bundle.find_files(entry.evidence_run), entry)
    return bundle


def list_decisions(history: BundledHistory | None, index: Index) -> tuple[Entry, ...]:
    """The entries that are about the version itself, and not about another of its number."""
    about = (index.origin.version, index.origin.created_ms)
    entries = history.entries if history else ()
    return tuple(entry for entry in entries if (entry.version, entry.created_ms) == about)


def _check_artifact(index: Index, folder: Path) -> Manifest:
    try:
        manifest = compute_manifest(folder / ARTIFACT)
    except ArtifactError as error:
        raise TamperedError(f"The bundle holds no model: {error.what}") from error
    named = {file.path.removeprefix(f"{ARTIFACT}/") for file in index.files if _is_artifact(file.path)}
    if manifest.digest != index.manifest or named != set(manifest.files):
        raise TamperedError(
            f"The model's files in the bundle have manifest {manifest.digest[:12]}, its index says "
            f"{index.manifest[:12]}.",
            hint="Nothing was opened.",
        )
    return manifest


def _is_artifact(path: str) -> bool:
    return path.startswith(f"{ARTIFACT}/")


def _check_history(index: Index, folder: Path) -> BundledHistory | None:
    origin, path = index.origin, folder / HISTORY
    if not origin.ledger:
        return None
    if not path.is_file():
        raise TamperedError("The bundle's index names a history that the bundle lacks.")
    history = parse_history(path.read_text("utf-8"))
    state = history.state
    if (state.ledger, state.seq, state.hash) != (origin.ledger, origin.seq, origin.hash):
        raise TamperedError("The bundle's history is not the one that its index names.")
    record = state.records.get(origin.version)
    if record and record.created_ms == origin.created_ms and record.manifest not in ("", index.manifest):
        raise TamperedError(
            f"The bundle's history knows version {origin.version} with manifest {record.manifest[:12]}, the "
            f"bundle holds files with manifest {index.manifest[:12]}."
        )
    return history


def _read_run(folder: Path, run_id: str) -> RunRecord:
    path = folder / RUNS / run_id / RECORD
    if not path.is_file():
        raise TamperedError(f"The bundle's index names a run {run_id} that the bundle lacks.")
    record = parse_run_record(path.read_bytes())
    if record.run_id != run_id:
        raise TamperedError(f"The bundle's run {run_id} says that it is {record.run_id}.")
    return record


def _check_evidence(files: Path, entry: Entry) -> None:
    """The evidence is what the decision rested on: the entry holds its document's digest, that the rows'."""
    document = files / EVIDENCE
    content = document.read_bytes() if document.is_file() else b""
    if hashlib.sha256(content).hexdigest() != entry.evidence:
        raise TamperedError(f"The evidence of entry {entry.seq} is not what the decision rested on.")
    try:
        wanted = json.loads(content).get("rows")
    except (ValueError, AttributeError) as error:
        raise TamperedError(f"The evidence of entry {entry.seq} cannot be read.") from error
    rows = files / ROWS
    if wanted and (not rows.is_file() or hashlib.sha256(rows.read_bytes()).hexdigest() != wanted):
        raise TamperedError(f"The rows that entry {entry.seq} was judged by are not those in the bundle.")
