"""MLflow in memory: for tests and for trying things out; keeps every promise of the real doors.

What MLflow does outside the protocol (registering, deleting, renaming) has methods of its own at the end.
"""

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from registry.clock import Clock, SystemClock
from registry.errors import AlreadyExistsError, ArtifactError, NotFoundError, StoreError
from registry.store import Experiment, ModelVersion, RegisteredModel, Run

from .artifacts import ArtifactReader
from .files import Files, LocalFiles, find_local_folder
from .rules import check_metrics, check_param

__all__ = ["MemoryStore"]


class MemoryStore(ArtifactReader):
    """A :class:`~registry.RegistryStore` that forgets. Threads may share it.

    Args:
        artifacts: Folder below which runs keep artifacts; runs have none if None.
        clock: Tells when things happen.
        user: The user MLflow would say it authenticated.
        uri: What the store calls itself: two with the same one are the same server to a ledger.
    """

    def __init__(
        self,
        artifacts: Path | None = None,
        *,
        clock: Clock | None = None,
        user: str | None = None,
        uri: str = "memory:",
    ) -> None:
        self._lock = threading.RLock()
        self._artifacts = artifacts
        self._clock = clock or SystemClock()
        self._last_ms = 0
        self._user = user
        self._uri = uri
        self._models: dict[str, RegisteredModel] = {}
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._numbers: dict[str, int] = {}
        self._logged_models: dict[str, str] = {}
        self._experiments: dict[str, Experiment] = {}
        self._runs: dict[str, Run] = {}

    @property
    def tracking_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._uri

    @property
    def registry_uri(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return self._uri

    def get_server_version(self) -> str:
        """See :class:`~registry.RegistryStore`."""
        return "3.17.0"

    def get_user(self) -> str | None:
        """See :class:`~registry.RegistryStore`."""
        return self._user

    # registered models

    def get_model(self, name: str) -> RegisteredModel:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            if name not in self._models:
                raise NotFoundError(f"There is no registered model {name}.")
            return self._models[name]

    def list_models(self) -> Sequence[RegisteredModel]:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            return [self._models[name] for name in sorted(self._models)]

    def get_version(self, name: str, version: str) -> ModelVersion:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self.get_model(name)
            if (name, version) not in self._versions:
                raise NotFoundError(f"There is no version {version} of model {name}.")
            return self._versions[name, version]

    def list_versions(self, name: str) -> Sequence[ModelVersion]:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self.get_model(name)
            found = [version for (owner, _), version in self._versions.items() if owner == name]
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self.get_version(name, version)
            model = self._models[name]
            self._models[name] = replace(model, aliases=_put(model.aliases, alias, version))

    def delete_alias(self, name: str, alias: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            model = self.get_model(name)
            kept = {key: value for key, value in model.aliases.items() if key != alias}
            self._models[name] = replace(model, aliases=kept)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            model = self.get_model(name)
            self._models[name] = replace(model, tags=_put(model.tags, key, value))

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            found = self.get_version(name, version)
            self._versions[name, version] = replace(found, tags=_put(found.tags, key, value))

    def describe_model(self, name: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self._models[name] = replace(self.get_model(name), description=description)

    def describe_version(self, name: str, version: str, description: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self._versions[name, version] = replace(self.get_version(name, version), description=description)

    # experiments and runs

    def find_experiment(self, name: str) -> Experiment | None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            return next((one for one in self._experiments.values() if one.name == name), None)

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self._claim(name)
            experiment_id = str(len(self._experiments) + 1)
            self._experiments[experiment_id] = Experiment(
                experiment_id, name, tags=dict(tags), created_ms=self._get_now_ms()
            )
            return experiment_id

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            experiment = self._get_active_experiment(experiment_id)
            if experiment.name != name:
                self._claim(name)
            self._experiments[experiment_id] = replace(experiment, name=name)

    def delete_experiment(self, experiment_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            experiment = self._get_active_experiment(experiment_id)
            self._experiments[experiment_id] = replace(experiment, active=False)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            experiment = self._get_active_experiment(experiment_id)
            self._experiments[experiment_id] = replace(experiment, tags=_put(experiment.tags, key, value))

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> Run:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self._get_active_experiment(experiment_id)
            run_id = uuid.uuid4().hex
            place = "" if self._artifacts is None else str(self._artifacts / run_id / "artifacts")
            self._runs[run_id] = Run(
                run_id,
                experiment_id,
                name,
                tags={"mlflow.runName": name, **tags},
                start_ms=self._get_now_ms(),
                artifact_uri=place,
                user=tags.get("mlflow.user", "unknown"),
            )
            return self._runs[run_id]

    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            run = self._get_active_run(run_id)
            self._runs[run_id] = replace(run, status=status, end_ms=self._get_now_ms())

    def delete_run(self, run_id: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            self._runs[run_id] = replace(self.get_run(run_id), active=False)

    def get_run(self, run_id: str) -> Run:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            if run_id not in self._runs:
                raise NotFoundError(f"There is no run {run_id}.")
            return self._runs[run_id]

    def log_param(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        check_param(key, value)
        with self._lock:
            run = self._get_active_run(run_id)
            if run.params.get(key, value) != value:
                raise AlreadyExistsError(f"Param {key} of run {run_id} already holds another value.")
            self._runs[run_id] = replace(run, params=_put(run.params, key, value))

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """See :class:`~registry.RegistryStore`."""
        with self._lock:
            run = self._get_active_run(run_id)
            self._runs[run_id] = replace(run, tags=_put(run.tags, key, value))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """See :class:`~registry.RegistryStore`."""
        check_metrics(metrics)
        with self._lock:
            run = self._get_active_run(run_id)
            self._runs[run_id] = replace(run, metrics={**run.metrics, **metrics})

    # artifacts: what ArtifactReader asks

    def _get_logged_model_uri(self, model_id: str) -> str:
        with self._lock:
            if model_id not in self._logged_models:
                raise NotFoundError(f"There is no logged model {model_id}.")
            return self._logged_models[model_id]

    def _get_download_uri(self, version: ModelVersion) -> str:
        return self.get_version(version.name, version.version).source

    def _open_files(self, uri: str) -> Files:
        folder = find_local_folder(uri) if uri else None
        if folder is None:
            raise ArtifactError(f"The store in memory has no artifacts at {uri!r}.", hint="Give it a folder.")
        return LocalFiles(folder)

    # what MLflow does outside the protocol

    def add_model(self, name: str) -> RegisteredModel:
        """Registers a model without versions."""
        with self._lock:
            if name in self._models:
                raise AlreadyExistsError(f"The model name {name} is taken.")
            self._models[name] = RegisteredModel(name, created_ms=self._get_now_ms())
            return self._models[name]

    def add_version(self, name: str, source: str = "", *, run_id: str | None = None) -> ModelVersion:
        """Registers the next version; its artifact is a local folder, ``runs:/…`` or ``models:/m-…``."""
        with self._lock:
            self.get_model(name)
            number = self._numbers[name] = self._numbers.get(name, 0) + 1  # never given twice
            model_id = source.removeprefix("models:/") if source.startswith("models:/") else None
            self._versions[name, str(number)] = ModelVersion(
                name, str(number), self._get_now_ms(), source, run_id, model_id
            )
            return self._versions[name, str(number)]

    def add_logged_model(self, folder: Path) -> str:
        """Logs a folder as a model; returns its id (``m-…``)."""
        with self._lock:
            model_id = f"m-{uuid.uuid4().hex}"
            self._logged_models[model_id] = str(folder)
            return model_id

    def remove_logged_model(self, model_id: str) -> None:
        """Deletes a logged model: versions made of it stay, their files are gone."""
        with self._lock:
            del self._logged_models[model_id]

    def remove_version(self, name: str, version: str) -> None:
        """Deletes a version, and silently the aliases it had: as MLflow does."""
        with self._lock:
            model = self.get_model(name)
            self.get_version(name, version)
            del self._versions[name, version]
            kept = {alias: held for alias, held in model.aliases.items() if held != version}
            self._models[name] = replace(model, aliases=kept)

    def remove_model(self, name: str) -> None:
        """Deletes a model with its versions; another of that name starts at version 1 again."""
        with self._lock:
            self.get_model(name)
            del self._models[name]
            self._numbers.pop(name, None)
            self._versions = {key: value for key, value in self._versions.items() if key[0] != name}

    def rename_model(self, name: str, new_name: str) -> None:
        """Renames a model; its versions, aliases and tags go with it."""
        with self._lock:
            model = self.get_model(name)
            if new_name in self._models:
                raise AlreadyExistsError(f"The model name {new_name} is taken.")
            self._models[new_name] = replace(self._models.pop(name), name=new_name)
            self._numbers[new_name] = self._numbers.pop(name, 0)
            for key in list(self._versions):
                if key[0] == model.name:
                    self._versions[new_name, key[1]] = replace(self._versions.pop(key), name=new_name)

    # private

    def _claim(self, name: str) -> None:
        if self.find_experiment(name) is not None:
            raise AlreadyExistsError(f"The experiment name {name!r} is taken.")

    def _get_active_experiment(self, experiment_id: str) -> Experiment:
        if experiment_id not in self._experiments:
            raise NotFoundError(f"There is no experiment {experiment_id}.")
        experiment = self._experiments[experiment_id]
        if not experiment.active:
            raise StoreError(f"Experiment {experiment_id} is deleted.")
        return experiment

    def _get_active_run(self, run_id: str) -> Run:
        run = self.get_run(run_id)
        if not run.active:
            raise StoreError(f"Run {run_id} is deleted.")
        return run

    def _get_now_ms(self) -> int:
        """Never the same twice, as a creation time tells two things of one name apart."""
        self._last_ms = max(int(self._clock.now().timestamp() * 1000), self._last_ms + 1)
        return self._last_ms


def _put(pairs: Mapping[str, str], key: str, value: str) -> Mapping[str, str]:
    return {**pairs, key: value}
