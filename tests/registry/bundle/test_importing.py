"""A version arrives whole, once, as a candidate, whatever happens on the way."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import PRODUCTION, RefusedError, Tag, read_history, read_status
from registry.audit import audit
from registry.bundle.content import Bundle, open_bundle
from registry.bundle.imported import read_imports
from registry.bundle.importing import Imported, import_bundle, preview_import
from registry.ledger.ledger import Actor, Ledger
from registry.manifest import compute_manifest
from registry.moves import speak
from registry.stores.client import ClientStore
from registry.stores.making import Maker
from registry.views import read_lineage
from tests.registry.bundle.conftest import NAME, Export, Place, register
from tests.registry.conftest import Artifacts
from tests.registry.histories import WRITES, Killed

MAKES = (
    "create_model",
    "create_run",
    "fill_run",
    "finish_run",
    "create_logged_model",
    "finish_logged_model",
    "create_version",
)


def bring_in(place: Place, bundle: Bundle) -> Imported:
    return import_bundle(place.ledger, place.maker, bundle)


def list_runs(place: Place) -> list[Any]:
    """Every run that came in, found by the tag that each of them has."""
    client: Any = place.maker._client
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, "tags.`greenroom.source_run` != ''"))


def test_a_version_arrives_with_its_files_and_run(
    bundle: Bundle, source: Place, arrived: tuple[Place, Imported], tmp_path: Path
) -> None:
    target, done = arrived
    (version,) = target.versions
    assert (done.version, done.seq, done.already, done.trust) == ("1", 1, False, ())
    target.store.download(version, str(tmp_path))
    assert compute_manifest(tmp_path).digest == bundle.index.manifest
    assert version.tags["team"] == "pathology"
    assert version.tags[Tag.STAGE] == "candidate"
    assert version.description.startswith("Five features.")
    there = source.store.get_run(str(source.versions[1].run_id))
    here = target.store.get_run(str(version.run_id))
    for name in ("name", "user", "status", "start_ms", "end_ms", "metrics"):
        assert getattr(here, name) == getattr(there, name)
    assert here.params == {"data.source": "rows.csv", "C": "1.0"}
    assert here.tags["mlflow.note.content"] == "Learned from rows.csv, see run."
    assert here.tags[Tag.EVALUATION] == there.tags[Tag.EVALUATION]
    lineage = read_lineage(target.ledger, "1", None)
    assert (lineage.data_sha256, lineage.trained_ms) == ("ab" * 32, there.start_ms)


def test_history_shows_where_it_was_and_verify_checks_it(
    bundle: Bundle, source: Place, arrived: tuple[Place, Imported]
) -> None:
    target, _ = arrived
    (entry,) = read_history(target.ledger)
    assert (entry.action, entry.version, entry.manifest) == ("import", "1", bundle.index.manifest)
    assert entry.details["from"]["version"] == "2"
    (imported,) = read_imports(target.store, (entry,))
    assert imported.entries == read_history(source.ledger)
    assert [one.action for one in imported.entries] == ["reject", *["promote"] * 4]
    assert set(imported.runs) == set(bundle.index.runs)
    found = audit(target.ledger)
    assert (found.findings, found.imported, found.artifacts) == ((), 5, 1)


def test_verify_finds_what_was_changed_after_the_import(
    bundle: Bundle, arrived: tuple[Place, Imported]
) -> None:
    target, done = arrived
    (imported,) = read_imports(target.store, read_history(target.ledger))
    evidence = imported.runs[bundle.index.evidence_runs[-1]]
    for run_id, name in (
        (str(done.record), "history.json"),
        (evidence, "evidence.json"),
        (evidence, "rows.parquet"),
    ):
        file = Path(target.store.get_run(run_id).artifact_uri.removeprefix("file://")) / name
        content = file.read_bytes()
        file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        (finding,) = audit(target.ledger, artifacts=False).findings
        assert "changed" in finding
        file.write_bytes(content)
    assert audit(target.ledger, artifacts=False).findings == ()


def test_the_same_version_is_not_imported_twice(bundle: Bundle, arrived: tuple[Place, Imported]) -> None:
    target, _ = arrived
    again = bring_in(target, bundle)
    assert (again.version, again.already, again.seq) == ("1", True, 1)
    assert preview_import(target.ledger, NAME, bundle).already
    assert len(target.versions) == 1
    assert len(read_history(target.ledger)) == 1


def test_a_version_that_was_deleted_can_come_again_but_not_one_that_was_rejected(
    bundle: Bundle, target: Place
) -> None:
    bring_in(target, bundle)
    target.maker.delete_version(NAME, "1")
    done = bring_in(target, bundle)
    assert (done.version, done.already) == ("2", False)
    assert audit(target.ledger).findings == ()
    speak(target.ledger, "reject", "2")
    target.maker.delete_version(NAME, "2")
    with pytest.raises(RefusedError, match="rejected exactly these files"):
        bring_in(target, bundle)
    with pytest.raises(RefusedError, match="rejected exactly these files"):
        preview_import(target.ledger, NAME, bundle)
    assert target.versions == []


def test_files_that_were_rejected_where_they_come_from_are_refused(
    export: Export, target: Place, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    rejected = open_bundle(export("4").file, tmp_path / "out")
    with pytest.raises(RefusedError, match="a person rejected version 4"):
        bring_in(target, rejected)
    with pytest.raises(RefusedError, match="a person rejected version 4"):
        preview_import(target.ledger, NAME, rejected)
    assert target.store.list_models() == []


def test_an_existing_model_gets_one_more_version_and_keeps_everything(
    bundle: Bundle, artifacts: Artifacts, target: Place, tmp_path: Path
) -> None:
    register(target, artifacts.fair, artifacts.rows, tmp_path)
    target.store.set_alias(NAME, PRODUCTION, "1")
    target.store.describe_model(NAME, "Mine.")
    before = target.versions[0]
    assert bring_in(target, bundle).version == "2"
    status = read_status(target.ledger)
    assert (status.holders[PRODUCTION].version, status.candidates) == ("1", ("2",))
    assert [entry.action for entry in read_history(target.ledger)] == ["adopt", "import"]
    assert target.versions[0].source == before.source
    assert target.store.get_model(NAME).aliases == {PRODUCTION: "1"}
    assert target.store.get_model(NAME).description.startswith("Mine.")


def test_a_dry_run_writes_nothing_and_tells_of_code(export: Export, target: Place, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = preview_import(target.ledger, NAME, open_bundle(export("3").file, tmp_path / "out"))
    assert (done.version, done.dry_run, done.already) == (None, True, False)
    assert "pickle" in done.trust[0]
    assert target.store.list_models() == []


class Mortal:
    """Passes everything on, and dies right before or right after the n-th write, whoever writes."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after = at, after

    def watch(self, found: Any, names: tuple[str, ...]) -> Any:
        mortal = self

        class Watched:
            def __getattr__(self, name: str) -> Any:
                real = getattr(found, name)
                return mortal.wrap(real) if name in names else real

        return Watched()

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            answer = real(*args, **kwargs)
            if self.left == 0:
                raise Killed
            return answer

        return write


def test_an_import_that_was_cut_off_anywhere_is_finished_by_the_next(bundle: Bundle, target: Place) -> None:
    """Every fourth write on one database, so that each attempt meets what the one before left."""
    at = 1
    while True:
        mortal = Mortal(at, after=at % 8 == 1)
        store = mortal.watch(target.store, (*WRITES, "upload_logged_model"))
        place = Place(target.settings, store, mortal.watch(target.maker, MAKES), open_on(store))
        try:
            done = bring_in(place, bundle)
            break
        except Killed:
            at += 4
    assert at > 20
    assert done.version == "1"
    assert [entry.action for entry in read_history(target.ledger)] == ["import"]
    assert len(target.versions) == 1
    assert audit(target.ledger).findings == ()
    assert sorted(run.data.tags[Tag.SOURCE_RUN] for run in list_runs(target)) == sorted(bundle.index.runs)


def open_on(store: Any) -> Ledger:
    return Ledger(store, NAME, actor=Actor("ada@lab"))


def test_two_who_import_at_once_make_one_version(bundle: Bundle, target: Place) -> None:
    found: list[Imported] = []

    def run() -> None:
        store = ClientStore(target.settings.tracking_uri)
        found.append(import_bundle(open_on(store), Maker(target.settings), bundle))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (done.version for done in found)
    assert one == other  # whichever of them made it: the other took its own back
    assert len(target.versions) == 1
    assert [entry.action for entry in read_history(target.ledger)] == ["import"]
    assert audit(target.ledger).findings == ()
