"""Finds, opens, reads and extends the ledger of one model, through a store.

The append is the commit: MLflow keeps the first value of a param and refuses another, so of any number
of writers exactly one gets a place (measured: 20 racers, SQLite and PostgreSQL, over REST; the page
``docs/explanation/guarantees.md`` says where it was tried). Everything else follows from it.
"""

import difflib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from registry.clock import Clock, SystemClock, format_time
from registry.errors import AlreadyExistsError, ConflictError, NotFoundError, TamperedError, UnreachableError
from registry.names import Tag
from registry.store import Experiment, RegisteredModel, RegistryStore

from .chapter import (
    LINK_KEY,
    Chapter,
    parse_chapter,
    write_link,
    write_opening,
)
from .entry import Draft, Entry, format_entry, parse_entry, seal
from .state import State, fold, step

__all__ = ["Actor", "Ledger", "Reading", "new_nonce"]

DEFAULT_TEMPLATE: Final = "greenroom/{model}"
RETRIES: Final = 4
"""Further tries of an append whose answer was lost; reading it back decides each time."""

NOTE: Final = (
    "**Greenroom's history of this model.** Each param is one entry, written once; "
    "`greenroom history {model}` reads them, `greenroom verify {model}` checks them. "
    "Deleting this run deletes the history."
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. ``source`` is ``server`` where MLflow authenticated them, else ``self-declared``."""

    name: str
    source: str = "self-declared"


@dataclass(frozen=True, slots=True)
class Reading:
    """A ledger as read at one moment: the model's row, the newest chapter, and the fold."""

    model: RegisteredModel
    chapter: Chapter
    state: State


def new_nonce() -> str:
    """128 random bits: how a writer knows its own entry."""
    return secrets.token_hex(16)


class Ledger:
    """One model's history.

    Args:
        store: MLflow.
        name: The registered model's present name.
        actor: Who appends.
        template: The experiment's name, with ``{model}``.
        clock: Tells entries' times.
    """

    def __init__(
        self,
        store: RegistryStore,
        name: str,
        *,
        actor: Actor | None = None,
        template: str = DEFAULT_TEMPLATE,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.name = name
        self.actor = actor or Actor("unknown")
        self.experiment_name = template.format(model=name)
        self.clock = clock or SystemClock()

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
        hints = (model.tags.get(Tag.HEAD_RUN), experiment.tags.get(Tag.HEAD_RUN) if experiment else None)
        chapter = self._read_newest(model, ledger, hints)
        state = fold(chapter.opening.state, chapter.entries)
        _check_witness(model, chapter, state)
        if witness is None and state.model != self.name:
            raise TamperedError(
                f"The experiment {self.experiment_name!r} keeps the history of {state.model}, "
                f"which was called {self.name} before.",
                hint=f"Nothing was changed. Let its history follow: greenroom reconcile {state.model}",
            )
        return Reading(model, chapter, state)

    def open(self) -> Reading:
        """Reads the ledger, and begins one if there is none. Any number of racers agree on one.

        Raises:
            NotFoundError: There is no such registered model.
            TamperedError: As in :meth:`find`.
        """
        reading = self.find()
        if reading is None:
            self._begin()
            reading = self.find()
        if reading is None:
            raise UnreachableError(f"The history of {self.name} was begun but cannot be read yet.")
        return reading

    def append(self, decide: Callable[[State], Draft], *, expect: int | None = None) -> tuple[Entry, State]:
        """Appends what ``decide`` makes of the newest state, exactly once.

        ``decide`` is pure and may be called again after a lost race; it raises ConflictError if what it
        rested on has changed, and keeps its draft's nonce, by which a lost answer is told from a lost race.

        Args:
            decide: State → draft.
            expect: Only if the newest entry still has this seq.

        Returns:
            The entry, and the state after it.

        Raises:
            ConflictError: Somebody else moved first.
            UnreachableError: No answer, and it is not known whether the entry was written.
        """
        failures = 0
        while True:
            reading = self.open()
            if reading.chapter.is_full:
                self._turn_page(reading)
                continue
            state = reading.state
            draft = decide(state)
            if expect is not None and state.seq != expect:
                raise conflict(reading, f"the history's head is entry {state.seq}, not {expect}")
            entry = self._seal(draft, state)
            run_id, key = reading.chapter.run_id, f"{len(reading.chapter.entries) + 1:04d}"
            try:
                self.store.log_param(run_id, key, format_entry(entry))
            except (AlreadyExistsError, UnreachableError) as error:
                written = self.store.get_run(run_id).params.get(key)
                found = parse_entry(written) if written else None
                if found and found.nonce == draft.nonce:
                    return found, step(state, found)
                if isinstance(error, UnreachableError):
                    failures += 1
                    if failures > RETRIES:
                        raise
                    self.clock.sleep(0.1 * 2**failures)
                continue
            return entry, step(state, entry)

    def walk(self) -> Iterator[Chapter]:
        """Every chapter from the first, each checked against the one before.

        Raises:
            TamperedError: A chapter does not follow.
            NotFoundError: The model has no ledger.
        """
        reading = self.find()
        if reading is None:
            raise NotFoundError(
                f"{self.name} has no history yet.", hint=f"Begin one: greenroom adopt {self.name}"
            )
        run_id: str | None = reading.chapter.opening.ledger
        expected: str | None = None
        while run_id is not None:
            chapter = self._read(run_id)
            if expected is not None and chapter.opening.hash != expected:
                raise TamperedError(f"Chapter {run_id} of {self.name} is not the one its predecessor names.")
            yield chapter
            run_id, expected = chapter.next_run, chapter.next_hash

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

    def _seal(self, draft: Draft, state: State) -> Entry:
        return seal(
            draft,
            seq=state.seq + 1,
            time=format_time(self.clock.now()),
            actor=self.actor.name,
            actor_source=self.actor.source,
            model=self.name if draft.action == "rename" else state.model,
            ledger=state.ledger,
            previous=state.link,
        )

    def _begin(self) -> None:
        """Makes the ledger under a name of its own, then claims the name that everybody looks for.

        Renaming an experiment onto a taken name fails, so racers agree; a loser deletes what it made.
        """
        nonce = new_nonce()
        experiment_id = self.store.create_experiment(f"{self.experiment_name}~{nonce[:12]}", {})
        run_id = self._new_chapter(
            experiment_id, number=1, ledger=None, previous_run="", state=None, nonce=nonce
        )
        self.store.set_experiment_tag(experiment_id, Tag.LEDGER, run_id)
        try:
            self.store.rename_experiment(experiment_id, self.experiment_name)
        except AlreadyExistsError:
            self.store.delete_experiment(experiment_id)

    def _turn_page(self, reading: Reading) -> None:
        """Begins the next chapter; of racing writers one link wins, the others delete their run."""
        chapter, state = reading.chapter, reading.state
        run_id = self._new_chapter(
            chapter.experiment_id,
            number=chapter.opening.number + 1,
            ledger=state.ledger,
            previous_run=chapter.run_id,
            state=state,
            nonce=new_nonce(),
        )
        opening_hash = self._read(run_id).opening.hash
        try:
            self.store.log_param(chapter.run_id, LINK_KEY, write_link(run_id, opening_hash))
        except AlreadyExistsError:
            self.store.delete_run(run_id)
            return
        self.store.set_experiment_tag(chapter.experiment_id, Tag.HEAD_RUN, run_id)
        self.store.set_model_tag(self.name, Tag.HEAD_RUN, run_id)

    def _new_chapter(
        self,
        experiment_id: str,
        *,
        number: int,
        ledger: str | None,
        previous_run: str,
        state: State | None,
        nonce: str,
    ) -> str:
        tags = {Tag.KIND: "ledger", "mlflow.note.content": NOTE.format(model=self.name)}
        run = self.store.create_run(experiment_id, f"ledger, chapter {number}", tags)
        params = write_opening(
            number=number,
            ledger=ledger or run.run_id,
            model=state.model if state else self.name,
            previous_run=previous_run,
            state=state,
            tracking_uri=self.store.tracking_uri,
            nonce=nonce,
        )
        for key, value in params.items():
            self.store.log_param(run.run_id, key, value)
        self.store.finish_run(run.run_id)
        return run.run_id

    def _read_newest(self, model: RegisteredModel, ledger: str, hints: tuple[str | None, ...]) -> Chapter:
        """Starts at the newest chapter that a hint names and follows the links; hints may be old or wrong."""
        chapter = next(filter(None, (self._read_hint(hint, ledger) for hint in hints if hint)), None)
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


def conflict(reading: Reading, what: str) -> ConflictError:
    """Words a lost race, naming the winner."""
    entries = reading.chapter.entries
    newest = entries[-1] if entries else None
    winner = (
        f" Entry {newest.seq} ({newest.action}, version {newest.version}) is by {newest.actor}."
        if newest
        else ""
    )
    return ConflictError(
        f"Somebody else moved {reading.model.name} first: {what}.{winner}",
        hint=f"See greenroom history {reading.model.name}, then decide again.",
    )


def _deleted(name: str, experiment: Experiment) -> TamperedError:
    return TamperedError(
        f"The history of {name} is deleted (experiment {experiment.name!r}).",
        hint="Nothing was changed. Bring it back: "
        f"mlflow experiments restore --experiment-id {experiment.experiment_id}",
    )


def _check_witness(model: RegisteredModel, chapter: Chapter, state: State) -> None:
    """The model's own tags say how far history had come: a shorter or other history was cut or replaced."""
    seq_text, known_hash = model.tags.get(Tag.SEQ), model.tags.get(Tag.HASH)
    if seq_text is None or known_hash is None or not seq_text.isdecimal():
        return
    seq = int(seq_text)
    if seq > state.seq:
        raise TamperedError(
            f"The history of {model.name} ends at entry {state.seq}, but entry {seq} was seen before.",
            hint=f"Its tail was cut. Nothing was changed. See greenroom verify {model.name}",
        )
    here = next((entry for entry in chapter.entries if entry.seq == seq), None)
    if here is not None and here.hash != known_hash:
        raise TamperedError(
            f"Entry {seq} in the history of {model.name} is not the one that was seen before.",
            hint=f"Nothing was changed. See greenroom verify {model.name}",
        )
