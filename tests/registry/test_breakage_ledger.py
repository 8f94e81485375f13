"""Acts that once broke a history for good, or let one model write into another's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import PRODUCTION, STAGING, AlreadyExistsError, FixedClock, RefusedError, Tag, TamperedError
from registry.audit import audit
from registry.ledger.chapter import LINK_KEY, write_link, write_opening
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.moves import adopt, archive, rollback, speak
from registry.reconciliation import reconcile
from registry.stores.memory import MemoryStore
from registry.views import read_history, read_lineage, read_status
from tests.registry.histories import add_version, draft_promotion, move, move_to_production


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(tmp_path / "runs", clock=FixedClock())
    store.add_model("m")
    return store


def open_ledger(store: Any, name: str = "m") -> Ledger:
    return Ledger(store, name, actor=Actor("one"), clock=FixedClock())


def recreate(store: MemoryStore, folder: Path) -> None:
    """Deletes the model and makes another of its name, with a version of the same number."""
    store.remove_model("m")
    store.add_model("m")
    add_version(store, folder)


# an entry that does not follow is refused before it is written: once written, it would break the history


def test_an_entry_that_would_break_the_history_is_not_written(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    draft = Draft(action="archive", nonce=new_nonce(), version="1", created_ms=1)
    stale = draft_promotion(ledger, ledger.open().state, add_version(store, tmp_path), PRODUCTION)
    with pytest.raises(RefusedError, match="was not in staging"):
        ledger.append(lambda _: stale)
    assert len(read_history(ledger)) == 2
    ledger.append(lambda _: draft)
    assert len(read_history(ledger)) == 3


def test_a_rejected_version_is_skipped_by_rollback_and_refused_by_name(
    store: MemoryStore, tmp_path: Path
) -> None:
    ledger = open_ledger(store)
    for _ in range(3):
        move_to_production(ledger, add_version(store, tmp_path))
    speak(ledger, "reject", "2", reason="it leaks")
    with pytest.raises(RefusedError, match="Version 2 of m was rejected"):
        rollback(ledger, to_version="2")
    assert rollback(ledger).version == "1"
    assert read_status(ledger).holders[PRODUCTION].version == "1"


def test_a_rejected_version_that_was_adopted_unverified_is_no_way_back_either(
    store: MemoryStore, tmp_path: Path
) -> None:
    ledger = open_ledger(store)
    store.set_alias("m", PRODUCTION, add_version(store, tmp_path))
    adopt(ledger)
    move_to_production(ledger, add_version(store, tmp_path))
    speak(ledger, "reject", "1")
    with pytest.raises(RefusedError, match="rejected"):
        rollback(ledger, to_version="1")


def test_a_rollback_overtaken_by_a_rejection_is_a_conflict(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    for _ in range(2):
        move_to_production(ledger, add_version(store, tmp_path))

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def list_files(self, version: Any) -> Any:
            speak(open_ledger(store), "reject", "1")
            return store.list_files(version)

    moved = rollback(open_ledger(Overtaken()))
    assert moved.conflict is not None
    assert "rejected" in moved.conflict
    assert [entry.action for entry in read_history(ledger)][-1] == "reject"


# a model that is deleted and made again


def test_a_version_with_the_number_of_a_deleted_holder_can_be_archived(
    store: MemoryStore, tmp_path: Path
) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    recreate(store, tmp_path)
    archive(ledger, "1")
    assert read_history(ledger)[-1].action == "archive"
    move(ledger, "1", STAGING)
    assert store.get_model("m").aliases == {STAGING: "1"}


def test_lineage_does_not_take_a_new_version_for_a_deleted_holder(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    recreate(store, tmp_path)
    assert read_lineage(ledger, "1", None).stage is None
    with pytest.raises(TamperedError, match="another has its number"):
        read_lineage(ledger, None, PRODUCTION)


def test_status_says_that_an_alias_names_another_thing_of_the_same_number(
    store: MemoryStore, tmp_path: Path
) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    recreate(store, tmp_path)
    store.set_alias("m", PRODUCTION, "1")
    assert "nobody promoted" in " ".join(read_status(ledger).notes)


# names


def test_a_new_model_under_a_former_name_does_not_write_into_the_renamed_ones_history(
    store: MemoryStore, tmp_path: Path
) -> None:
    move_to_production(open_ledger(store), add_version(store, tmp_path))
    store.rename_model("m", "n")
    store.add_model("m")
    number = add_version(store, tmp_path)
    with pytest.raises(TamperedError, match="greenroom reconcile n"):
        move(open_ledger(store), number, STAGING)
    reconcile(open_ledger(store, "n"))
    move(open_ledger(store), number, STAGING)
    assert [entry.action for entry in read_history(open_ledger(store, "n"))] == ["promote"] * 2 + ["rename"]
    assert [entry.action for entry in read_history(open_ledger(store))] == ["promote"]


def test_a_foreign_experiment_under_the_ledgers_name_is_named(store: MemoryStore, tmp_path: Path) -> None:
    store.create_experiment("greenroom/m", {})
    add_version(store, tmp_path)
    before = len(store._experiments)
    with pytest.raises(AlreadyExistsError, match="'greenroom/m' is there already and is no history"):
        move(open_ledger(store), "1", STAGING)
    assert len(store._experiments) == before


# tags changed by hand


@pytest.mark.parametrize("garbage", ["x", "-1", "1.5", "9" * 4999, "²"])
@pytest.mark.parametrize("tag", [Tag.PROJECTED, Tag.HEAD, Tag.HEAD_RUN])
def test_garbage_in_a_tag_is_overwritten_by_the_next_move(
    store: MemoryStore, tmp_path: Path, tag: str, garbage: str
) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    sound = store.get_model("m").tags
    store.set_model_tag("m", tag, garbage)
    store.set_version_tag("m", "1", Tag.HEAD, garbage + " " + garbage)
    read_status(ledger)
    audit(ledger)
    reconcile(ledger)
    move(ledger, add_version(store, tmp_path), STAGING)
    after = store.get_model("m").tags
    assert (after[Tag.PROJECTED], after[Tag.HEAD_RUN]) == ("3", sound[Tag.HEAD_RUN])
    assert after[Tag.HEAD].startswith("3 ")


def test_reconcile_puts_removed_tags_back(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    before = store._models["m"]
    for name in (Tag.LEDGER, Tag.HEAD, Tag.HEAD_RUN, Tag.LEDGER_SERVER):
        _drop_tag(store, name)
        reconcile(ledger)
        assert store.get_model("m").tags == before.tags
    assert len(read_history(ledger)) == 2


def _drop_tag(store: MemoryStore, name: str) -> None:
    from dataclasses import replace

    model = store.get_model("m")
    tags = {key: value for key, value in model.tags.items() if key != name}
    store._models["m"] = replace(model, tags=tags)


def forge_chapter(store: MemoryStore, ledger: Ledger, experiment_id: str) -> str:
    """A run that looks like the ledger's next chapter, though no link leads there."""
    reading = ledger.open()
    run = store.create_run(experiment_id, "forged", {})
    params = write_opening(
        number=2,
        ledger=reading.state.ledger,
        model="m",
        previous_run=reading.chapter.run_id,
        state=reading.state,
        tracking_uri="memory:",
        nonce=new_nonce(),
    )
    for key, value in params.items():
        store.log_param(run.run_id, key, value)
    return run.run_id


def test_a_forged_chapter_elsewhere_is_not_followed(store: MemoryStore, tmp_path: Path) -> None:
    """Whoever may set a tag and has an experiment of their own must not decide what is in production."""
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    forged = forge_chapter(store, ledger, store.create_experiment("mine", {}))
    store.set_model_tag("m", Tag.HEAD_RUN, forged)
    assert ledger.open().chapter.run_id != forged


def test_verify_finds_a_forged_chapter_that_no_link_leads_to(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    forged = forge_chapter(store, ledger, ledger.open().chapter.experiment_id)
    store.set_model_tag("m", Tag.HEAD_RUN, forged)
    assert any("no link leads" in finding for finding in audit(ledger).findings)


def test_links_are_written_once(store: MemoryStore, tmp_path: Path) -> None:
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    run_id = ledger.open().chapter.run_id
    store.log_param(run_id, LINK_KEY, write_link("elsewhere", "0"))
    with pytest.raises(TamperedError):
        read_status(ledger)


# a holder that is gone


@pytest.mark.parametrize("moved_to", [None, "1"])
def test_a_deleted_holder_is_recorded_once_and_not_called_put_right(
    store: MemoryStore, tmp_path: Path, moved_to: str | None
) -> None:
    clock = FixedClock()
    ledger = Ledger(store, "m", actor=Actor("one"), clock=clock)
    for _ in range(2):
        move_to_production(ledger, add_version(store, tmp_path))
    store.remove_version("m", "2")
    if moved_to:
        store.set_alias("m", PRODUCTION, moved_to)
    first = reconcile(ledger)
    assert (first.acts, first.left) == ((), (f"production={moved_to or ''}",))
    assert first.recorded == first.left
    assert "cannot be put back" in (read_history(ledger)[-1].reason or "")
    waited = clock.at
    again = reconcile(ledger)
    assert (again.acts, again.left, again.recorded) == ((), first.left, ())
    assert clock.at == waited, "nothing can be done, so nothing is waited for"
    assert len(read_history(ledger)) == 5


ODD = ["x\ud800y", "bell\x07", "nul\x00", "\x1b[31mred"]


@pytest.mark.parametrize("reason", ODD)
@pytest.mark.parametrize(
    "act",
    [
        lambda ledger, reason: rollback(ledger, reason=reason),
        lambda ledger, reason: speak(ledger, "approve", "1", reason=reason),
        lambda ledger, reason: archive(ledger, "1", reason=reason),
    ],
)
def test_a_reason_that_no_database_keeps_is_refused_before_anything_is_written(
    store: MemoryStore, tmp_path: Path, act: Callable[[Ledger, str], Any], reason: str
) -> None:
    from registry import UsageError

    ledger = open_ledger(store)
    for _ in range(2):
        move_to_production(ledger, add_version(store, tmp_path))
    with pytest.raises(UsageError, match="reason"):
        act(ledger, reason)
    assert len(read_history(ledger)) == 4
