"""Begins and extends the ledger of one model, through a store.

The append is the commit: MLflow keeps the first value of a param and refuses another, so of any number
of writers exactly one gets a place (measured: 20 racers, SQLite and PostgreSQL, over REST; the page
``docs/explanation/guarantees.md`` says where it was tried). Everything else follows from it.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from registry.clock import Clock, SystemClock, format_time
from registry.errors import AlreadyExistsError, ConflictError, RefusedError, UnreachableError
from registry.names import Tag
from registry.store import RegistryStore

from .chapter import LINK_KEY, write_link, write_opening
from .entry import Draft, Entry, check_text, format_entry, parse_entry, seal
from .fold import find_problem, step
from .reading import DEFAULT_TEMPLATE, LedgerReader, Reading
from .state import State

__all__ = ["Actor", "Ledger", "conflict", "new_nonce"]

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


def new_nonce() -> str:
    """128 random bits: how a writer knows its own entry."""
    return secrets.token_hex(16)


class Ledger(LedgerReader):
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
        super().__init__(store, name, template=template)
        self.actor = actor or Actor("unknown")
        self.clock = clock or SystemClock()

    def open(self) -> Reading:
        """Reads the ledger, and begins one if there is none. Any number of racers agree on one.

        The model's own tag is written first: who may not change the model cannot begin its history.

        Raises:
            NotFoundError: There is no such registered model.
            TamperedError: As in :meth:`find`.
        """
        reading = self.find()
        if reading is None:
            self._check_name_is_free()
            self.store.set_model_tag(self.name, Tag.LEDGER_SERVER, self.store.tracking_uri)
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
            RefusedError: The entry does not follow from the newest state; it was not written.
            AccessDeniedError: The actor may not change the model; nothing was written.
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
            entry = self.seal(draft, state)
            _check_form(state, entry)
            if reading.model.tags.get(Tag.LEDGER) != state.ledger:
                self.store.set_model_tag(self.name, Tag.LEDGER, state.ledger)
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

    def seal(self, draft: Draft, state: State) -> Entry:
        """The entry that would come next; writes nothing.

        Raises:
            UsageError: It would not fit, or holds characters that cannot be kept.
        """
        check_text("reason", draft.reason)
        check_text("reason of the override", draft.details.get("override"))
        check_text("actor's name", self.actor.name)
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

    def _check_name_is_free(self) -> None:
        """An experiment of that name without the ledger's tag is somebody else's, or was stripped of it."""
        experiment = self.store.find_experiment(self.experiment_name)
        if experiment is not None and Tag.LEDGER not in experiment.tags:
            raise AlreadyExistsError(
                f"An experiment {self.experiment_name!r} is there already and is no history of {self.name}: "
                f"it has no tag {Tag.LEDGER}.",
                hint="Rename it. If it holds the history, set the tag to the id of its first chapter's run.",
            )

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
        tags = {
            Tag.KIND: "ledger",
            "mlflow.note.content": NOTE.format(model=self.name),
            "mlflow.user": self.actor.name,
        }
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


def _check_form(state: State, entry: Entry) -> None:
    """Before it is written: an entry cannot be taken back, and an ill-formed one ends the history."""
    problem = find_problem(state, entry)
    if problem:
        raise RefusedError(
            f"{state.model} stays as it is: {problem}.", hint=f"See greenroom history {state.model}"
        )


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
