"""The ledger over the store in memory: racers, lost answers, chapters, witnesses."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from registry import (
    ConflictError,
    FixedClock,
    NotFoundError,
    Tag,
    TamperedError,
    UnreachableError,
)
from registry.ledger.chapter import CAPACITY
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.ledger.state import State
from registry.projection import project
from registry.stores.memory import MemoryStore


def archive(number: int) -> Draft:
    return Draft(action="archive", nonce=new_nonce(), version=str(number), created_ms=number)


def always(draft: Draft) -> Callable[[State], Draft]:
    return lambda _: draft


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(clock=FixedClock())
    store.add_model("m")
    return store


def open_ledger(store: Any, name: str = "m") -> Ledger:
    """Frozen clock and equal actors: only the nonce tells writers apart."""
    return Ledger(store, name, actor=Actor("same"), clock=FixedClock())


def race(acts: list[Callable[[], Any]]) -> list[Any]:
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def list_entries(store: MemoryStore) -> list[Any]:
    return [entry for chapter in open_ledger(store).walk() for entry in chapter.entries]


def test_racers_who_find_no_ledger_agree_on_one(store: MemoryStore) -> None:
    readings = race([open_ledger(store).open] * 8)
    assert len({reading.state.ledger for reading in readings}) == 1
    assert store.find_experiment("greenroom/m") is not None


def test_every_racing_entry_is_written_once_with_frozen_clocks_and_equal_actors(store: MemoryStore) -> None:
    drafts = [archive(number) for number in range(1, 9)]
    written = race([partial(open_ledger(store).append, always(draft)) for draft in drafts])
    assert sorted(entry.seq for entry, _ in written) == list(range(1, 9))
    assert {entry.nonce for entry in list_entries(store)} == {draft.nonce for draft in drafts}


def test_identical_drafts_of_two_writers_do_not_both_win(store: MemoryStore) -> None:
    """Same text but for the nonce: without it both would be told that they wrote entry 1."""

    def decide(draft: Draft) -> Callable[[State], Draft]:
        def once(state: State) -> Draft:
            if state.seq:
                raise ConflictError("taken")
            return draft

        return once

    def attempt(draft: Draft) -> bool:
        try:
            open_ledger(store).append(decide(draft))
        except ConflictError:
            return False
        return True

    open_ledger(store).open()
    won = race([lambda: attempt(archive(1))] * 8)
    assert sum(won) == 1
    assert len(list_entries(store)) == 1


def test_chapters_roll_over_under_contention_without_losing_an_entry(store: MemoryStore) -> None:
    drafts = [archive(number) for number in range(1, 201)]

    def write(part: list[Draft]) -> None:
        ledger = open_ledger(store)
        for draft in part:
            ledger.append(always(draft))

    race([partial(write, drafts[place::8]) for place in range(8)])
    chapters = list(open_ledger(store).walk())
    assert [len(chapter.entries) for chapter in chapters] == [
        CAPACITY,
        CAPACITY,
        CAPACITY,
        200 - 3 * CAPACITY,
    ]
    assert {entry.nonce for chapter in chapters for entry in chapter.entries} == {one.nonce for one in drafts}


def test_reading_the_newest_chapter_gives_the_same_fold_as_reading_all(store: MemoryStore) -> None:
    ledger = open_ledger(store)
    for number in range(1, 150):
        ledger.append(always(archive(number)))
    from registry.ledger.fold import fold

    chapters = list(ledger.walk())
    whole = chapters[0].opening.state
    for chapter in chapters:
        whole = fold(State(**{**_fields(whole), "link": chapter.opening.hash}), chapter.entries)
    reading = ledger.find()
    assert reading is not None
    assert reading.state == whole


def _fields(state: State) -> dict[str, Any]:
    return {name: getattr(state, name) for name in State.__dataclass_fields__}


class LossyStore:
    """Writes, and then loses the answer (or loses the request before it arrives)."""

    def __init__(self, store: MemoryStore, losses: list[str]) -> None:
        self._store = store
        self.losses = losses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def log_param(self, run_id: str, key: str, value: str) -> None:
        loss = self.losses.pop(0) if self.losses and key != "0000" else ""
        if loss != "request":
            self._store.log_param(run_id, key, value)
        if loss:
            raise UnreachableError("the line is cut")


@pytest.mark.parametrize(
    "losses", [["answer"], ["request"], ["request", "answer"], ["request"] * 4 + ["answer"]]
)
def test_a_cut_line_neither_loses_nor_doubles_an_entry(store: MemoryStore, losses: list[str]) -> None:
    open_ledger(store).open()
    entry, state = open_ledger(LossyStore(store, losses)).append(always(archive(1)))
    assert (entry.seq, state.seq) == (1, 1)
    assert len(list_entries(store)) == 1


def test_a_line_that_stays_cut_ends_in_unreachable_and_nothing_is_written(store: MemoryStore) -> None:
    open_ledger(store).open()
    with pytest.raises(UnreachableError):
        open_ledger(LossyStore(store, ["request"] * 99)).append(always(archive(1)))
    assert list_entries(store) == []


def test_an_answer_lost_at_the_end_of_a_chapter_is_found_again_after_the_page_was_turned(
    store: MemoryStore,
) -> None:
    ledger = open_ledger(store)
    for number in range(1, CAPACITY):
        ledger.append(always(archive(number)))

    class Turned(LossyStore):
        def log_param(self, run_id: str, key: str, value: str) -> None:
            super().log_param(run_id, key, value) if not self.losses else self._lose(run_id, key, value)

        def _lose(self, run_id: str, key: str, value: str) -> None:
            self.losses.clear()
            self._store.log_param(run_id, key, value)
            open_ledger(self._store).append(always(archive(500)))
            raise UnreachableError("the line is cut")

    entry, _ = open_ledger(Turned(store, ["answer"])).append(always(archive(499)))
    assert entry.seq == CAPACITY
    assert [one.version for one in list_entries(store)[-2:]] == ["499", "500"]


def test_expect_refuses_when_anything_happened_meanwhile(store: MemoryStore) -> None:
    ledger = open_ledger(store)
    ledger.append(always(archive(1)))
    with pytest.raises(ConflictError, match="head is entry 1, not 0"):
        ledger.append(always(archive(2)), expect=0)
    entry, _ = ledger.append(always(archive(2)), expect=1)
    assert entry.seq == 2


def test_a_model_whose_history_is_elsewhere_is_not_touched(store: MemoryStore) -> None:
    store.set_model_tag("m", Tag.LEDGER, "run-of-another-server")
    store.set_model_tag("m", Tag.LEDGER_SERVER, "http://other:5000")
    before = store.get_model("m")
    for act in (lambda: open_ledger(store).append(always(archive(1))), lambda: project(open_ledger(store))):
        with pytest.raises(TamperedError, match="http://other:5000"):
            act()
    assert store.get_model("m") == before
    assert store.find_experiment("greenroom/m") is None


def test_two_histories_of_one_model_are_refused(store: MemoryStore) -> None:
    open_ledger(store).open()
    store.set_model_tag("m", Tag.LEDGER, "another")
    with pytest.raises(TamperedError, match="two histories"):
        open_ledger(store).find()


def test_a_deleted_history_is_named_with_the_command_that_restores_it(store: MemoryStore) -> None:
    reading = open_ledger(store).open()
    store.delete_experiment(reading.chapter.experiment_id)
    with pytest.raises(
        TamperedError, match=f"mlflow experiments restore --experiment-id {reading.chapter.experiment_id}"
    ):
        open_ledger(store).append(always(archive(1)))
    store2 = MemoryStore()
    store2.add_model("m")
    reading = open_ledger(store2).open()
    store2.delete_run(reading.chapter.run_id)
    with pytest.raises(TamperedError, match="mlflow runs restore"):
        open_ledger(store2).find()


def test_an_empty_ledger_beside_existing_aliases_changes_nothing(store: MemoryStore) -> None:
    version = store.add_version("m")
    store.set_alias("m", "production", version.version)
    ledger = open_ledger(store)
    ledger.open()
    project(ledger)
    assert store.get_model("m").aliases == {"production": "1"}


def test_a_tail_cut_off_is_seen_by_the_model_s_own_tags(store: MemoryStore) -> None:
    ledger = open_ledger(store)
    for number in range(1, 4):
        ledger.append(always(archive(number)))
    project(ledger)
    run_id = ledger.open().chapter.run_id
    run = store._runs[run_id]

    store._runs[run_id] = replace(
        run, params={key: text for key, text in run.params.items() if key != "0003"}
    )
    with pytest.raises(TamperedError, match="ends at entry 2, but entry 3 was seen"):
        ledger.find()


def test_a_wrong_hint_to_the_newest_chapter_is_not_believed(store: MemoryStore) -> None:
    ledger = open_ledger(store)
    for number in range(1, 70):
        ledger.append(always(archive(number)))
    project(ledger)
    stranger = store.create_run(store.create_experiment("other", {}), "x", {})
    store.set_model_tag("m", Tag.HEAD_RUN, stranger.run_id)
    reading = ledger.find()
    assert reading is not None
    assert reading.state.seq == 69


def test_an_unknown_model_is_named_with_the_nearest_known_one(store: MemoryStore) -> None:
    store.add_model("flight-delay")
    with pytest.raises(NotFoundError, match="Did you mean 'flight-delay'"):
        open_ledger(store, "flight-delya").find()
