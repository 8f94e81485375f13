"""What is in a bundle, what is not, and that its parts cannot be made to contradict each other."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import DataError, RefusedError, TamperedError, read_history
from registry.bundle.container import write_container
from registry.bundle.content import Bundle, open_bundle
from registry.bundle.exporting import Exported, export_bundle
from registry.bundle.index import parse_index
from tests.registry.bundle.conftest import NAME, Export, Place, register
from tests.registry.conftest import Artifacts


def test_it_holds_files_runs_evidence_and_history(exported: Exported, bundle: Bundle, source: Place) -> None:
    index = bundle.index
    assert (index.origin.model, index.origin.version, index.stage) == (NAME, "2", "production")
    assert bundle.history is not None
    assert bundle.history.entries == read_history(source.ledger)
    assert index.parts["environment_lock"] == "artifact/requirements.txt"
    (evidence,) = index.evidence_runs
    assert {path.name for path in bundle.find_files(evidence).iterdir()} >= {"evidence.json", "rows.parquet"}
    assert list(index.policies.values()) == [f"runs/{evidence}/files/evidence.json"]
    assert index.training_run == source.versions[1].run_id
    assert exported.digest == bundle.digest == exported.file.read_bytes()[512:576].decode()


def test_the_same_state_gives_the_same_bytes(exported: Exported, export: Export) -> None:
    assert export().file.read_bytes() == exported.file.read_bytes()


def test_no_byte_of_it_names_a_folder_of_this_machine(
    exported: Exported, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = exported.file.read_bytes()
    for folder in (
        b"/home",
        b"/tmp",
        str(tmp_path_factory.getbasetemp()).encode(),
        str(Path.home()).encode(),
    ):
        assert folder not in whole
    absolute = re.compile(rb"(?<![\w./:#-])/[\w.-]+/[\w./-]+")
    for path in bundle.folder.rglob("*.json"):
        assert absolute.findall(path.read_bytes()) == []
    job = bundle.find_files(str(bundle.index.training_run)) / "job.json"
    assert json.loads(job.read_text()) == {"data": {"source": "rows.csv"}}


def test_a_bound_file_that_names_a_path_is_refused_unless_that_is_wanted(
    artifacts: Artifacts, target: Place, tmp_path: Path
) -> None:
    """As MLflow itself writes it where there is no server."""
    folder = tmp_path / "model"
    shutil.copytree(artifacts.good, folder)
    with (folder / "MLmodel").open("a") as file:
        file.write(f"artifact_path: {tmp_path}/mlruns/0/models/m-1/artifacts\n")
    number = register(target, folder, artifacts.rows, tmp_path)
    version = target.store.get_version(NAME, number)
    with pytest.raises(RefusedError, match="artifact/MLmodel: /"):
        export_bundle(target.ledger, version, tmp_path / "out.bundle")
    assert not (tmp_path / "out.bundle").exists()
    done = export_bundle(target.ledger, version, tmp_path / "out.bundle", keep_paths=True)
    assert done.index.paths == (f"artifact/MLmodel: {tmp_path}/mlruns/0/models/m-1/artifacts",)
    (tmp_path / "out").mkdir()
    found = open_bundle(done.file, tmp_path / "out")
    assert (found.history, found.index.notes) == (None, ("The model has no history.",))


def test_a_dry_run_collects_and_writes_nothing(export: Export, exported: Exported) -> None:
    done = export(dry_run=True)
    assert (done.dry_run, done.digest, done.size) == (True, exported.digest, exported.size)
    assert not done.file.exists()


def test_files_that_are_not_those_of_history_are_not_exported(
    bundle: Bundle, target: Place, tmp_path: Path
) -> None:
    from registry.bundle.importing import import_bundle

    import_bundle(target.ledger, target.maker, bundle)
    (version,) = target.versions
    (place,) = tmp_path.rglob("models/*/artifacts/MLmodel")
    place.write_text(place.read_text() + "# changed\n")
    with pytest.raises(TamperedError, match="are not those that were verified"):
        export_bundle(target.ledger, version, tmp_path / "out.bundle")


Change = Callable[[Path, dict[str, Any]], None]


def change_model(folder: Path, _: dict[str, Any]) -> None:
    (folder / "artifact" / "requirements.txt").write_text("evil\n")


def add_to_model(folder: Path, _: dict[str, Any]) -> None:
    (folder / "artifact" / "registered_model_meta").write_text("not covered by the manifest")


def change_an_entry(folder: Path, _: dict[str, Any]) -> None:
    path = folder / "history.json"
    path.write_text(path.read_text().replace("ada@lab", "eve@lab"))


def cut_the_history(folder: Path, _: dict[str, Any]) -> None:
    path = folder / "history.json"
    document = json.loads(path.read_text())
    document["chapters"][-1]["entries"].pop()
    path.write_text(json.dumps(document))


def remove_the_history(folder: Path, _: dict[str, Any]) -> None:
    (folder / "history.json").unlink()


def change_the_evidence(folder: Path, index: dict[str, Any]) -> None:
    path = folder / "runs" / index["evidence_runs"][0] / "files" / "evidence.json"
    path.write_text(path.read_text().replace('"yes"', '"no"', 1))


def change_the_rows(folder: Path, index: dict[str, Any]) -> None:
    (folder / "runs" / index["evidence_runs"][0] / "files" / "rows.parquet").write_bytes(b"PAR1")


def lead_a_run_out(_: Path, index: dict[str, Any]) -> None:
    index["evidence_runs"] = ["../../etc"]


def name_another_version(_: Path, index: dict[str, Any]) -> None:
    index["origin"]["hash"] = "0" * 64


def claim_other_files(_: Path, index: dict[str, Any]) -> None:
    index["manifest"] = "0" * 64


@pytest.mark.parametrize(
    "change",
    [
        change_model,
        add_to_model,
        change_an_entry,
        cut_the_history,
        remove_the_history,
        change_the_evidence,
        change_the_rows,
        lead_a_run_out,
        name_another_version,
        claim_other_files,
    ],
    ids=lambda change: change.__name__,
)
def test_a_bundle_made_again_around_a_change_contradicts_itself(
    change: Change, bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(bundle.folder, folder)
    index = json.loads(bundle.index.model_dump_json(by_alias=True))
    change(folder, index)
    with pytest.raises(TamperedError):
        open_bundle(pack(folder, index, tmp_path / "bundle"), make(tmp_path / "out"))


def test_a_bundle_of_a_newer_greenroom_says_so(bundle: Bundle, tmp_path: Path) -> None:
    index = json.loads(bundle.index.model_dump_json(by_alias=True)) | {"schema": "greenroom/bundle/9"}
    with pytest.raises(DataError, match="newer"):
        open_bundle(pack(bundle.folder, index, tmp_path / "bundle"), make(tmp_path / "out"))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"schema": "greenroom/bundle/1"}', b"[" * 9999]
)
def test_an_index_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises((TamperedError, DataError)):
        parse_index(text)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def pack(folder: Path, index: dict[str, Any], target: Path) -> Path:
    """Writes a bundle as ``export`` does, of whatever is in the folder."""
    files = sorted(
        (path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()
    )
    index["files"] = [
        {"path": name, "size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in files
        if not name.startswith("index.")
    ]
    members = {name: path for name, path in files if not name.startswith("index.")}
    write_container(target, json.dumps(index).encode(), members)
    return target
