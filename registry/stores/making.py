"""Makes in MLflow what only an import makes: registered models, runs of the past, logged models, versions.

Training has a door of its own; the :class:`~registry.RegistryStore` protocol is about what is there already.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from registry.environment import Settings, keep_variable, limit_mlflow
from registry.errors import AlreadyExistsError, NotFoundError, StoreError

from .client import make_client
from .translation import translating

__all__ = ["Maker"]

PAGE: Final = 100
"""Params in one call: MLflow's limit (``MAX_PARAMS_TAGS_PER_BATCH``)."""
MAX_MODEL_NAME: Final = 100


class Maker:
    """One MLflow, to make things in. Imports MLflow when made.

    Args:
        settings: Where it is, and how long a call may take.
    """

    def __init__(self, settings: Settings) -> None:
        limit_mlflow(settings.timeout_s)
        self._uri = settings.tracking_uri
        with translating("open MLflow"):
            self._client: Any = make_client(settings.tracking_uri, settings.registry_uri)

    def create_model(self, name: str, description: str) -> None:
        """Registers a model, unless there is one of that name; that one is left as it is."""
        with suppress(AlreadyExistsError), translating(f"make the registered model {name}"):
            self._client.create_registered_model(name, description=description or None)

    def create_run(self, experiment_id: str, name: str, user: str, start_ms: int) -> str:
        """Begins a run that began in the past; returns its id."""
        with translating(f"make a run in experiment {experiment_id}"):
            tags = {"mlflow.user": user} if user else {}
            made = self._client.create_run(experiment_id, start_ms or None, tags, name or None)
        return str(made.info.run_id)

    def fill_run(
        self, run_id: str, params: Mapping[str, str], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Writes params, metrics and tags; doing it twice is the same as doing it once."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - slow import

        with translating(f"write run {run_id}"):
            moment = int(self._client.get_run(run_id).info.start_time)
            for page in _turn([Param(key, value) for key, value in params.items()]):
                self._client.log_batch(run_id, params=page)
            for page in _turn([Metric(key, value, moment, 0) for key, value in metrics.items()]):
                self._client.log_batch(run_id, metrics=page)
            for page in _turn([RunTag(key, value) for key, value in tags.items()]):
                self._client.log_batch(run_id, tags=page)

    def finish_run(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Ends a run when it ended."""
        with translating(f"finish run {run_id}"):
            self._client.set_terminated(run_id, status, end_ms)

    def delete_run(self, run_id: str) -> None:
        """Takes back a run that nobody has seen."""
        with translating(f"delete run {run_id}"):
            self._client.delete_run(run_id)

    def create_logged_model(
        self, experiment_id: str, name: str, run_id: str | None, tags: Mapping[str, str]
    ) -> str:
        """Makes a logged model without files; returns its id."""
        from mlflow.entities import LoggedModelOutput  # noqa: PLC0415 - slow import

        allowed = "".join(mark if mark.isalnum() or mark in " _-" else "_" for mark in name)
        with translating(f"make a logged model in experiment {experiment_id}"):
            made = self._client.create_logged_model(
                experiment_id, allowed[:MAX_MODEL_NAME], run_id, tags=dict(tags)
            )
            if run_id:
                self._client.log_outputs(run_id, [LoggedModelOutput(str(made.model_id), step=0)])
        return str(made.model_id)

    def finish_logged_model(self, model_id: str) -> None:
        """Declares it ready: all its files are there."""
        with translating(f"finish logged model {model_id}"):
            self._client.finalize_logged_model(model_id, "READY")

    def delete_logged_model(self, model_id: str) -> None:
        """Takes back a logged model that nobody has seen."""
        with translating(f"delete logged model {model_id}"):
            self._client.delete_logged_model(model_id)

    def create_version(
        self, name: str, model_id: str, run_id: str | None, tags: Mapping[str, str], description: str
    ) -> str:
        """Makes a logged model the next version, with its tags in the same call; returns its number."""
        deed = f"register a version of {name}"
        with translating(deed), _as_default_server(self._uri):
            made = self._client.create_model_version(
                name,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=dict(tags),
                description=description or None,
                await_creation_for=0,
            )
        return str(made.version)

    def delete_version(self, name: str, version: str) -> None:
        """Takes back a version that nobody has seen."""
        with suppress(NotFoundError, StoreError), translating(f"delete version {version} of {name}"):
            self._client.delete_model_version(name, version)


def _turn(lines: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(lines), PAGE):
        yield lines[start : start + PAGE]


@contextmanager
def _as_default_server(uri: str) -> Iterator[None]:
    """Makes a server the process's default inside the block, where it is a database.

    MLflow's SQL registry looks a logged model up on the default server, whatever its client was made for
    (3.17, ``SqlAlchemyStore.create_model_version``).
    """
    import mlflow  # noqa: PLC0415 - slow import

    if uri.startswith(("http://", "https://")) or mlflow.get_tracking_uri() == uri:
        yield
        return
    with keep_variable("MLFLOW_TRACKING_URI"):
        try:
            mlflow.set_tracking_uri(uri)
            yield
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
