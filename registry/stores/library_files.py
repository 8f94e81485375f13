"""Artifacts in any other place (S3, GCS, Azure, another server): MLflow's own repositories read them."""

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.environment import limit_mlflow
from registry.errors import ArtifactError, NotFoundError

from .files import check_path, check_sizes, place_file
from .translation import translating

__all__ = ["LibraryFiles"]


class LibraryFiles:
    """The files below one artifact address, through ``mlflow.store.artifact``. Imports MLflow."""

    def __init__(self, uri: str, tracking_uri: str, timeout_s: float) -> None:
        limit_mlflow(timeout_s)
        self._uri = uri
        with self._reading():
            from mlflow.store.artifact.artifact_repository_registry import (  # noqa: PLC0415 - slow import
                get_artifact_repository,
            )

            self._repository: Any = get_artifact_repository(uri, tracking_uri=tracking_uri)

    def list_sizes(self) -> Mapping[str, int]:
        """See :class:`~registry.stores.files.Files`."""
        with self._reading():
            return dict(sorted(self._walk(None)))

    def fetch_all(self, folder: Path) -> None:
        """See :class:`~registry.stores.files.Files`."""
        sizes = self.list_sizes()
        with self._reading():
            self._repository.download_artifacts("", str(folder))
        check_sizes(folder, sizes)

    def fetch_one(self, path: str, folder: Path) -> Path:
        """See :class:`~registry.stores.files.Files`."""
        target = place_file(folder, check_path(path))
        with self._reading():
            near = self._repository.list_artifacts(posixpath.dirname(path) or None)
            found = {item.path: item.file_size or 0 for item in near if not item.is_dir}
            if path not in found:
                raise NotFoundError(f"There is no artifact file {path} in {self._uri}.")
            self._repository.download_artifacts(path, str(folder))
        check_sizes(folder, {path: found[path]})
        return target

    def send_all(self, folder: Path) -> None:
        """See :class:`~registry.stores.files.Files`."""
        with translating(f"write artifacts to {self._uri}"):
            self._repository.log_artifacts(str(folder))

    def _walk(self, path: str | None) -> Iterator[tuple[str, int]]:
        for item in self._repository.list_artifacts(path):
            if item.is_dir:
                yield from self._walk(item.path)
            else:
                yield check_path(item.path), item.file_size or 0

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with translating(f"read the artifacts in {self._uri}", ArtifactError):
            yield
