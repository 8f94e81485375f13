"""Every change of what was written is found: entries, openings, links, order, tail, artifact files."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry import FixedClock, TamperedError
from registry.audit import audit
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.ledger.state import State
from registry.projection import project
from registry.stores.memory import MemoryStore
from tests.registry.histories import add_version, move_to_production

MUTATIONS = 1_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Path]:
    """Two chapters and a bit: four promoted versions, the rest archiving."""
    folder = tmp_path_factory.mktemp("history")
    store = MemoryStore(folder / "runs", clock=FixedClock())
    store.add_model("m")
    ledger = open_ledger(store)
    for _ in range(4):
        move_to_production(ledger, add_version(store, folder))
    scrap = store.get_version("m", add_version(store, folder))
    for _ in range(130):
        draft = Draft(action="archive", nonce=new_nonce(), version=scrap.version, created_ms=scrap.created_ms)
        ledger.append(always(draft))
    project(ledger)
    return store, folder


def always(draft: Draft) -> Callable[[State], Draft]:
    return lambda _: draft


def open_ledger(store: MemoryStore) -> Ledger:
    return Ledger(store, "m", actor=Actor("one"), clock=FixedClock())


def is_noticed(store: MemoryStore) -> bool:
    try:
        return bool(audit(open_ledger(store)).findings)
    except TamperedError:
        return True


def list_runs(store: MemoryStore) -> list[str]:
    return [chapter.run_id for chapter in open_ledger(store).walk()]


def flip(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text))
    other = chance.choice([mark for mark in map(chr, range(32, 127)) if mark != text[place]])
    return text[:place] + other + text[place + 1 :]


def change_an_entry(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    run_id = chance.choice(runs)
    before = store._runs[run_id]
    key = chance.choice(sorted(before.params))
    store._runs[run_id] = replace(before, params={**before.params, key: flip(before.params[key], chance)})
    return lambda: store._runs.__setitem__(run_id, before)


def remove_an_entry(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    run_id = chance.choice(runs)
    before = store._runs[run_id]
    key = chance.choice(sorted(before.params))
    params = {name: text for name, text in before.params.items() if name != key}
    store._runs[run_id] = replace(before, params=params)
    return lambda: store._runs.__setitem__(run_id, before)


def swap_two_entries(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    run_id = chance.choice(runs)
    before = store._runs[run_id]
    one, two = chance.sample([key for key in before.params if key not in {"0000", "0065"}], 2)
    params = {**before.params, one: before.params[two], two: before.params[one]}
    store._runs[run_id] = replace(before, params=params)
    return lambda: store._runs.__setitem__(run_id, before)


def cut_the_tail(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    run_id = runs[-1]
    before = store._runs[run_id]
    keys = sorted(key for key in before.params if not key.startswith("0000"))
    kept = keys[: chance.randrange(len(keys))]
    params = {key: text for key, text in before.params.items() if key.startswith("0000") or key in kept}
    store._runs[run_id] = replace(before, params=params)
    return lambda: store._runs.__setitem__(run_id, before)


def cut_a_whole_chapter(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    run_id = chance.choice(runs[:-1])
    before = store._runs[run_id]
    params = {key: text for key, text in before.params.items() if key != "0065"}
    store._runs[run_id] = replace(before, params=params)
    model = store._models["m"]
    store._models["m"] = replace(model, tags={**model.tags, "greenroom.head_run": run_id})

    def undo() -> None:
        store._runs[run_id] = before
        store._models["m"] = model

    return undo


def change_an_artifact(store: MemoryStore, runs: list[str], chance: random.Random) -> Callable[[], None]:
    version = store.get_version("m", chance.choice(["1", "2", "3", "4"]))
    path = Path(version.source) / "model"
    before = path.read_bytes()
    act = chance.choice(["flip", "add", "remove", "grow"])
    if act == "flip":
        path.write_text(flip(before.decode(), chance))
    elif act == "grow":
        path.write_bytes(before + bytes([chance.randrange(256)]))
    elif act == "add":
        (path.parent / "more").write_text("x")
    else:
        path.unlink()

    def undo() -> None:
        path.write_bytes(before)
        (path.parent / "more").unlink(missing_ok=True)

    return undo


ATTACKS = [
    change_an_entry,
    remove_an_entry,
    swap_two_entries,
    cut_the_tail,
    cut_a_whole_chapter,
    change_an_artifact,
]


def test_verify_finds_every_one_of_a_thousand_random_mutations(history: tuple[MemoryStore, Path]) -> None:
    store, _ = history
    runs = list_runs(store)
    assert len(runs) == 3
    chance = random.Random(20260101)
    missed = []
    for _ in range(MUTATIONS):
        attack = chance.choice(ATTACKS)
        undo = attack(store, runs, chance)
        if not is_noticed(store):
            missed.append(attack.__name__)
        undo()
    assert missed == []
    assert not is_noticed(store)


def test_an_untouched_history_has_no_findings_and_names_its_witnesses(
    history: tuple[MemoryStore, Path],
) -> None:
    found = audit(open_ledger(history[0]))
    assert (found.entries, found.artifacts, found.findings) == (138, 4, ())
    assert "the registered model (entry 138)" in found.witnesses


@pytest.mark.parametrize("survivor", ["model", "version"])
def test_a_cut_tail_is_seen_as_long_as_one_witness_survives(tmp_path: Path, survivor: str) -> None:
    store = MemoryStore(tmp_path / "runs", clock=FixedClock())
    store.add_model("m")
    ledger = open_ledger(store)
    move_to_production(ledger, add_version(store, tmp_path))
    reading = ledger.open()
    run = store._runs[reading.chapter.run_id]
    store._runs[run.run_id] = replace(run, params={k: v for k, v in run.params.items() if k != "0002"})
    model, version = store._models["m"], store._versions["m", "1"]
    if survivor == "model":
        store._versions["m", "1"] = replace(version, tags={})
    else:
        store._models["m"] = replace(model, tags={"greenroom.ledger": model.tags["greenroom.ledger"]})
    assert is_noticed(store)


def test_a_deleted_version_is_a_note_and_no_tampering(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "runs", clock=FixedClock())
    store.add_model("m")
    for _ in range(2):
        move_to_production(open_ledger(store), add_version(store, tmp_path))
    store.remove_version("m", "1")
    found = audit(open_ledger(store))
    assert found.findings == ()
    assert found.notes == ("Version 1 was deleted from MLflow; it was archived.",)
