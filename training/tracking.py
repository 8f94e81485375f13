"""MLflow's door: the only module of this room that talks to a tracking server or a registry.

A run opened here is closed here, whatever happens: FINISHED, FAILED with the reason, or KILLED.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from registry import (
    AlreadyExistsError,
    GreenroomError,
    NotFoundError,
    Settings,
    StoreError,
    Tag,
    keep_variable,
    limit_mlflow,
    translating,
)

__all__ = ["REASON_TAG", "DatasetRecord", "Tracker", "TrainingRun", "Version"]

REASON_TAG: Final = "greenroom.reason"
"""On a FAILED or KILLED training run: why."""
PARAMS_PER_BATCH: Final = 100
METRICS_PER_BATCH: Final = 1_000
MAX_PARAM_LENGTH: Final = 500
"""MLflow takes 6,000 characters; its tables become unreadable long before, and ``job.json`` has it all."""
MAX_TAG_LENGTH: Final = 7_900
MAX_DIGEST_LENGTH: Final = 36


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A data set as MLflow keeps it as a run's input.

    Attributes:
        name: Short; shown in tables.
        sha256: Over every value.
        source: Its address, without secrets.
        source_type: MLflow's word: ``local``, ``s3``, ``sql`` or ``code``.
        columns: (name, MLflow type, whether every row has it).
        rows: How many.
    """

    name: str
    sha256: str
    source: str
    source_type: str
    columns: tuple[tuple[str, str, bool], ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was just registered."""

    name: str
    version: str


class Tracker:
    """One tracking server and registry.

    Args:
        settings: Where they are, and how long a call may take.
    """

    def __init__(self, settings: Settings) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        limit_mlflow(settings.timeout_s)
        self.settings = settings
        with translating("open the tracking store"):
            self.client = MlflowClient(settings.tracking_uri, settings.registry_uri)

    def find_experiment(self, name: str) -> str:
        """The experiment's id; makes it if it is new.

        Raises:
            StoreError: It is soft-deleted, which keeps its name taken.
        """
        with translating(f"open the experiment {name!r}"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                return self._create_experiment(name)
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"The experiment {name!r} was deleted, and keeps its name taken.",
                hint=f"Restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    @contextmanager
    def open_run(
        self, experiment: str, tags: Mapping[str, str], *, parent: "TrainingRun | None" = None
    ) -> Iterator["TrainingRun"]:
        """Opens a run and closes it: FINISHED, or FAILED or KILLED with the reason.

        The run that ``mlflow run`` already opened for this process is taken instead of a new one.
        """
        run = self._start_child(parent, tags) if parent else self._start(experiment, tags)
        try:
            yield run
        except KeyboardInterrupt:
            run.close("KILLED", "interrupted by the user")
            raise
        except GreenroomError as error:
            run.close("FAILED", str(error))
            raise
        except BaseException as error:  # the run border: nothing may leave a run open
            run.close("FAILED", f"{type(error).__name__}: {error}")
            raise
        run.close("FINISHED")

    @contextmanager
    def open_trial(
        self, parent: "TrainingRun", number: int, params: Mapping[str, Any]
    ) -> Iterator["TrainingRun"]:
        """Opens a child run for a trial of a search."""
        tags = {"mlflow.runName": f"trial {number}", Tag.KIND: "trial"}
        with self.open_run("", tags, parent=parent) as trial:
            trial.log(params=params)
            yield trial

    def register(
        self, run: "TrainingRun", name: str, tags: Mapping[str, str], description: str, model_text: str
    ) -> Version:
        """Makes a finished run's logged model a version, with its tags in the same call.

        Args:
            run: Closed, with a logged model.
            name: The registered model; made if it is new.
            tags: Of the version.
            description: Of the version, Markdown.
            model_text: Of the registered model, if it is new.
        """
        with suppress(AlreadyExistsError), translating(f"make the registered model {name!r}"):
            self.client.create_registered_model(name, description=model_text or None)
        deed = f"register a version of {name!r}"
        with translating(deed), _as_default_server(self.settings.tracking_uri):
            made = self.client.create_model_version(
                name,
                source=f"models:/{run.model_id}",
                run_id=run.run_id,
                model_id=run.model_id,
                tags=dict(tags),
                description=description,
                await_creation_for=0,
            )
        return Version(name, str(made.version))

    def resume_run(self, run_id: str) -> "TrainingRun":
        """A run that goes on after it was closed, or left open by a process that is gone."""
        with translating(f"continue the run {run_id}"):
            run = self.client.get_run(run_id)
            self.client.update_run(run_id, status="RUNNING")
        return TrainingRun(self.client, run_id, run.info.experiment_id)

    def close_leftovers(self, experiment_id: str, tag: str, value: str) -> None:
        """Ends runs with this tag that a process left open when it was killed."""
        with translating("look for runs that were left open"):
            where = f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
            for run in self.client.search_runs([experiment_id], where):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def link(self, page: str) -> str:
        """The address of a page of the MLflow UI; without a server, the part after its address."""
        uri = self.settings.tracking_uri.rstrip("/")
        return f"{uri}/#{page}" if uri.startswith(("http://", "https://")) else f"#{page}"

    def _start(self, experiment: str, tags: Mapping[str, str]) -> "TrainingRun":
        if self.settings.run_id is None:
            experiment_id = self.find_experiment(experiment)
            with translating("open a run"):
                run = self.client.create_run(experiment_id, tags=dict(tags))
            return TrainingRun(self.client, run.info.run_id, experiment_id)
        with translating(f"continue the run {self.settings.run_id}"):
            run = self.client.get_run(self.settings.run_id)
            inherited = {key: value for key, value in tags.items() if key not in run.data.tags}
            self.client.log_batch(run.info.run_id, tags=_to_tags(inherited))
        return TrainingRun(self.client, run.info.run_id, run.info.experiment_id)

    def _start_child(self, parent: "TrainingRun", tags: Mapping[str, str]) -> "TrainingRun":
        with translating("open a child run"):
            made = self.client.create_run(
                parent.experiment_id, tags={**tags, "mlflow.parentRunId": parent.run_id}
            )
        return TrainingRun(self.client, made.info.run_id, parent.experiment_id)

    def _create_experiment(self, name: str) -> str:
        try:
            with translating(f"make the experiment {name!r}"):
                return str(self.client.create_experiment(name))
        except AlreadyExistsError:  # somebody else was first
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise NotFoundError(f"The experiment {name!r} is gone again.") from None
            return str(found.experiment_id)


class TrainingRun:
    """An open run. Everything is written in few, large calls.

    Attributes:
        run_id: MLflow's id.
        experiment_id: Of its experiment.
        model_id: Of its logged model, once there is one.
    """

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.model_id: str | None = None

    def log(
        self,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes params, metrics and tags. Metrics are tied to the logged model, if there is one."""
        now = int(time.time() * 1000)
        lines = [Param(key, _shorten(value, MAX_PARAM_LENGTH)) for key, value in (params or {}).items()]
        numbers = [
            Metric(key, value, now, 0, model_id=self.model_id, run_id=self.run_id)
            for key, value in (metrics or {}).items()
        ]
        with translating("write params and metrics"):
            first, rest = lines[:PARAMS_PER_BATCH], lines[PARAMS_PER_BATCH:]
            self._client.log_batch(self.run_id, metrics=numbers, params=first, tags=_to_tags(tags or {}))
            for start in range(0, len(rest), PARAMS_PER_BATCH):
                self._client.log_batch(self.run_id, params=rest[start : start + PARAMS_PER_BATCH])

    def log_curves(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Writes points of curves: name, value, milliseconds, step. The same points again are no error."""
        now = [Metric(key, value, moment, step) for key, value, moment, step in points]
        with translating("write metrics"):
            for start in range(0, len(now), METRICS_PER_BATCH):
                self._client.log_batch(self.run_id, metrics=now[start : start + METRICS_PER_BATCH])

    def log_dataset(self, record: DatasetRecord) -> None:
        """Records the data set as the run's training input."""
        schema = [
            {"name": name, "type": kind, "required": required} for name, kind, required in record.columns
        ]
        dataset = Dataset(
            name=record.name,
            digest=record.sha256[:MAX_DIGEST_LENGTH],
            source_type=record.source_type,
            source=json.dumps({"uri": record.source, "sha256": record.sha256}),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps({"num_rows": record.rows, "num_elements": record.rows * len(schema)}),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        with translating("record the data set"):
            self._client.log_inputs(self.run_id, [entry])

    def start_model(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Makes the run's logged model, still without files; returns its id."""
        values = {key: _shorten(value, MAX_PARAM_LENGTH) for key, value in params.items()}
        with translating("make the logged model"):
            made = self._client.create_logged_model(
                self.experiment_id, name, self.run_id, tags=dict(tags), params=values
            )
            self.model_id = str(made.model_id)
            self._client.log_outputs(self.run_id, [LoggedModelOutput(self.model_id, step=0)])
        return self.model_id

    def upload_model(self, folder: Path) -> None:
        """Stores the logged model's files; it is not ready yet.

        Raises:
            AccessDeniedError: The artifact store refuses the secret, or the bucket does not exist.
            UnreachableError: It gives no answer.
        """
        with translating("store the model's files"):
            self._client.log_model_artifacts(str(self.model_id), str(folder))

    def upload(self, folder: Path) -> None:
        """Stores the run's files. Raises as ``upload_model`` does."""
        with translating("store the run's files"):
            self._client.log_artifacts(self.run_id, str(folder))

    def finish_model(self) -> None:
        """Declares the logged model ready: everything about it is stored."""
        with translating("finish the logged model"):
            self._client.finalize_logged_model(str(self.model_id), "READY")

    def close(self, status: str, reason: str = "") -> None:
        """Ends the run. With a reason, a server that gives no answer is not worth a second error."""
        if not reason:
            with translating("close the run"):
                self._client.set_terminated(self.run_id, status)
            return
        with suppress(GreenroomError), translating("close the run"):
            self._client.set_terminated(self.run_id, status)
            note = f"**{status}**: {_shorten(reason, MAX_TAG_LENGTH)}"
            tags = {REASON_TAG: reason, "mlflow.note.content": note}
            self._client.log_batch(self.run_id, tags=_to_tags(tags))
            if self.model_id is not None:
                self._client.finalize_logged_model(self.model_id, "FAILED")

    def finish(self, metrics: dict[str, float]) -> None:
        """Writes a trial's metrics."""
        self.log(metrics=metrics)


@contextmanager
def _as_default_server(uri: str) -> Iterator[None]:
    """Makes a server the process's default inside the block.

    MLflow's SQL registry looks a logged model up on the default server, whatever its client was made for
    (3.17, ``SqlAlchemyStore.create_model_version``); a real server does it on its own side.
    """
    if uri.startswith(("http://", "https://")) or mlflow.get_tracking_uri() == uri:
        yield
        return
    with keep_variable("MLFLOW_TRACKING_URI"):
        try:
            mlflow.set_tracking_uri(uri)
            yield
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def _to_tags(tags: Mapping[str, str]) -> Sequence[Any]:
    return [RunTag(key, _shorten(value, MAX_TAG_LENGTH)) for key, value in tags.items()]


def _shorten(value: object, limit: int) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
