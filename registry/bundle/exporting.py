"""Writes a version, with all that is known about it, into one file."""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from registry.artifact import fetch_artifact
from registry.errors import ArtifactError, NotFoundError, RefusedError
from registry.ledger.entry import Entry
from registry.ledger.ledger import Ledger
from registry.ledger.state import State
from registry.manifest import CHUNK, IGNORED
from registry.names import STAGES, Tag
from registry.store import ModelVersion, Run
from registry.texts import merge_block
from registry.views import read_history

from .container import write_container
from .content import EVIDENCE, RECORD, check_content
from .history import HISTORY, format_history, parse_history
from .index import ARTIFACT, RUNS, File, Index, Origin, RunRecord, format_document
from .paths import clean_pairs, clean_text, find_own_folders, find_paths

__all__ = ["Exported", "export_bundle"]

Progress = Callable[[str], None]

CLEANED: Final = frozenset(
    {".json", ".toml", ".yaml", ".yml", ".txt", ".md", ".html", ".log", ".cfg", ".ini"}
)
"""Files of a run that are prose or settings, and bound to nothing: paths are taken out of them."""
LEFT_BEHIND: Final = frozenset({"mlflow.log-model.history", "mlflow.runName"})
"""Tags that say where MLflow 2 put a model, or what the run's name says already."""
PROJECTED: Final = frozenset({Tag.STAGE, Tag.MANIFEST, Tag.HEAD, Tag.EVIDENCE, Tag.IMPORT, Tag.IMPORT_RECORD})
"""Tags that a history writes by itself."""
MAX_PATHS: Final = 50
MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, or would be (``dry_run``).

    Attributes:
        file: Where it is.
        digest: sha256 of its index, by which the receiver knows it.
        size: Bytes.
        index: What it holds.
        dry_run: Nothing was written.
    """

    file: Path
    digest: str
    size: int
    index: Index
    dry_run: bool = False


def export_bundle(
    ledger: Ledger,
    version: ModelVersion,
    file: Path,
    *,
    keep_paths: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Exported:
    """Collects a version's files, runs, evidence and history, checks them, and writes them as one file.

    Files, history and evidence travel byte for byte, since digests bind them. Params, tags, notes and the
    settings among a run's files are freed of absolute paths.

    Args:
        ledger: The model's history; it may not have begun.
        version: Which version.
        file: Where to; replaced if it is there.
        keep_paths: Go on although a file that must not be changed names a path of a machine.
        dry_run: Collect and check, but write nothing.
        progress: Told what is going on.

    Raises:
        TamperedError: Files, history or evidence are not as they were recorded.
        RefusedError: A file that must not be changed names a path of a machine.
        ArtifactError: The version's files are gone.
        DataError: The file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        collection = _Collection(ledger, version, Path(scratch), progress)
        index = collection.collect()
        if index.paths and not keep_paths:
            raise RefusedError(
                f"A file that must stay as it is names a path of a machine: {index.paths[0]}.",
                hint="Nothing was written. If it may be known where it goes: --keep-paths",
            )
        text = format_document(index)
        size = len(text) + sum(one.size for one in index.files)
        check_content(index, collection.folder, "")
        digest = hashlib.sha256(text).hexdigest()
        if not dry_run:
            members = {one.path: collection.folder / one.path for one in index.files}
            write_container(
                file,
                text,
                members,
                progress=lambda done: progress(f"writing {done // MEGABYTE} of {size // MEGABYTE} MB"),
            )
        return Exported(file, digest, size, index, dry_run)


@dataclass(slots=True)
class _Collection:
    """What goes into the bundle, gathered in a folder."""

    ledger: Ledger
    version: ModelVersion
    folder: Path
    progress: Progress
    notes: list[str] = field(default_factory=list)
    own: tuple[str, ...] = ()
    policies: dict[str, str] = field(default_factory=dict)

    def collect(self) -> Index:
        store, version = self.ledger.store, self.version
        self.own = find_own_folders([store.tracking_uri, store.registry_uri, version.source])
        state, entries = self._take_history()
        manifest = self._take_artifact(state)
        trained = self._take_run(version.run_id, "The run that trained it") if version.run_id else None
        evidence = self._take_evidence(entries)
        self.progress("checking what is in it")
        return Index(
            made_by=f"greenroom {metadata.version('greenroom')}",
            origin=Origin(
                server=clean_text(store.tracking_uri, self.own),
                model=version.name,
                version=version.version,
                created_ms=version.created_ms,
                run_id=version.run_id,
                ledger=state.ledger if state else "",
                seq=state.seq if state else 0,
                hash=state.hash if state else "",
            ),
            stage=_find_stage(state, version),
            manifest=manifest,
            description=self._clean(merge_block(version.description, "")),
            model_description=self._clean(merge_block(store.get_model(version.name).description, "")),
            tags=self._clean_tags(version.tags, PROJECTED),
            parts=_list_parts(self.folder),
            policies=self.policies,
            training_run=trained,
            evidence_runs=evidence,
            paths=self._list_paths(),
            notes=tuple(self.notes),
            files=tuple(self._list_files()),
        )

    def _take_history(self) -> tuple[State | None, tuple[Entry, ...]]:
        reading = self.ledger.find()
        if reading is None or reading.state.seq == 0:
            self.notes.append("The model has no history.")
            return None, ()
        self.progress("reading the history")
        read_history(self.ledger)  # with every check there is
        text = format_history(self.ledger.walk())
        (self.folder / HISTORY).write_text(text, "utf-8")
        found = parse_history(text)
        return found.state, found.entries

    def _take_artifact(self, state: State | None) -> str:
        version = self.version
        record = state.records.get(version.version) if state else None
        known = record.manifest if record and record.created_ms == version.created_ms else ""
        self.progress(f"downloading the files of version {version.version}")
        folder = self.folder / ARTIFACT
        manifest = fetch_artifact(self.ledger.store, version, folder, manifest=known)
        for path in [path for path in folder.rglob("*") if path.name in IGNORED]:
            path.unlink()
        return manifest.digest

    def _take_evidence(self, entries: tuple[Entry, ...]) -> tuple[str, ...]:
        taken: dict[str, bool] = {}
        for entry in entries:
            about = (entry.version, entry.created_ms) == (self.version.version, self.version.created_ms)
            run_id = entry.evidence_run
            if not (about and run_id):
                continue
            if run_id not in taken:
                taken[run_id] = self._take_run(run_id, f"The evidence of entry {entry.seq}") is not None
            if taken[run_id] and entry.policy and self._has_policy(run_id):
                self.policies[entry.policy] = f"{RUNS}/{run_id}/files/{EVIDENCE}"
        return tuple(run_id for run_id, is_there in taken.items() if is_there)

    def _has_policy(self, run_id: str) -> bool:
        path = self.folder / RUNS / run_id / "files" / EVIDENCE
        try:
            return path.is_file() and "policy" in json.loads(path.read_bytes())
        except (ValueError, TypeError):
            return False

    def _take_run(self, run_id: str, what: str) -> str | None:
        """Writes a run down with its files; None, and a note, if it is gone."""
        self.progress(f"downloading run {run_id}")
        place = self.folder / RUNS / run_id
        files = place / "files"
        files.mkdir(parents=True)
        try:
            run = self.ledger.store.get_run(run_id)
            self.own = tuple({*self.own, *find_own_folders([run.artifact_uri])})
            self.ledger.store.download_run_files(run_id, str(files))
        except (NotFoundError, ArtifactError) as error:
            self.notes.append(f"{what} is not in it: {error.what}")
            _remove(place)
            return None
        self._leave_model(run, files)
        for path in sorted(files.rglob("*")):
            if path.is_file() and path.suffix.lower() in CLEANED and path.name != EVIDENCE:
                self._clean_file(path)
        (place / RECORD).write_bytes(format_document(self._record(run)))
        return run_id

    def _leave_model(self, run: Run, files: Path) -> None:
        """Where MLflow 2 put the model among the run's files, it travels once, as the artifact."""
        places = (f"runs:/{run.run_id}", run.artifact_uri.rstrip("/"))
        for place in places:
            if self.version.source == place or self.version.source.startswith(f"{place}/"):
                _remove(files / self.version.source.removeprefix(place).strip("/"))

    def _record(self, run: Run) -> RunRecord:
        strange = sorted(name for name, value in run.metrics.items() if not math.isfinite(value))
        if strange:
            self.notes.append(f"Run {run.run_id}: metrics that are no numbers stayed ({', '.join(strange)}).")
        return RunRecord(
            run_id=run.run_id,
            name=self._clean(run.name),
            status=run.status,
            start_ms=run.start_ms,
            end_ms=run.end_ms,
            params=clean_pairs(run.params, self.own),
            tags=self._clean_tags(run.tags, LEFT_BEHIND),
            metrics={name: value for name, value in run.metrics.items() if name not in strange},
        )

    def _clean_file(self, path: Path) -> None:
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            return  # no text after all; looked through like any other file
        cleaned = self._clean(text)
        if cleaned != text:
            path.write_bytes(cleaned.encode("utf-8"))

    def _clean(self, text: str) -> str:
        return clean_text(text, self.own)

    def _clean_tags(self, tags: Mapping[str, str], without: frozenset[str]) -> dict[str, str]:
        return clean_pairs({key: value for key, value in tags.items() if key not in without}, self.own)

    def _list_paths(self) -> tuple[str, ...]:
        """What is left in files that must not be changed, or are no text."""
        found = [
            f"{name}: {path}" for name, file in _walk(self.folder) for path in find_paths(file, self.own)
        ]
        return tuple(found[:MAX_PATHS])

    def _list_files(self) -> list[File]:
        return [
            File(path=name, size=file.stat().st_size, sha256=_hash(file)) for name, file in _walk(self.folder)
        ]


def _find_stage(state: State | None, version: ModelVersion) -> str | None:
    standing = state.standing(version.version, version.created_ms) if state else None
    return standing if standing in STAGES else None


def _list_parts(folder: Path) -> dict[str, str]:
    """The environment lock, and whatever layers the model has, by name."""
    parts = {}
    for name, file in _walk(folder / ARTIFACT):
        if name == "requirements.txt":
            parts["environment_lock"] = f"{ARTIFACT}/{name}"
        elif file.suffix == ".json" and (file.parent.name == "parts" or file.name == "contract.json"):
            parts[file.stem] = f"{ARTIFACT}/{name}"
    return parts


def _walk(folder: Path) -> list[tuple[str, Path]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted((path.relative_to(folder).as_posix(), path) for path in files)


def _hash(file: Path) -> str:
    content = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            content.update(chunk)
    return content.hexdigest()


def _remove(place: Path) -> None:
    import shutil  # noqa: PLC0415 - rarely needed

    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
