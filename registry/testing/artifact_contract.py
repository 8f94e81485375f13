"""The contract's part on artifacts: listed with sizes, and had whole or not at all."""

# ruff: noqa: D102 - the names of the tests are sentences

from collections.abc import Mapping
from pathlib import Path

import pytest

from registry.errors import ArtifactError, NotFoundError
from registry.store import ModelVersion, RegistryStore, Run

from .contract_base import ContractBase
from .seeds import Seed

__all__ = ["ArtifactContract"]

FILES: Mapping[str, bytes] = {
    "MLmodel": b"flavors: {}\n",
    "data/a b.txt": b"with a blank",
    "data/deep/ü.bin": bytes(range(256)) * 5000,
    "empty": b"",
}
SIZES = {path: len(content) for path, content in FILES.items()}


class ArtifactContract(ContractBase):
    """Artifacts of versions and runs."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An empty folder to download into."""
        folder = tmp_path / "downloaded"
        folder.mkdir()
        return folder

    # artifacts

    def test_a_version_of_a_logged_model_names_it(
        self, store: RegistryStore, seed: Seed, model: str, experiment_id: str
    ) -> None:
        assert self._add_version(store, seed, model, experiment_id).model_id is not None

    def test_a_versions_files_are_listed_with_sizes_and_downloaded_whole(
        self, store: RegistryStore, seed: Seed, model: str, experiment_id: str, folder: Path
    ) -> None:
        version = self._add_version(store, seed, model, experiment_id)
        assert dict(store.list_files(version)) == SIZES
        store.download(version, str(folder))
        assert _read_folder(folder) == FILES

    def test_a_version_of_a_runs_folder_is_read_from_there(
        self, store: RegistryStore, seed: Seed, model: str, run: Run, folder: Path
    ) -> None:
        seed.add_run_files(run.run_id, {"model/MLmodel": b"1", "model/data/x": b"22", "other": b"333"})
        for source in (f"runs:/{run.run_id}/model", f"{run.artifact_uri}/model"):
            version = store.get_version(model, seed.add_version(model, source, run.run_id))
            assert dict(store.list_files(version)) == {"MLmodel": 1, "data/x": 2}
            target = folder / version.version
            target.mkdir()
            store.download(version, str(target))
            assert _read_folder(target) == {"MLmodel": b"1", "data/x": b"22"}

    def test_a_version_whose_logged_model_was_deleted_has_lost_its_files(
        self, store: RegistryStore, seed: Seed, model: str, experiment_id: str, folder: Path
    ) -> None:
        version = self._add_version(store, seed, model, experiment_id)
        seed.remove_logged_model(str(version.model_id))
        with pytest.raises(ArtifactError, match="lost its files"):
            store.list_files(version)
        with pytest.raises(ArtifactError, match="lost its files"):
            store.download(version, str(folder))
        assert list(folder.iterdir()) == []

    def test_a_version_whose_source_does_not_exist_has_no_files(
        self, store: RegistryStore, seed: Seed, model: str, run: Run, folder: Path
    ) -> None:
        version = store.get_version(model, seed.add_version(model, f"runs:/{run.run_id}/no", run.run_id))
        with pytest.raises(ArtifactError, match="no files"):
            store.list_files(version)
        with pytest.raises(ArtifactError, match="no files"):
            store.download(version, str(folder))

    def test_one_file_of_a_run_is_downloaded(
        self, store: RegistryStore, seed: Seed, run: Run, folder: Path
    ) -> None:
        seed.add_run_files(run.run_id, FILES)
        for path, content in FILES.items():
            assert Path(store.download_run_file(run.run_id, path, str(folder))).read_bytes() == content

    @pytest.mark.parametrize("path", ["nothing", "data/nothing", "data", "no/folder"])
    def test_a_file_that_a_run_does_not_have_is_not_found(
        self, store: RegistryStore, seed: Seed, run: Run, path: str, folder: Path
    ) -> None:
        seed.add_run_files(run.run_id, {"data/a": b"1"})
        with pytest.raises(NotFoundError):
            store.download_run_file(run.run_id, path, str(folder))

    def test_a_path_that_climbs_out_is_refused(
        self, store: RegistryStore, seed: Seed, run: Run, folder: Path
    ) -> None:
        seed.add_run_files(run.run_id, {"data/a": b"1"})
        with pytest.raises(ArtifactError, match="unsafe"):
            store.download_run_file(run.run_id, "../data/a", str(folder))

    def test_an_uploaded_folder_comes_back_whole(self, store: RegistryStore, run: Run, folder: Path) -> None:
        source, target = folder / "source", folder / "target"
        target.mkdir()
        for path, content in FILES.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
        store.upload(run.run_id, str(source))
        store.upload(run.run_id, str(source))
        for path, content in FILES.items():
            assert Path(store.download_run_file(run.run_id, path, str(target))).read_bytes() == content

    def test_all_files_of_a_run_are_downloaded_none_if_it_has_none(
        self, store: RegistryStore, seed: Seed, run: Run, folder: Path
    ) -> None:
        store.download_run_files(run.run_id, str(folder))
        assert _read_folder(folder) == {}
        seed.add_run_files(run.run_id, FILES)
        store.download_run_files(run.run_id, str(folder))
        assert _read_folder(folder) == FILES

    def test_files_of_a_logged_model_are_uploaded(
        self, store: RegistryStore, seed: Seed, model: str, experiment_id: str, folder: Path
    ) -> None:
        model_id = seed.add_logged_model(experiment_id, {"MLmodel": b"0"})
        source, target = folder / "source", folder / "target"
        target.mkdir()
        for path, content in FILES.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
        store.upload_logged_model(model_id, str(source))
        version = store.get_version(model, seed.add_version(model, f"models:/{model_id}"))
        store.download(version, str(target))
        assert _read_folder(target) == {"MLmodel": b"0", **FILES}

    def _add_version(self, store: RegistryStore, seed: Seed, model: str, experiment_id: str) -> ModelVersion:
        model_id = seed.add_logged_model(experiment_id, FILES)
        return store.get_version(model, seed.add_version(model, f"models:/{model_id}"))


def _read_folder(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }
