"""What a user may not do in MLflow, Greenroom neither does for them nor half does."""

from pathlib import Path
from typing import Any

import pytest

from registry import PRODUCTION, STAGING, AccessDeniedError, Tag, find_holder
from registry.ledger.ledger import Actor, Ledger
from registry.promotion import commit
from registry.stores.memory import MemoryStore
from registry.upkeep import ensure_history
from tests.registry.histories import add_version, draft_promotion, move, move_to_production


class LimitedStore:
    """MLflow with permissions: some calls answer 403."""

    def __init__(self, store: MemoryStore, *denied: str) -> None:
        self._store = store
        self._denied = denied

    def __getattr__(self, name: str) -> Any:
        if name in self._denied:
            return self._deny
        return getattr(self._store, name)

    def _deny(self, *_: Any, **__: Any) -> None:
        raise AccessDeniedError("MLflow refused: permission denied.")


READ_ON_THE_MODEL = ("set_model_tag", "set_version_tag", "set_alias", "delete_alias", "describe_model")


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    return store


def test_who_may_only_read_the_model_cannot_begin_its_history(store: MemoryStore, tmp_path: Path) -> None:
    number = add_version(store, tmp_path)
    reader = Ledger(LimitedStore(store, *READ_ON_THE_MODEL), "m", actor=Actor("reader"))
    with pytest.raises(AccessDeniedError):
        move(reader, number, STAGING)
    assert store.find_experiment("greenroom/m") is None


def test_a_history_that_the_model_does_not_name_moves_nothing(store: MemoryStore, tmp_path: Path) -> None:
    """Somebody without rights on the model writes entries around Greenroom: followers do not believe them."""
    move_to_production(Ledger(store, "m", actor=Actor("one")), add_version(store, tmp_path))
    assert find_holder(store, "m", PRODUCTION) is not None
    model = store._models["m"]
    object.__setattr__(model, "tags", {key: text for key, text in model.tags.items() if key != Tag.LEDGER})
    assert find_holder(store, "m", PRODUCTION) is None


def test_an_entry_stands_when_what_follows_it_is_denied_and_says_so(
    store: MemoryStore, tmp_path: Path
) -> None:
    number = add_version(store, tmp_path)
    move(Ledger(store, "m", actor=Actor("one")), number, STAGING)
    editor = Ledger(LimitedStore(store, "delete_alias"), "m", actor=Actor("editor"))
    state = ensure_history(editor)
    draft = draft_promotion(editor, state, number, PRODUCTION)
    done = commit(editor, state, store.get_version("m", number), draft)
    assert done.seq == 2
    assert "The entry stands" in done.unfinished
    assert "greenroom reconcile m" in done.unfinished
    ensure_history(Ledger(store, "m", actor=Actor("one")))
    assert store.get_model("m").aliases == {PRODUCTION: number}
