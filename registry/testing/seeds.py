"""What happens to an MLflow outside Greenroom (registering, deleting, renaming), for tests of any store."""

import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry.stores.memory import MemoryStore
from registry.stores.parsing import find_model_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MemorySeed", "MlflowSeed", "Seed"]


class Seed(Protocol):
    """What other people do with the MLflow that a store under test looks at."""

    def add_model(self, name: str) -> None:
        """Registers a model."""

    def add_version(self, name: str, source: str, run_id: str | None = None) -> str:
        """Registers a version; returns its number."""

    def add_logged_model(self, experiment_id: str, files: Mapping[str, bytes]) -> str:
        """Logs a model with these files; returns its id."""

    def add_run_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Logs files as artifacts of a run."""

    def remove_logged_model(self, model_id: str) -> None:
        """Deletes a logged model."""

    def remove_version(self, name: str, version: str) -> None:
        """Deletes a version."""

    def remove_model(self, name: str) -> None:
        """Deletes a registered model."""

    def rename_model(self, name: str, new_name: str) -> None:
        """Renames a registered model."""


class MlflowSeed:
    """A seed for a real MLflow, by its own client."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def add_model(self, name: str) -> None:
        """See :class:`Seed`."""
        self._client.create_registered_model(name)

    def add_version(self, name: str, source: str, run_id: str | None = None) -> str:
        """See :class:`Seed`."""
        model_id = find_model_id(source)
        return str(self._client.create_model_version(name, source, run_id, model_id=model_id).version)

    def add_logged_model(self, experiment_id: str, files: Mapping[str, bytes]) -> str:
        """See :class:`Seed`."""
        model = self._client.create_logged_model(experiment_id, name="seed")
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), files)
            self._client.log_model_artifacts(model.model_id, folder)
        self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def add_run_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """See :class:`Seed`."""
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), files)
            self._client.log_artifacts(run_id, folder)

    def remove_logged_model(self, model_id: str) -> None:
        """See :class:`Seed`."""
        self._client.delete_logged_model(model_id)

    def remove_version(self, name: str, version: str) -> None:
        """See :class:`Seed`."""
        self._client.delete_model_version(name, version)

    def remove_model(self, name: str) -> None:
        """See :class:`Seed`."""
        self._client.delete_registered_model(name)

    def rename_model(self, name: str, new_name: str) -> None:
        """See :class:`Seed`."""
        self._client.rename_registered_model(name, new_name)


class MemorySeed:
    """A seed for the store in memory.

    Args:
        store: The store.
        folder: Where artifacts go.
    """

    def __init__(self, store: MemoryStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def add_model(self, name: str) -> None:
        """See :class:`Seed`."""
        self._store.add_model(name)

    def add_version(self, name: str, source: str, run_id: str | None = None) -> str:
        """See :class:`Seed`."""
        return self._store.add_version(name, source, run_id=run_id).version

    def add_logged_model(self, experiment_id: str, files: Mapping[str, bytes]) -> str:
        """See :class:`Seed`."""
        folder = self._folder / experiment_id / uuid.uuid4().hex
        _write(folder, files)
        return self._store.add_logged_model(folder)

    def add_run_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """See :class:`Seed`."""
        _write(Path(self._store.get_run(run_id).artifact_uri), files)

    def remove_logged_model(self, model_id: str) -> None:
        """See :class:`Seed`."""
        self._store.remove_logged_model(model_id)

    def remove_version(self, name: str, version: str) -> None:
        """See :class:`Seed`."""
        self._store.remove_version(name, version)

    def remove_model(self, name: str) -> None:
        """See :class:`Seed`."""
        self._store.remove_model(name)

    def rename_model(self, name: str, new_name: str) -> None:
        """See :class:`Seed`."""
        self._store.rename_model(name, new_name)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
