"""The run in MLflow that says what was scored; what counts is the record beside the output."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from registry import AlreadyExistsError, GreenroomError, RegistryStore, Tag

__all__ = ["ScoringRun"]

KIND: Final = "scoring"


class ScoringRun:
    """One job's run. Where MLflow takes none (no right to write), scoring goes on without.

    Args:
        store: MLflow.
        experiment: The experiment's name.
        warn: Told why there is no run.
    """

    def __init__(self, store: RegistryStore, experiment: str, warn: Callable[[str], None]) -> None:
        self._store = store
        self._experiment = experiment
        self._warn = warn
        self.run_id = ""

    def begin(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        """Opens a run, so that it is seen while it goes on."""
        try:
            run = self._store.create_run(self._find_experiment(), name, {Tag.KIND: KIND, **tags})
            self.run_id = run.run_id
            for key, value in params.items():
                self._store.log_param(self.run_id, key, str(value)[:500])
        except GreenroomError as error:
            self._warn(f"MLflow takes no run: {error}")

    def finish(self, metrics: Mapping[str, float], note: str) -> None:
        """Writes what came of it, and closes the run."""
        if not self.run_id:
            return
        try:
            self._store.set_run_tag(self.run_id, "mlflow.note.content", note)
            self._store.log_metrics(self.run_id, metrics)
            self._store.finish_run(self.run_id)
        except GreenroomError as error:
            self._warn(f"The run {self.run_id} in MLflow could not be finished: {error}")

    def stop(self, status: str) -> None:
        """Closes the run as ``FAILED`` or ``KILLED``; a job that goes on later finishes it."""
        if self.run_id:
            with suppress(GreenroomError):  # what went wrong first is what matters
                self._store.finish_run(self.run_id, status)

    def _find_experiment(self) -> str:
        found = self._store.find_experiment(self._experiment)
        if found is None:
            try:
                return self._store.create_experiment(self._experiment, {})
            except AlreadyExistsError:  # another job was faster
                found = self._store.find_experiment(self._experiment)
        if found is None or not found.active:
            raise GreenroomError(f"the experiment {self._experiment!r} is deleted.")
        return found.experiment_id
