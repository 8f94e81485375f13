"""Where a version's artifact really lies, and how to get it: the same for every way to ask MLflow.

A version's source may be a logged model (``models:/m-…``), another version (``models:/NAME/3``), a run's
folder (``runs:/…``) or the address itself (``mlflow-artifacts:/…``, ``s3://…``, a folder).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from registry.errors import ArtifactError, NotFoundError
from registry.store import ModelVersion, Run

from .files import Files, check_path, check_sizes
from .parsing import find_model_id

__all__ = ["ArtifactReader"]


class ArtifactReader(ABC):
    """The artifact methods of a :class:`~registry.RegistryStore`, on four questions to MLflow."""

    @abstractmethod
    def get_run(self, run_id: str) -> Run:
        """See :class:`~registry.RegistryStore`."""

    @abstractmethod
    def _get_logged_model_uri(self, model_id: str) -> str:
        """Where a logged model lies; raises NotFoundError if it was deleted."""

    @abstractmethod
    def _get_download_uri(self, version: ModelVersion) -> str:
        """What the registry says where a version lies."""

    @abstractmethod
    def _open_files(self, uri: str) -> Files:
        """The files below an artifact address."""

    def list_files(self, version: ModelVersion) -> Mapping[str, int]:
        """See :class:`~registry.RegistryStore`."""
        return _list(self._open_files(self._resolve(version)), version)

    def download(self, version: ModelVersion, folder: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        files = self._open_files(self._resolve(version))
        sizes = _list(files, version)
        try:
            files.fetch_all(Path(folder))
        except NotFoundError as error:
            raise ArtifactError(f"{_name(version)} lost a file while it was downloaded: {error}") from error
        check_sizes(Path(folder), sizes)

    def download_run_file(self, run_id: str, path: str, folder: str) -> str:
        """See :class:`~registry.RegistryStore`."""
        files = self._open_files(self.get_run(run_id).artifact_uri)
        return str(files.fetch_one(check_path(path), Path(folder)))

    def upload(self, run_id: str, folder: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        self._open_files(self.get_run(run_id).artifact_uri).send_all(Path(folder))

    def upload_logged_model(self, model_id: str, folder: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        self._open_files(self._get_logged_model_uri(model_id)).send_all(Path(folder))

    def download_run_files(self, run_id: str, folder: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        files = self._open_files(self.get_run(run_id).artifact_uri)
        sizes = files.list_sizes()
        try:
            if sizes:
                files.fetch_all(Path(folder))
        except NotFoundError as error:
            raise ArtifactError(f"Run {run_id} lost a file while it was downloaded: {error}") from error
        check_sizes(Path(folder), sizes)

    def _resolve(self, version: ModelVersion) -> str:
        model_id = find_model_id(version.source)
        try:
            uri = self._get_logged_model_uri(model_id) if model_id else self._get_download_uri(version)
            if not uri.startswith("runs:/"):
                return uri
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            return f"{self.get_run(run_id).artifact_uri.rstrip('/')}/{path}"
        except NotFoundError as error:
            raise ArtifactError(
                f"{_name(version)} has lost its files: {version.source} does not exist any more.",
                hint="Its logged model, run or version was deleted.",
            ) from error


def _list(files: Files, version: ModelVersion) -> Mapping[str, int]:
    sizes = files.list_sizes()
    if not sizes:
        raise ArtifactError(
            f"{_name(version)} has no files at {version.source}.",
            hint="They were deleted, moved, or never written.",
        )
    return sizes


def _name(version: ModelVersion) -> str:
    return f"Version {version.version} of model {version.name}"
