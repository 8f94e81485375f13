"""What Greenroom needs of MLflow, as one protocol: the only way the ground floor touches it.

Three doors implement it and pass one contract suite (``registry.testing.store_contract``):
``RestStore`` (http and https, no ``import mlflow``), ``ClientStore`` (``MlflowClient``: every other scheme
and auth plugin) and ``MemoryStore`` (tests, dry runs). Every method raises only
:class:`~registry.GreenroomError`: UnreachableError (no answer, timeout, 429, 5xx), AccessDeniedError
(401, 403), NotFoundError, AlreadyExistsError, StoreError (any other refusal).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Experiment", "ModelVersion", "RegisteredModel", "RegistryStore", "Run"]


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model as MLflow has it now. Times are milliseconds since the epoch, UTC."""

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    created_ms: int = 0


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model version as MLflow has it now. ``created_ms`` tells it from a later one of the same number."""

    name: str
    version: str
    created_ms: int = 0
    source: str = ""
    run_id: str | None = None
    model_id: str | None = None
    status: str = "READY"
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    user: str = ""
    deprecated_stage: str = ""
    """MLflow's own deprecated stage (``Staging``, ``Production``, ``Archived``), empty where none is set."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment. ``active`` is False while it is soft-deleted (its name stays taken).

    ``created_ms`` is by the server's clock.
    """

    experiment_id: str
    name: str
    active: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its params, tags and latest metrics. ``active`` is False while it is soft-deleted."""

    run_id: str
    experiment_id: str
    name: str = ""
    status: str = "RUNNING"
    active: bool = True
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    start_ms: int = 0
    end_ms: int | None = None
    artifact_uri: str = ""
    user: str = ""


class RegistryStore(Protocol):
    """One MLflow tracking server and one MLflow model registry (usually the same server)."""

    @property
    def tracking_uri(self) -> str:
        """Where runs live, without credentials: part of a ledger's identity."""

    @property
    def registry_uri(self) -> str:
        """Where registered models live, without credentials."""

    def get_server_version(self) -> str:
        """MLflow's version as the server says it (``/version``), or the library's for embedded stores."""

    def get_user(self) -> str | None:
        """The user as MLflow authenticates them (basic auth), or None where it does not."""

    # registered models

    def get_model(self, name: str) -> RegisteredModel:
        """Raises NotFoundError if there is none. Never follows a rename."""

    def list_models(self) -> Sequence[RegisteredModel]:
        """All registered models by name; reads every page."""

    def get_version(self, name: str, version: str) -> ModelVersion:
        """Raises NotFoundError if the model or the version is gone."""

    def list_versions(self, name: str) -> Sequence[ModelVersion]:
        """All versions, newest (highest number) first; reads every page."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """A blind upsert in MLflow: a projection, never a lock. Retries MLflow's 400 UNIQUE race."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Idempotent: a missing alias is no error (MLflow says 400)."""

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Upsert."""

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Upsert."""

    def describe_model(self, name: str, description: str) -> None:
        """Replaces the registered model's description (Markdown in the UI)."""

    def describe_version(self, name: str, version: str, description: str) -> None:
        """Replaces the version's description (Markdown in the UI)."""

    # experiments and runs

    def find_experiment(self, name: str) -> Experiment | None:
        """By exact name, soft-deleted ones too; None if the name is free."""

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Name and tags in one transaction; returns the id. Raises AlreadyExistsError: the name is taken."""

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """Raises AlreadyExistsError if the name is taken. Exactly one of any number of racers wins."""

    def delete_experiment(self, experiment_id: str) -> None:
        """Soft delete."""

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Upsert."""

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> Run:
        """Starts a run now, by the client's clock."""

    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED. A finished run still takes params and tags."""

    def delete_run(self, run_id: str) -> None:
        """Soft delete; idempotent."""

    def get_run(self, run_id: str) -> Run:
        """Soft-deleted runs too. Raises NotFoundError if there is none."""

    def log_param(self, run_id: str, key: str, value: str) -> None:
        """Write once: the compare-and-swap everything rests on.

        The same value again succeeds. Raises AlreadyExistsError if the key holds another value, StoreError
        if the run is soft-deleted. Values over 6,000 characters are refused here (UsageError): MLflow
        would truncate them silently.
        """

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Upsert."""

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Logs the metrics at step 0; finite values only."""

    # artifacts

    def upload(self, run_id: str, folder: str) -> None:
        """Uploads a local folder's files as artifacts of a run, below its root (imports MLflow).

        Raises AccessDeniedError or UnreachableError if the artifact store does not take them.
        """

    def upload_logged_model(self, model_id: str, folder: str) -> None:
        """Uploads a local folder's files as those of a logged model. Raises as ``upload`` does."""

    def list_files(self, version: ModelVersion) -> Mapping[str, int]:
        """The version's artifact: relative POSIX path → size in bytes, recursively, without downloading.

        Raises ArtifactError if the artifact is gone (deleted logged model, missing source).
        """

    def download(self, version: ModelVersion, folder: str) -> None:
        """Downloads the version's whole artifact into an existing empty folder (imports MLflow).

        Raises ArtifactError if it is gone or a file could not be had whole.
        """

    def download_run_file(self, run_id: str, path: str, folder: str) -> str:
        """Downloads one artifact file of a run into a folder; returns its local path (imports MLflow).

        Raises NotFoundError if the run has no such artifact.
        """

    def download_run_files(self, run_id: str, folder: str) -> None:
        """Downloads all artifact files of a run into an existing empty folder; a run may have none.

        Raises ArtifactError if a file could not be had whole.
        """
