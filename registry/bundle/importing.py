"""Brings a checked bundle into an MLflow: runs, files, a version, and the entry that says where it came from.

Everything is made before the version, the version before the entry, and each thing is written down as soon as
it is there (``record``), so that an interrupted import is finished by doing it again. Nothing is overwritten:
the version is the model's next one, a candidate, and no model is opened here.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from registry.errors import ConflictError, NotFoundError, RefusedError
from registry.ledger.entry import Draft
from registry.ledger.ledger import Ledger, new_nonce
from registry.ledger.state import Holding, State
from registry.names import Tag
from registry.store import ModelVersion
from registry.stores.making import Maker
from registry.trust import inspect_trust
from registry.upkeep import ensure_history, finish, preview_history

from .content import Bundle
from .history import HISTORY
from .index import RunRecord, format_document
from .record import VERSION, ImportRecord, name_run, open_record

__all__ = ["Imported", "import_bundle", "preview_import"]

Progress = Callable[[str], None]

INDEX_COPY: Final = "bundle.json"
LOGGED_MODEL: Final = "logged_model"
MAX_DESCRIPTION: Final = 4_000
"""Characters of somebody's description that are taken over: MLflow keeps 5,000, ours comes behind."""
MAX_TAG: Final = 5_000
"""MLflow's limit for a tag's value (``MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH``; runs' may be 8,000)."""
_LINK: Final = re.compile(r"\[([^\]]*)\]\(#/[^)]*\)")
"""A link into the UI of the server that it came from: it would lead to something else here."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it, or would (``dry_run``).

    Attributes:
        model: The registered model.
        version: The version it became; None in a dry run.
        seq: The history's newest entry.
        run_id: The run that trained it, here.
        record: Run with the record of the import.
        already: It was here already; nothing was written.
        trust: What it would run that nobody vouched for here, in sentences; then it needs ``approve``.
        dry_run: Nothing was written.
        unfinished: What could not be written after the entry, if anything.
    """

    model: str
    version: str | None
    seq: int
    run_id: str | None = None
    record: str | None = None
    already: bool = False
    trust: tuple[str, ...] = ()
    dry_run: bool = False
    unfinished: str = ""


def import_bundle(
    ledger: Ledger, maker: Maker, bundle: Bundle, *, progress: Progress = lambda _: None
) -> Imported:
    """Makes the bundle's version the next one of the model; the same version is not made twice.

    Args:
        ledger: The history of the model that gets it; the model is made if there is none.
        maker: The same MLflow, to make things in.
        bundle: As ``open_bundle`` checked it.
        progress: Told what is going on.

    Raises:
        RefusedError: These files were rejected by a person, there or here.
        ArtifactError: They are no model that MLflow's pyfunc opens.
        TamperedError: The history here is not sound; nothing was changed.
        UnreachableError: MLflow gives no answer; doing it again goes on where it stopped.
    """
    _check_not_rejected_there(bundle)
    trust = _list_findings(bundle)
    maker.create_model(ledger.name, _tidy(bundle.index.model_description))
    state = ensure_history(ledger)
    _check_not_rejected_here(state, bundle)
    origin = bundle.index.identify()
    present = _find_present(ledger, state, origin)
    if present:
        return replace(_tell_present(ledger, state, present), trust=trust)
    done = _Import(ledger, maker, bundle, open_record(ledger, origin), progress).carry_out(origin)
    return replace(done, trust=trust)


def preview_import(ledger: Ledger | None, name: str, bundle: Bundle) -> Imported:
    """What :func:`import_bundle` would do, without writing anything. Raises as it does.

    Args:
        ledger: The history of the model that would get it; None where there is no MLflow yet.
        name: That model.
        bundle: As ``open_bundle`` checked it.
    """
    _check_not_rejected_there(bundle)
    nothing = Imported(name, None, 0, trust=_list_findings(bundle), dry_run=True)
    try:
        state = preview_history(ledger) if ledger else None
    except NotFoundError:
        return nothing
    if ledger is None or state is None:
        return nothing
    _check_not_rejected_here(state, bundle)
    present = _find_present(ledger, state, bundle.index.identify())
    if present:
        return replace(_tell_present(ledger, state, present), trust=nothing.trust, dry_run=True)
    return replace(nothing, seq=state.seq)


def _list_findings(bundle: Bundle) -> tuple[str, ...]:
    return tuple(f"{finding.where}: {finding.what}" for finding in inspect_trust(bundle.artifact))


def _check_not_rejected_there(bundle: Bundle) -> None:
    if bundle.history is None:
        return
    state, origin = bundle.history.state, bundle.index.origin
    standing = state.standing(origin.version, origin.created_ms)
    if standing == "rejected" or bundle.index.manifest in state.rejected:
        raise RefusedError(
            f"Where it comes from, a person rejected version {origin.version} of {origin.model}: "
            "that is final."
        )


def _check_not_rejected_here(state: State, bundle: Bundle) -> None:
    if bundle.index.manifest in state.rejected:
        raise RefusedError(f"A person rejected exactly these files for {state.model}; that is final.")


def _find_present(ledger: Ledger, state: State, origin: str) -> Holding | None:
    """The version that it became, if it is still there."""
    known = state.imported.get(origin)
    if known is None:
        return None
    try:
        version = ledger.store.get_version(ledger.name, known.version)
    except NotFoundError:
        return None
    return known if version.created_ms == known.created_ms else None


def _tell_present(ledger: Ledger, state: State, present: Holding) -> Imported:
    return Imported(ledger.name, present.version, state.seq, run_id=present.run_id, already=True)


@dataclass(frozen=True, slots=True)
class _Import:
    """One import on its way."""

    ledger: Ledger
    maker: Maker
    bundle: Bundle
    record: ImportRecord
    progress: Progress

    def carry_out(self, origin: str) -> Imported:
        index = self.bundle.index
        runs = {run_id: self._bring_run(kept, origin) for run_id, kept in self.bundle.runs.items()}
        trained = runs.get(index.training_run or "")
        model_id = self._bring_files(trained, origin)
        self.progress("registering the version")
        number = self._make_version(model_id, trained, origin)
        version = self.ledger.store.get_version(self.ledger.name, number)
        self._keep_papers()
        self.progress("writing the entry")
        seq = self._append(version, origin)
        self.ledger.store.finish_run(self.record.run_id)
        return Imported(
            self.ledger.name,
            number,
            seq,
            run_id=trained,
            record=self.record.run_id,
            unfinished=finish(self.ledger),
        )

    def _bring_run(self, kept: RunRecord, origin: str) -> str:
        """Makes a run and fills it; filling it again changes nothing."""
        self.progress(f"writing run {kept.name or kept.run_id}")
        user = kept.tags.get("mlflow.user", "")
        run_id = self.record.once(
            name_run(kept.run_id),
            lambda: self.maker.create_run(self.record.experiment_id, kept.name, user, kept.start_ms),
            self.maker.delete_run,
        )
        ours = {Tag.IMPORT: origin, Tag.SOURCE_RUN: kept.run_id}
        tags = {key: _unlink(value) for key, value in kept.tags.items()} | ours
        self.maker.fill_run(run_id, kept.params, kept.metrics, tags)
        files = self.bundle.find_files(kept.run_id)
        if files.is_dir():
            self.ledger.store.upload(run_id, str(files))
        self.maker.finish_run(run_id, kept.status, kept.end_ms)
        return run_id

    def _bring_files(self, trained: str | None, origin: str) -> str:
        self.progress("uploading the model's files")
        model_id = self.record.once(
            LOGGED_MODEL,
            lambda: self.maker.create_logged_model(
                self.record.experiment_id, self.ledger.name, trained, {Tag.IMPORT: origin}
            ),
            self.maker.delete_logged_model,
        )
        self.ledger.store.upload_logged_model(model_id, str(self.bundle.artifact))
        self.maker.finish_logged_model(model_id)
        return model_id

    def _make_version(self, model_id: str, trained: str | None, origin: str) -> str:
        index, name = self.bundle.index, self.ledger.name
        ours = {Tag.STAGE: "candidate", Tag.IMPORT: origin, Tag.IMPORT_RECORD: self.record.run_id}
        tags = {key: value[:MAX_TAG] for key, value in index.tags.items()} | ours

        def make() -> str:
            for version in self.ledger.store.list_versions(name):
                if version.tags.get(Tag.IMPORT_RECORD) == self.record.run_id:
                    return version.version  # made by an import that ended before it could write it down
            return self.maker.create_version(name, model_id, trained, tags, _tidy(index.description))

        return self.record.once(VERSION, make, lambda number: self.maker.delete_version(name, number))

    def _keep_papers(self) -> None:
        """The history where it was, and the index, as files of the record."""
        with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
            folder = Path(scratch)
            (folder / INDEX_COPY).write_bytes(format_document(self.bundle.index))
            if self.bundle.history:
                (folder / HISTORY).write_bytes((self.bundle.folder / HISTORY).read_bytes())
            self.ledger.store.upload(self.record.run_id, str(folder))

    def _append(self, version: ModelVersion, origin: str) -> int:
        draft = self._draft(version, origin)

        def decide(now: State) -> Draft:
            _check_not_rejected_here(now, self.bundle)
            known = now.imported.get(origin)
            if known and (known.version, known.created_ms) == (version.version, version.created_ms):
                raise ConflictError(f"Somebody else imported it at the same time (entry {known.seq}).")
            return draft

        with suppress(ConflictError):
            return self.ledger.append(decide)[0].seq
        return self.ledger.open().state.seq

    def _draft(self, version: ModelVersion, origin: str) -> Draft:
        index = self.bundle.index
        there, history = index.origin, self.bundle.folder / HISTORY
        details: dict[str, object] = {
            "origin": origin,
            "bundle": self.bundle.digest,
            "record": self.record.run_id,
            "from": there.model_dump(mode="json", exclude_defaults=True),
        }
        if self.bundle.history:
            details["history"] = hashlib.sha256(history.read_bytes()).hexdigest()
        return Draft(
            action="import",
            nonce=new_nonce(),
            version=version.version,
            created_ms=version.created_ms,
            run_id=version.run_id,
            manifest=self.bundle.manifest.digest,
            layout=self.bundle.manifest.layout,
            reason=f"was version {there.version} of {there.model} at {there.server}",
            details=details,
        )


def _tidy(text: str) -> str:
    """A description as it fits."""
    return _unlink(text)[:MAX_DESCRIPTION]


def _unlink(text: str) -> str:
    """Without links that led into another server's UI."""
    return _LINK.sub(r"\1", text)
