"""The record of one import: a run in MLflow whose write-once params say what has been made so far.

So an import that was interrupted goes on where it stopped, and two imports of the same version at once make
the same things: whoever writes a param first is the one whose thing is used, the other takes its own back.
The experiment of the record takes its name by a rename, which exactly one of any number of racers wins
(see ``registry.ledger.ledger``), and holds all that the import brought.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from registry.errors import AlreadyExistsError, NotFoundError, StoreError
from registry.ledger.ledger import Ledger
from registry.names import Tag
from registry.store import Experiment, RegistryStore

__all__ = ["RUN", "VERSION", "ImportRecord", "name_run", "open_record"]

VERSION: Final = "version"
RUN: Final = "run."
SHORT: Final = 12
MAX_RECORDS: Final = 1_000
"""Times that the same version is imported, deleted, and imported again."""

NOTE: Final = (
    "**A version came in by `greenroom import`.** The params say what was made of what; `history.json` is "
    "the version's history where it was, `bundle.json` the index of the bundle. `greenroom history {model}` "
    "shows them, `greenroom verify {model}` checks them."
)


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """What one import has made so far.

    Attributes:
        store: MLflow.
        experiment_id: Where all of it is.
        run_id: The run with the params.
    """

    store: RegistryStore
    experiment_id: str
    run_id: str

    def recall(self, key: str) -> str | None:
        """What was made under this key, if anything was."""
        return self.store.get_run(self.run_id).params.get(key)

    def once(self, key: str, make: Callable[[], str], discard: Callable[[str], None]) -> str:
        """Makes a thing, unless it was made before; of racers the first one's counts.

        Args:
            key: What it is.
            make: Makes it; returns its id.
            discard: Takes one back that came second.
        """
        found = self.recall(key)
        if found is not None:
            return found
        made = make()
        try:
            self.store.log_param(self.run_id, key, made)
        except AlreadyExistsError:
            found = self.recall(key)
            if found is None:
                raise
            if found != made:
                discard(made)
            return found
        return made


def open_record(ledger: Ledger, origin: str) -> ImportRecord:
    """Finds the record of an import that has not come to its end, or begins one.

    Args:
        ledger: The history of the model that gets the version.
        origin: A digest of which version it is (``Index.identify``).

    Raises:
        StoreError: The version was imported and deleted a thousand times.
    """
    for number in range(1, MAX_RECORDS + 1):
        name = f"{ledger.experiment_name} import {origin[:SHORT]}" + (f" {number}" if number > 1 else "")
        experiment = ledger.store.find_experiment(name) or _begin(ledger, name, origin)
        record = _read(ledger.store, experiment)
        if record and not _is_over(ledger, record):
            return record
    raise StoreError(f"{ledger.name} has too many imports of the same version.")


def name_run(source_run: str) -> str:
    """The key for a run, by its id where it came from."""
    return f"{RUN}{source_run}"


def _begin(ledger: Ledger, name: str, origin: str) -> Experiment:
    store = ledger.store
    experiment_id = store.create_experiment(f"{name}~{secrets.token_hex(6)}", {Tag.IMPORT: origin})
    tags = {
        Tag.KIND: "import",
        Tag.IMPORT: origin,
        "mlflow.user": ledger.actor.name,
        "mlflow.note.content": NOTE.format(model=ledger.name),
    }
    run = store.create_run(experiment_id, "record of an import", tags)
    store.set_experiment_tag(experiment_id, Tag.IMPORT_RECORD, run.run_id)
    try:
        store.rename_experiment(experiment_id, name)
    except AlreadyExistsError:
        store.delete_experiment(experiment_id)
    found = store.find_experiment(name)
    if found is None:
        raise NotFoundError(f"The experiment {name!r} is gone again.", hint="Import once more.")
    return found


def _read(store: RegistryStore, experiment: Experiment) -> ImportRecord | None:
    """None if somebody deleted it: then the next one begins."""
    run_id = experiment.tags.get(Tag.IMPORT_RECORD)
    if not experiment.active or not run_id or not store.get_run(run_id).active:
        return None
    return ImportRecord(store, experiment.experiment_id, run_id)


def _is_over(ledger: Ledger, record: ImportRecord) -> bool:
    """Whether the version that came of it was deleted since."""
    number = record.recall(VERSION)
    if number is None:
        return False
    try:
        version = ledger.store.get_version(ledger.name, number)
    except NotFoundError:
        return True
    return version.tags.get(Tag.IMPORT_RECORD) != record.run_id
