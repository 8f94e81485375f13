"""MLflow over its REST protocol, without importing MLflow: a command starts in a tenth of the time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from registry.clock import Clock, SystemClock
from registry.environment import Access
from registry.errors import AlreadyExistsError, NotFoundError, StoreError
from registry.store import Experiment, ModelVersion, RegisteredModel, Run

from .artifacts import ArtifactReader
from .files import Files, LocalFiles, find_local_folder
from .library_files import LibraryFiles
from .parsing import build_pairs, parse_experiment, parse_model, parse_run, parse_version
from .proxied_files import ProxiedFiles, find_proxied_path
from .rest_http import Call, HttpDoor
from .rules import (
    check_metrics,
    check_param,
    repeat_unique_race,
    settle_name,
    settle_param,
    turn_pages,
)

__all__ = ["RestStore"]

_API: Final = "/api/2.0/mlflow"


class RestStore(ArtifactReader):
    """A :class:`~registry.RegistryStore` over http or https. Threads may share it.

    Args:
        tracking_uri: ``http(s)://[user:password@]host[:port][/prefix]``.
        registry_uri: Where registered models are, if elsewhere.
        access: Credentials and TLS; none if None.
        timeout_s: How long one call may take, repetitions included.
        clock: Tells when a run started and ended.
        page_size: How many models or versions to ask for at once.
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        *,
        access: Access | None = None,
        timeout_s: float = 10.0,
        clock: Clock | None = None,
        page_size: int = 200,
    ) -> None:
        access = access or Access()
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._page_size = page_size
        self._tracking = HttpDoor(tracking_uri, access, timeout_s)
        self._registry = self._tracking
        if registry_uri is not None and registry_uri != tracking_uri:
            self._registry = HttpDoor(registry_uri, access, timeout_s, variable="MLFLOW_REGISTRY_URI")

    @property
    def tracking_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._tracking.uri

    @property
    def registry_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._registry.uri

    def close(self) -> None:
        """Closes idle connections; the store opens new ones when used again."""
        self._tracking.close()
        self._registry.close()

    def get_server_version(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return (
            self._tracking.read(Call("GET", "/version", "tell its version"))
            .decode("utf-8", "replace")
            .strip()
        )

    def get_user(self) -> str | None:
        """See :class:`~registry.RegistryStore`."""
        if self._tracking.username is None:
            return None
        try:
            document = self._tracking.ask(Call("GET", f"{_API}/users/current", "say who you are"))
        except (NotFoundError, StoreError):  # no basic-auth app; a wrong password fails the next call, loudly
            return None
        user = document.get("user", document)
        return user.get("username") or None

    # registered models

    def get_model(self, name: str) -> RegisteredModel:
        """See :class:`~registry.RegistryStore`."""
        document = self._get(self._registry, "registered-models/get", f"find model {name}", name=name)
        return parse_model(document["registered_model"])

    def list_models(self) -> Sequence[RegisteredModel]:
        """See :class:`~registry.RegistryStore`."""
        pages = self._get_pages("registered-models/search", "list the models", "registered_models")
        return sorted(map(parse_model, pages), key=lambda model: model.name)

    def get_version(self, name: str, version: str) -> ModelVersion:
        """See :class:`~registry.RegistryStore`."""
        deed = f"find version {version} of model {name}"
        document = self._get(self._registry, "model-versions/get", deed, name=name, version=version)
        return parse_version(document["model_version"])

    def list_versions(self, name: str) -> Sequence[ModelVersion]:
        """See :class:`~registry.RegistryStore`."""
        mark = '"' if "'" in name else "'"
        query = {} if mark in name else {"filter": f"name={mark}{name}{mark}"}
        pages = self._get_pages(
            "model-versions/search", f"list the versions of {name}", "model_versions", query
        )
        found = [version for version in map(parse_version, pages) if version.name == name]
        if not found:
            self.get_model(name)  # none, or no such model
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "alias": alias, "version": version}
        deed = f"set alias {alias} of model {name} to version {version}"
        repeat_unique_race(lambda: self._send(self._registry, "registered-models/alias", deed, body))

    def delete_alias(self, name: str, alias: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "alias": alias}
        deed = f"delete alias {alias} of model {name}"
        try:
            self._send(self._registry, "registered-models/alias", deed, body, method="DELETE")
        except (StoreError, NotFoundError):
            if alias in self.get_model(name).aliases:
                raise

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "key": key, "value": value}
        deed = f"set tag {key} of model {name}"
        repeat_unique_race(lambda: self._send(self._registry, "registered-models/set-tag", deed, body))

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "version": version, "key": key, "value": value}
        deed = f"set tag {key} of version {version} of model {name}"
        repeat_unique_race(lambda: self._send(self._registry, "model-versions/set-tag", deed, body))

    def describe_model(self, name: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "description": description}
        self._send(self._registry, "registered-models/update", f"describe model {name}", body, method="PATCH")

    def describe_version(self, name: str, version: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "version": version, "description": description}
        deed = f"describe version {version} of model {name}"
        self._send(self._registry, "model-versions/update", deed, body, method="PATCH")

    # experiments and runs

    def find_experiment(self, name: str) -> Experiment | None:
        """See :class:`~registry.RegistryStore`."""
        deed = f"find experiment {name}"
        try:
            document = self._get(self._tracking, "experiments/get-by-name", deed, experiment_name=name)
        except NotFoundError:
            return None
        return parse_experiment(document["experiment"])

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """See :class:`~registry.RegistryStore`."""
        body = {"name": name, "tags": build_pairs(tags)}
        deed = f"create experiment {name}"
        try:
            document = self._send(self._tracking, "experiments/create", deed, body, is_repeatable=False)
        except AlreadyExistsError:
            raise AlreadyExistsError(f"The experiment name {name!r} is taken.") from None
        return str(document["experiment_id"])

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"experiment_id": experiment_id, "new_name": name}
        deed = f"rename experiment {experiment_id} to {name}"
        settle_name(
            lambda: self._send(self._tracking, "experiments/update", deed, body),
            lambda: self.find_experiment(name),
            experiment_id,
            name,
        )

    def delete_experiment(self, experiment_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"experiment_id": experiment_id}
        self._send(self._tracking, "experiments/delete", f"delete experiment {experiment_id}", body)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"experiment_id": experiment_id, "key": key, "value": value}
        deed = f"set tag {key} of experiment {experiment_id}"
        repeat_unique_race(lambda: self._send(self._tracking, "experiments/set-experiment-tag", deed, body))

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> Run:
        """See :class:`~registry.RegistryStore`."""
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "user_id": tags.get("mlflow.user", "unknown"),  # as MLflow's own client does
            "start_time": self._get_now_ms(),
            "tags": build_pairs(tags),
        }
        deed = f"start a run in experiment {experiment_id}"
        document = self._send(self._tracking, "runs/create", deed, body, is_repeatable=False)
        return parse_run(document["run"])

    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"run_id": run_id, "status": status, "end_time": self._get_now_ms()}
        self._send(self._tracking, "runs/update", f"finish run {run_id}", body)

    def delete_run(self, run_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        try:
            self._send(self._tracking, "runs/delete", f"delete run {run_id}", {"run_id": run_id})
        except StoreError:
            if self.get_run(run_id).active:
                raise

    def get_run(self, run_id: str) -> Run:
        """See :class:`~registry.RegistryStore`."""
        return parse_run(self._get(self._tracking, "runs/get", f"find run {run_id}", run_id=run_id)["run"])

    def log_param(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        check_param(key, value)
        body = {"run_id": run_id, "key": key, "value": value}
        deed = f"write param {key} of run {run_id}"
        settle_param(
            lambda: self._send(self._tracking, "runs/log-parameter", deed, body),
            lambda: self.get_run(run_id),
            run_id,
            key,
            value,
        )

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        body = {"run_id": run_id, "key": key, "value": value}
        deed = f"set tag {key} of run {run_id}"
        repeat_unique_race(lambda: self._send(self._tracking, "runs/set-tag", deed, body))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """See :class:`~registry.RegistryStore`."""
        check_metrics(metrics)
        now_ms = self._get_now_ms()  # the same in a repetition: MLflow keeps one
        for page in turn_pages(metrics):
            rows = [{"key": key, "value": value, "timestamp": now_ms, "step": 0} for key, value in page]
            body = {"run_id": run_id, "metrics": rows}
            self._send(self._tracking, "runs/log-batch", f"log metrics of run {run_id}", body)

    # artifacts: what ArtifactReader asks

    def _get_logged_model_uri(self, model_id: str) -> str:
        deed = f"find logged model {model_id}"
        document = self._get(self._tracking, f"logged-models/{quote(model_id)}", deed)
        return str(document["model"]["info"]["artifact_uri"])

    def _get_download_uri(self, version: ModelVersion) -> str:
        query = {"name": version.name, "version": version.version}
        deed = f"tell where version {version.version} of model {version.name} lies"
        return str(
            self._get(self._registry, "model-versions/get-download-uri", deed, **query)["artifact_uri"]
        )

    def _open_files(self, uri: str) -> Files:
        proxied, local = find_proxied_path(uri), find_local_folder(uri)
        if proxied is not None:
            return ProxiedFiles(self._tracking, proxied)
        if local is not None:
            return LocalFiles(local)
        return LibraryFiles(uri, self._tracking.uri, self._timeout_s)

    # calls

    def _get(self, door: HttpDoor, route: str, deed: str, **query: str) -> dict[str, Any]:
        return door.ask(Call("GET", f"{_API}/{route}", deed, query=query))

    def _get_pages(
        self, route: str, deed: str, key: str, query: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = {
                **(query or {}),
                "max_results": str(self._page_size),
                **({"page_token": token} if token else {}),
            }
            document = self._get(self._registry, route, deed, **page)
            yield from document.get(key, ())
            token = document.get("next_page_token", "")
            if not token:
                return

    def _send(
        self,
        door: HttpDoor,
        route: str,
        deed: str,
        body: Mapping[str, Any],
        *,
        method: str = "POST",
        is_repeatable: bool = True,
    ) -> dict[str, Any]:
        return door.ask(Call(method, f"{_API}/{route}", deed, body=body, is_repeatable=is_repeatable))

    def _get_now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
