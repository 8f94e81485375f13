"""What was in production at a time: 10,000 random instants against the plain story."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from registry import PRODUCTION, STAGING, FixedClock, NotFoundError
from registry.audit import audit
from registry.clock import format_time
from registry.deviations import read_deviations
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger
from registry.ledger.state import State
from registry.manifest import compute_manifest
from registry.moves import rollback
from registry.promotion import commit
from registry.stores.memory import MemoryStore
from registry.upkeep import ensure_history
from registry.views import find_state, list_states, read_as_of, read_history, read_lineage, read_status
from tests.registry.histories import add_version, move_to_production

INSTANTS = 10_000
EVERY = 50
"""One instant of so many is also asked for with the whole history read anew."""


def test_as_of_is_right_at_ten_thousand_instants(tmp_path: Path) -> None:
    chance = random.Random(7)
    clock = FixedClock()
    store = MemoryStore(tmp_path / "runs", clock=clock)
    store.add_model("m")
    ledger = Ledger(store, "m", actor=Actor("one"), clock=clock)
    start = clock.at
    told: list[tuple[float, str]] = []
    for _ in range(60):
        clock.sleep(chance.uniform(1, 5000))
        if told and chance.random() < 0.2:
            clock.sleep(-chance.uniform(1, 900))  # a clock set back
        if len({version for _, version in told}) > 1 and chance.random() < 0.3:
            version = rollback(ledger).version or ""
        else:
            version = add_version(store, tmp_path)
            move_to_production(ledger, version)
        told.append(((clock.at - start).total_seconds(), version))
    assert len(read_history(ledger)) > 64
    end = max(moment for moment, _ in told) + 1000
    states = [state for chapter in ledger.walk() for state in list_states(chapter)]
    for place in range(INSTANTS):
        second = round(chance.uniform(0, end), 3)
        moment = start + timedelta(seconds=second)
        found = find_state(states, format_time(moment))
        assert (_name_holder(found) if found else None) == _expect(told, second), second
        if place % EVERY == 0:
            assert _ask(ledger, moment) == _expect(told, second), second


def _ask(ledger: Ledger, moment) -> str | None:  # type: ignore[no-untyped-def]
    try:
        return _name_holder(read_as_of(ledger, moment))
    except NotFoundError:
        return None


def _name_holder(state: State) -> str | None:
    holder = state.holder(PRODUCTION)
    return holder.version if holder else None


def _expect(told: list[tuple[float, str]], second: float) -> str | None:
    """Goes by the order of events; a time that was set back counts as the latest before it."""
    latest, version = 0.0, None
    for moment, became in told:
        latest = max(latest, round(moment, 3))
        if latest > second:
            break
        version = became
    return version


@pytest.fixture
def model(tmp_path: Path) -> tuple[MemoryStore, Ledger]:
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    return store, Ledger(store, "m", actor=Actor("one"))


def test_status_of_a_model_without_history_shows_its_aliases_and_what_to_do(
    model: tuple[MemoryStore, Ledger], tmp_path: Path
) -> None:
    store, ledger = model
    add_version(store, tmp_path)
    add_version(store, tmp_path)
    store.set_alias("m", PRODUCTION, "1")
    status = read_status(ledger)
    assert (status.managed, status.holders[PRODUCTION].version, status.candidates) == (False, "1", ("2",))
    assert "greenroom adopt m" in status.notes[0]
    assert store.find_experiment("greenroom/m") is None


def test_status_names_an_alias_moved_by_hand_and_a_deleted_version(
    model: tuple[MemoryStore, Ledger], tmp_path: Path
) -> None:
    store, ledger = model
    for _ in range(2):
        move_to_production(ledger, add_version(store, tmp_path))
    store.set_alias("m", PRODUCTION, "1")
    assert "moved by hand: it is at version 1, history says version 2" in " ".join(read_status(ledger).notes)
    store.remove_version("m", "2")
    assert "Version 2, in production by history, was deleted" in " ".join(read_status(ledger).notes)


def test_a_deleted_logged_model_and_changed_files_are_seen_by_every_reading_command(
    model: tuple[MemoryStore, Ledger], tmp_path: Path
) -> None:
    store, ledger = model
    folder = tmp_path / "logged"
    folder.mkdir()
    (folder / "model").write_text("weights")
    model_id = store.add_logged_model(folder)
    number = store.add_version("m", f"models:/{model_id}").version
    state = ensure_history(ledger)
    manifest = compute_manifest(folder)
    draft = Draft(
        action="promote",
        nonce="n",
        stage=STAGING,
        version=number,
        created_ms=store.get_version("m", number).created_ms,
        manifest=manifest.digest,
        layout=manifest.layout,
    )
    commit(ledger, state, store.get_version("m", number), draft)
    assert read_deviations(ledger) == ()
    (folder / "model").write_text("other weights")
    assert "are not those that were recorded" in read_deviations(ledger)[0]
    store.remove_logged_model(model_id)
    expected = "The files of version 1, in staging, are gone: its logged model was deleted."
    assert read_status(ledger).notes == (expected,)
    assert expected in audit(ledger, artifacts=False).notes


def test_lineage_leads_from_a_version_to_its_run_data_and_commit(
    model: tuple[MemoryStore, Ledger], tmp_path: Path
) -> None:
    store, ledger = model
    tags = {"greenroom.data_sha256": "abc", "mlflow.source.git.commit": "c0ffee"}
    run = store.create_run(store.create_experiment("x", {}), "training", tags)
    (tmp_path / "model").write_text("weights")
    number = store.add_version("m", str(tmp_path / "model").removesuffix("/model"), run_id=run.run_id).version
    found = read_lineage(ledger, number, None)
    assert (found.run_id, found.data_sha256, found.commit, found.stage) == (run.run_id, "abc", "c0ffee", None)
    with pytest.raises(NotFoundError, match="no version in production"):
        read_lineage(ledger, None, None)
