"""Finds and reads the ledger of one model through a store; writes nothing."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from registry.errors import NotFoundError, TamperedError
from registry.names import Tag
from registry.store import Experiment, RegisteredModel, RegistryStore
from registry.witness import parse_witness

from .chapter import Chapter, parse_chapter
from .fold import fold
from .state import State

__all__ = ["DEFAULT_TEMPLATE", "LedgerReader", "Reading"]

DEFAULT_TEMPLATE: Final = "greenroom/{model}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A ledger as read at one moment: the model's row, the newest chapter, and the fold."""

    model: RegisteredModel
    chapter: Chapter
    state: State


class LedgerReader:
    """One model's history, to be read.

    Args:
        store: MLflow.
        name: The registered model's present name.
        template: The experiment's name, with ``{model}``.
    """

    def __init__(self, store: RegistryStore, name: str, *, template: str = DEFAULT_TEMPLATE) -> None:
        self.store = store
        self.name = name
        self.experiment_name = template.format(model=name)

    def find(self) -> Reading | None:
        """Reads the newest chapter and folds it; None if the model has no ledger.

        Raises:
            NotFoundError: There is no such registered model.
            TamperedError: The ledger is deleted, elsewhere, cut or changed.
        """
        model = self._get_model()
        experiment = self.store.find_experiment(self.experiment_name)
        if experiment is not None and not experiment.active:
            raise _deleted(self.name, experiment)
        witness = model.tags.get(Tag.LEDGER)
        known = experiment.tags.get(Tag.LEDGER) if experiment else None
        ledger = witness or known
        if ledger is None:
            return None
        if witness and known and witness != known:
            raise TamperedError(
                f"{self.name} has two histories: its tag names {witness}, the experiment "
                f"{self.experiment_name!r} names {known}.",
                hint=f"Nothing was changed. Look at both runs; then correct the tag {Tag.LEDGER}.",
            )
        if witness is None:
            self._check_nobody_else_has(ledger)
        chapter = self._read_newest(model, ledger, experiment)
        state = fold(chapter.opening.state, chapter.entries)
        _check_witness(model, chapter, state)
        if witness is None and state.model != self.name:
            raise self._renamed(state.model)
        return Reading(model, chapter, state)

    def walk(self) -> Iterator[Chapter]:
        """Every chapter from the first, each checked against the one before.

        Raises:
            TamperedError: A chapter does not follow.
            NotFoundError: The model has no ledger.
        """
        reading = self.find()
        if reading is None:
            raise _nothing_yet(self.name)
        run_id: str | None = reading.chapter.opening.ledger
        expected: str | None = None
        while run_id is not None:
            chapter = self._read(run_id)
            if expected is not None and chapter.opening.hash != expected:
                raise TamperedError(f"Chapter {run_id} of {self.name} is not the one its predecessor names.")
            yield chapter
            run_id, expected = chapter.next_run, chapter.next_hash

    def walk_back(self) -> Iterator[Chapter]:
        """Every chapter from the newest to the first, as far as the caller wants to go.

        Raises:
            TamperedError: A chapter is not the one that its successor names.
            NotFoundError: The model has no ledger.
        """
        reading = self.find()
        if reading is None:
            raise _nothing_yet(self.name)
        chapter = reading.chapter
        yield chapter
        while chapter.opening.previous_run:
            earlier = self._read(chapter.opening.previous_run)
            if earlier.next_hash != chapter.opening.hash:
                raise TamperedError(
                    f"Chapter {earlier.run_id} of {self.name} does not lead to its successor."
                )
            chapter = earlier
            yield chapter

    def _get_model(self) -> RegisteredModel:
        try:
            return self.store.get_model(self.name)
        except NotFoundError as error:
            known = [model.name for model in self.store.list_models()]
            near = difflib.get_close_matches(self.name, known, n=1)
            raise NotFoundError(
                f"There is no registered model {self.name!r} at {self.store.registry_uri}.",
                hint=f"Did you mean {near[0]!r}?" if near else "Train and register one: train-model JOB.toml",
            ) from error

    def _check_nobody_else_has(self, ledger: str) -> None:
        """A model without the tag may be a new one under the former name of another, which took it along."""
        for other in self.store.list_models():
            if other.name != self.name and other.tags.get(Tag.LEDGER) == ledger:
                raise self._renamed(other.name)

    def _renamed(self, name: str) -> TamperedError:
        return TamperedError(
            f"The experiment {self.experiment_name!r} keeps the history of {name}, "
            f"which was called {self.name} before.",
            hint=f"Nothing was changed. Let its history follow: greenroom reconcile {name}",
        )

    def _read_newest(self, model: RegisteredModel, ledger: str, home: Experiment | None) -> Chapter:
        """Starts at the newest chapter that a hint names and follows the links; hints may be old or wrong.

        A hint is followed into the ledger's own experiment only: a tag and a run elsewhere are no history.
        """
        hints = (model.tags.get(Tag.HEAD_RUN), home.tags.get(Tag.HEAD_RUN)) if home else ()
        found = (self._read_hint(hint, ledger) for hint in hints if hint)
        chapter = next(
            (one for one in found if one and home and one.experiment_id == home.experiment_id), None
        )
        if chapter is None:
            chapter = self._read_first(model, ledger)
        while chapter.next_run is not None:
            following = self._read(chapter.next_run)
            if following.opening.hash != chapter.next_hash:
                raise TamperedError(
                    f"Chapter {chapter.next_run} of {self.name} is not the one that was linked."
                )
            chapter = following
        return chapter

    def _read_hint(self, run_id: str, ledger: str) -> Chapter | None:
        try:
            chapter = self._read(run_id)
        except (NotFoundError, TamperedError):
            return None
        return chapter if chapter.opening.ledger == ledger else None

    def _read_first(self, model: RegisteredModel, ledger: str) -> Chapter:
        try:
            return self._read(ledger)
        except NotFoundError as error:
            where = model.tags.get(Tag.LEDGER_SERVER, "another tracking server")
            raise TamperedError(
                f"{self.name} has a history (run {ledger}), but not at {self.store.tracking_uri}.",
                hint=f"It was begun at {where}. Nothing was changed. Set MLFLOW_TRACKING_URI to that server.",
            ) from error

    def _read(self, run_id: str) -> Chapter:
        run = self.store.get_run(run_id)
        if not run.active:
            raise TamperedError(
                f"The history of {self.name} is deleted (run {run_id}).",
                hint=f"Nothing was changed. Bring it back: mlflow runs restore --run-id {run_id}",
            )
        return parse_chapter(run_id, run.experiment_id, run.params)


def _nothing_yet(name: str) -> NotFoundError:
    return NotFoundError(f"{name} has no history yet.", hint=f"Begin one: greenroom adopt {name}")


def _deleted(name: str, experiment: Experiment) -> TamperedError:
    return TamperedError(
        f"The history of {name} is deleted (experiment {experiment.name!r}).",
        hint="Nothing was changed. Bring it back: "
        f"mlflow experiments restore --experiment-id {experiment.experiment_id}",
    )


def _check_witness(model: RegisteredModel, chapter: Chapter, state: State) -> None:
    """The model's own tags say how far history had come: a shorter or other history was cut or replaced."""
    seen = parse_witness(model.tags.get(Tag.HEAD))
    if seen is None:
        return
    if seen.seq > state.seq:
        raise TamperedError(
            f"The history of {model.name} ends at entry {state.seq}, but entry {seen.seq} was seen before.",
            hint=f"Its tail was cut. Nothing was changed. See greenroom verify {model.name}",
        )
    here = next((entry for entry in chapter.entries if entry.seq == seen.seq), None)
    if here is not None and here.hash != seen.hash:
        raise TamperedError(
            f"Entry {seen.seq} in the history of {model.name} is not the one that was seen before.",
            hint=f"Nothing was changed. See greenroom verify {model.name}",
        )
