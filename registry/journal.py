"""Lines that any number of processes append, each kept once, in one order: write-once params of chained runs.

The promotion ledger's way of appending, for what needs no chain of hashes: who asked for training, who took
which slot. A page is a run: param ``0000`` its opening (the fold of everything before, so that reading stays
cheap), ``0001``…``0064`` the lines, ``0065`` the run of the next page. What lines mean is ``agenda``'s.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .clock import Clock, SystemClock
from .errors import AlreadyExistsError, NotFoundError, StoreError, TamperedError, UnreachableError
from .ledger.entry import canonical
from .names import Tag
from .store import Experiment, RegistryStore, Run

__all__ = ["CAPACITY", "Journal", "Page"]

CAPACITY: Final = 64
"""Lines of a page, as in the promotion ledger: a run with so many params still opens fast in MLflow's UI."""
OPENING_KEY: Final = "0000"
LINK_KEY: Final = f"{CAPACITY + 1:04d}"
RETRIES: Final = 4
"""Further tries of an append whose answer was lost; reading it back decides each time."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page as read.

    Attributes:
        run_id: The run that holds it.
        experiment_id: Of its experiment.
        number: 1 for the first page.
        previous_run: The run of the page before; empty for the first.
        opening: What the fold of all earlier pages was.
        lines: In the order in which they were appended.
        next_run: The run of the next page, if there is one.
        tags: Of the run.
    """

    run_id: str
    experiment_id: str
    number: int
    previous_run: str
    opening: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    next_run: str | None
    tags: Mapping[str, str]

    @property
    def first_seq(self) -> int:
        """The number of its first line; the very first line of a journal is 1."""
        return (self.number - 1) * CAPACITY + 1


class Journal:
    """One journal.

    Args:
        store: MLflow.
        experiment_name: Where it lives.
        note: What its runs say of themselves, Markdown.
        clock: Waits between two tries.
    """

    def __init__(
        self, store: RegistryStore, experiment_name: str, *, note: str, clock: Clock | None = None
    ) -> None:
        self.store = store
        self.experiment_name = experiment_name
        self._note = note
        self._clock = clock or SystemClock()

    def find(self) -> Page | None:
        """The newest page; None if nothing was ever appended. Writes nothing.

        Raises:
            StoreError: The journal is soft-deleted, or its name is somebody else's.
            TamperedError: A page cannot be read.
            UnreachableError: MLflow gives no answer.
        """
        experiment = self.store.find_experiment(self.experiment_name)
        if experiment is None:
            return None
        page = self._start_at(experiment)
        while page.next_run is not None:
            page = self.read_page(page.next_run)
        return page

    def append(
        self,
        decide: Callable[[Page], Mapping[str, Any] | None],
        fold: Callable[[Page], Mapping[str, Any]],
    ) -> tuple[Page, Mapping[str, Any]] | None:
        """Appends what ``decide`` makes of the newest page, exactly once; the first call begins the journal.

        Args:
            decide: Pure, and called again after a lost race: page → line, or None: nothing to append.
            fold: A full page → what the next one opens with.

        Returns:
            The page that it was appended to, as it was before, and the line; None without a line.

        Raises:
            AccessDeniedError: MLflow does not let this user write.
            UnreachableError: No answer, and it is not known whether the line was written.
        """
        nonce, failures = secrets.token_hex(8), 0
        while True:
            page = self._open()
            if len(page.lines) >= CAPACITY:
                self._turn(page, fold)
                continue
            draft = decide(page)
            if draft is None:
                return None
            key, line = f"{len(page.lines) + 1:04d}", {**draft, "nonce": nonce}
            try:
                self.store.log_param(page.run_id, key, canonical(line))
            except (AlreadyExistsError, UnreachableError) as error:
                if self._holds(page.run_id, key, nonce):
                    return page, line
                if isinstance(error, UnreachableError):
                    failures += 1
                    if failures > RETRIES:
                        raise
                    self._clock.sleep(0.1 * 2**failures)
                continue
            return page, line

    def walk_back(self) -> Iterator[Page]:
        """Every page from the newest to the first, as far as the caller wants to go."""
        page = self.find()
        while page is not None:
            yield page
            page = self.read_page(page.previous_run) if page.previous_run else None

    def read_page(self, run_id: str) -> Page:
        """One page.

        Raises:
            TamperedError: It cannot be read, or was deleted.
        """
        run = self.store.get_run(run_id)
        if not run.active:
            raise TamperedError(
                f"A page of {self.experiment_name} is deleted (run {run_id}).",
                hint=f"Bring it back: mlflow runs restore --run-id {run_id}",
            )
        return _parse(run)

    def _holds(self, run_id: str, key: str, nonce: str) -> bool:
        """Whether a line is ours, whose answer was lost."""
        written = self.store.get_run(run_id).params.get(key)
        return written is not None and json.loads(written).get("nonce") == nonce

    def _open(self) -> Page:
        page = self.find()
        if page is None:
            self._begin()
            page = self.find()
        if page is None:
            raise UnreachableError(f"{self.experiment_name} was begun but cannot be read yet.")
        return page

    def _start_at(self, experiment: Experiment) -> Page:
        """The page that the hint names, or the first one."""
        if not experiment.active:
            raise StoreError(
                f"The experiment {experiment.name!r} was deleted, and keeps its name taken.",
                hint=f"Restore it: mlflow experiments restore --experiment-id {experiment.experiment_id}",
            )
        first = experiment.tags.get(Tag.JOURNAL)
        if first is None:
            raise StoreError(
                f"The experiment {experiment.name!r} is somebody else's: it has no tag {Tag.JOURNAL}.",
                hint="Rename it: Greenroom writes down there who trains what, and when.",
            )
        for run_id in (experiment.tags.get(Tag.JOURNAL_HEAD), first):
            if run_id is None:
                continue
            try:
                page = self.read_page(run_id)
            except NotFoundError:  # a hint may be wrong
                continue
            if page.experiment_id == experiment.experiment_id:
                return page
        raise TamperedError(f"The first page of {experiment.name} (run {first}) is gone.")

    def _begin(self) -> None:
        """Makes the journal under a name of its own, then claims the name that everybody looks for."""
        made = self.store.create_experiment(f"{self.experiment_name}~{secrets.token_hex(6)}", {})
        run_id = self._new_page(made, number=1, previous_run="", opening={})
        self.store.set_experiment_tag(made, Tag.JOURNAL, run_id)
        try:
            self.store.rename_experiment(made, self.experiment_name)
        except AlreadyExistsError:
            self.store.delete_experiment(made)

    def _turn(self, page: Page, fold: Callable[[Page], Mapping[str, Any]]) -> None:
        """Begins the next page; of racing writers one link wins, the others delete their run."""
        run_id = self._new_page(
            page.experiment_id, number=page.number + 1, previous_run=page.run_id, opening=fold(page)
        )
        try:
            self.store.log_param(page.run_id, LINK_KEY, run_id)
        except AlreadyExistsError:
            self.store.delete_run(run_id)
            return
        self.store.set_experiment_tag(page.experiment_id, Tag.JOURNAL_HEAD, run_id)

    def _new_page(
        self, experiment_id: str, *, number: int, previous_run: str, opening: Mapping[str, Any]
    ) -> str:
        tags = {Tag.KIND: "journal", "mlflow.note.content": self._note}
        run = self.store.create_run(experiment_id, f"page {number}", tags)
        text = canonical({"number": number, "previous": previous_run, "opening": opening})
        self.store.log_param(run.run_id, OPENING_KEY, text)
        self.store.finish_run(run.run_id)
        return run.run_id


def _parse(run: Run) -> Page:
    try:
        head = json.loads(run.params[OPENING_KEY])
        texts = []
        for place in range(1, CAPACITY + 1):
            text = run.params.get(f"{place:04d}")
            if text is None:
                break
            texts.append(text)
        lines = tuple(json.loads(text) for text in texts)
        return Page(
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            number=head["number"],
            previous_run=head["previous"],
            opening=head["opening"],
            lines=lines,
            next_run=run.params.get(LINK_KEY),
            tags=run.tags,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"Run {run.run_id} is no page of a journal: {error!r}.") from error
