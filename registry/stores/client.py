"""MLflow through its own client: embedded databases, Databricks, plug-ins, whatever it learns to speak."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry.clock import Clock, SystemClock
from registry.environment import limit_mlflow
from registry.errors import AlreadyExistsError, NotFoundError, StoreError
from registry.store import Experiment, ModelVersion, RegisteredModel, Run

from .address import parse_address
from .artifacts import ArtifactReader
from .files import Files, LocalFiles, find_local_folder
from .library_files import LibraryFiles
from .parsing import find_model_id
from .rules import (
    check_metrics,
    check_param,
    repeat_unique_race,
    settle_name,
    settle_param,
    turn_pages,
)
from .translation import translating

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ClientStore"]


class ClientStore(ArtifactReader):
    """A :class:`~registry.RegistryStore` on ``MlflowClient``. Imports MLflow when made. Threads may share it.

    Args:
        tracking_uri: Anything MLflow understands.
        registry_uri: Where registered models are, if elsewhere.
        timeout_s: How long one request of MLflow's client may take, where it speaks http.
        clock: Tells when a run started and ended.
        page_size: How many models or versions to ask for at once.
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        *,
        timeout_s: float = 10.0,
        clock: Clock | None = None,
        page_size: int = 200,
    ) -> None:
        limit_mlflow(timeout_s)
        self._uri = tracking_uri
        self._tracking = parse_address(tracking_uri)
        self._registry = parse_address(registry_uri or tracking_uri)
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._page_size = page_size
        with translating("open MLflow"):
            self._client = make_client(tracking_uri, registry_uri or tracking_uri)

    @property
    def tracking_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._tracking.text

    @property
    def registry_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._registry.text

    def get_server_version(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        if self._tracking.is_http:
            return str(self._ask_http("/version").text).strip()
        import mlflow  # noqa: PLC0415 - slow import

        return str(mlflow.__version__)

    def get_user(self) -> str | None:
        """See :class:`~registry.RegistryStore`."""
        if not self._tracking.is_http:
            return None
        answer = self._ask_http("/api/2.0/mlflow/users/current")
        document = answer.json() if answer.ok and "json" in answer.headers.get("Content-Type", "") else {}
        return document.get("user", document).get("username") or None

    # registered models

    def get_model(self, name: str) -> RegisteredModel:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"find model {name}"):
            return _read_model(self._client.get_registered_model(name))

    def list_models(self) -> Sequence[RegisteredModel]:
        """See :class:`~registry.RegistryStore`."""
        with translating("list the models"):
            found = [
                _read_model(one)
                for one in _turn_pages(self._client.search_registered_models, self._page_size)
            ]
        return sorted(found, key=lambda model: model.name)

    def get_version(self, name: str, version: str) -> ModelVersion:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"find version {version} of model {name}"):
            return _read_version(self._client.get_model_version(name, version))

    def list_versions(self, name: str) -> Sequence[ModelVersion]:
        """See :class:`~registry.RegistryStore`."""
        mark = '"' if "'" in name else "'"
        query = None if mark in name else f"name={mark}{name}{mark}"
        with translating(f"list the versions of {name}"):
            pages = _turn_pages(self._client.search_model_versions, self._page_size, filter_string=query)
            found = [_read_version(one) for one in pages if one.name == name]
        if not found:
            self.get_model(name)  # none, or no such model
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        deed = f"set alias {alias} of model {name} to version {version}"
        self._upsert(deed, self._client.set_registered_model_alias, name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        try:
            with translating(f"delete alias {alias} of model {name}"):
                self._client.delete_registered_model_alias(name, alias)
        except (StoreError, NotFoundError):
            if alias in self.get_model(name).aliases:
                raise

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        deed = f"set tag {key} of model {name}"
        self._upsert(deed, self._client.set_registered_model_tag, name, key, value)

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        deed = f"set tag {key} of version {version} of model {name}"
        self._upsert(deed, self._client.set_model_version_tag, name, version, key, value)

    def describe_model(self, name: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"describe model {name}"):
            self._client.update_registered_model(name, description)

    def describe_version(self, name: str, version: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"describe version {version} of model {name}"):
            self._client.update_model_version(name, version, description)

    # experiments and runs

    def find_experiment(self, name: str) -> Experiment | None:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"find experiment {name}"):
            found = self._client.get_experiment_by_name(name)
        if found is None:
            return None
        is_active = found.lifecycle_stage == "active"
        return Experiment(
            str(found.experiment_id), found.name, is_active, dict(found.tags), int(found.creation_time or 0)
        )

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """See :class:`~registry.RegistryStore`."""
        try:
            with translating(f"create experiment {name}"):
                return str(self._client.create_experiment(name, tags=dict(tags)))
        except AlreadyExistsError:
            raise AlreadyExistsError(f"The experiment name {name!r} is taken.") from None

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """See :class:`~registry.RegistryStore`."""

        def write() -> None:
            with translating(f"rename experiment {experiment_id} to {name}"):
                self._client.rename_experiment(experiment_id, name)

        settle_name(write, lambda: self.find_experiment(name), experiment_id, name)

    def delete_experiment(self, experiment_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"delete experiment {experiment_id}"):
            self._client.delete_experiment(experiment_id)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        deed = f"set tag {key} of experiment {experiment_id}"
        self._upsert(deed, self._client.set_experiment_tag, experiment_id, key, value)

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> Run:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"start a run in experiment {experiment_id}"):
            return _read_run(self._client.create_run(experiment_id, self._get_now_ms(), dict(tags), name))

    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"finish run {run_id}"):
            self._client.set_terminated(run_id, status, self._get_now_ms())

    def delete_run(self, run_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        try:
            with translating(f"delete run {run_id}"):
                self._client.delete_run(run_id)
        except StoreError:
            if self.get_run(run_id).active:
                raise

    def get_run(self, run_id: str) -> Run:
        """See :class:`~registry.RegistryStore`."""
        with translating(f"find run {run_id}"):
            return _read_run(self._client.get_run(run_id))

    def log_param(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        check_param(key, value)

        def write() -> None:
            with translating(f"write param {key} of run {run_id}"):
                self._client.log_param(run_id, key, value)

        settle_param(write, lambda: self.get_run(run_id), run_id, key, value)

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        self._upsert(f"set tag {key} of run {run_id}", self._client.set_tag, run_id, key, value)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """See :class:`~registry.RegistryStore`."""
        from mlflow.entities import Metric  # noqa: PLC0415 - slow import

        check_metrics(metrics)
        now_ms = self._get_now_ms()
        for page in turn_pages(metrics):
            with translating(f"log metrics of run {run_id}"):
                self._client.log_batch(run_id, metrics=[Metric(key, value, now_ms, 0) for key, value in page])

    # artifacts: what ArtifactReader asks

    def _get_logged_model_uri(self, model_id: str) -> str:
        with translating(f"find logged model {model_id}"):
            return str(self._client.get_logged_model(model_id).artifact_location)

    def _get_download_uri(self, version: ModelVersion) -> str:
        with translating(f"tell where version {version.version} of model {version.name} lies"):
            return str(self._client.get_model_version_download_uri(version.name, version.version))

    def _open_files(self, uri: str) -> Files:
        local = find_local_folder(uri)
        return LocalFiles(local) if local else LibraryFiles(uri, self._uri, self._timeout_s)

    # calls

    def _upsert(self, deed: str, write: Any, *values: str) -> None:
        def once() -> None:
            with translating(deed):
                write(*values)

        repeat_unique_race(once)

    def _ask_http(self, path: str) -> Any:
        from mlflow.utils import credentials, rest_utils  # noqa: PLC0415 - slow import

        untyped: Any = (credentials.get_default_host_creds, rest_utils.http_request)
        get_credentials, request = untyped
        with translating(f"read {path}"):
            return request(get_credentials(self._uri), path, "GET", raise_on_status=False)

    def _get_now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def make_client(tracking_uri: str, registry_uri: str) -> "MlflowClient":
    import logging  # noqa: PLC0415 - with MLflow

    from mlflow import MlflowClient  # noqa: PLC0415 - slow import

    for name in ("mlflow.store.db.utils", "alembic"):  # each table created is an INFO line of theirs
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri, registry_uri)


def _turn_pages(search: Any, page_size: int, **query: Any) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = search(max_results=page_size, page_token=token, **query)
        yield from page
        token = page.token
        if not token:
            return


def _read_model(found: Any) -> RegisteredModel:
    return RegisteredModel(
        name=found.name,
        aliases={alias: str(version) for alias, version in found.aliases.items()},
        tags=dict(found.tags),
        description=found.description or "",
        created_ms=int(found.creation_timestamp or 0),
    )


def _read_version(found: Any) -> ModelVersion:
    source = found.source or ""
    return ModelVersion(
        name=found.name,
        version=str(found.version),
        created_ms=int(found.creation_timestamp or 0),
        source=source,
        run_id=found.run_id or None,
        model_id=found.model_id or find_model_id(source),
        status=str(found.status),
        tags=dict(found.tags),
        description=found.description or "",
        user=found.user_id or "",
        deprecated_stage=str(found.current_stage or "None").replace("None", ""),
    )


def _read_run(found: Any) -> Run:
    info, data = found.info, found.data
    return Run(
        run_id=info.run_id,
        experiment_id=str(info.experiment_id),
        name=info.run_name or "",
        status=str(info.status),
        active=info.lifecycle_stage == "active",
        params=dict(data.params),
        tags=dict(data.tags),
        metrics=dict(data.metrics),
        start_ms=int(info.start_time or 0),
        end_ms=int(info.end_time) if info.end_time else None,
        artifact_uri=info.artifact_uri or "",
        user=info.user_id or "",
    )
