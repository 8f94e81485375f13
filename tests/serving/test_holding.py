from collections import Counter
from dataclasses import replace

import pytest

from registry import Experiment, MemoryStore, NotFoundError, adopt, open_ledger
from serving.holding import StageWatch
from serving.target import Target


class Counting(MemoryStore):
    """Counts the calls that a look makes beyond the model's own row."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def find_experiment(self, name: str) -> Experiment | None:
        self.calls["ledger"] += 1
        return super().find_experiment(name)


@pytest.fixture
def store() -> Counting:
    store = Counting()
    store.add_model("m")
    store.add_version("m", run_id="r1")
    return store


def watch(store: Counting) -> StageWatch:
    return StageWatch(lambda: store, "m", "production", template="greenroom/{model}")


def test_without_history_the_alias_counts(store: Counting) -> None:
    looking = watch(store)
    assert looking.look() is None
    store.set_alias("m", "production", "1")
    found = looking.look()
    assert found is not None
    assert replace(found, created_ms=0) == Target("1", run_id="r1", managed=False)
    assert found.created_ms == store.get_version("m", "1").created_ms


def test_the_ledger_is_read_again_only_when_the_models_row_has_changed(store: Counting) -> None:
    adopt(open_ledger("m", store=store))
    store.calls.clear()
    looking = watch(store)
    for _ in range(5):
        looking.look()
    assert store.calls["ledger"] == 1
    store.set_model_tag("m", "somebody", "was here")
    for _ in range(5):
        looking.look()
    assert store.calls["ledger"] == 2


def test_with_history_an_alias_alone_does_not_count(store: Counting) -> None:
    adopt(open_ledger("m", store=store))
    store.set_alias("m", "production", "1")
    assert watch(store).look() is None


def test_what_was_adopted_counts_by_history(store: Counting) -> None:
    store.set_alias("m", "production", "1")
    adopt(open_ledger("m", store=store))
    store.delete_alias("m", "production")
    found = watch(store).look()
    assert found is not None
    assert (found.version, found.managed, found.seq) == ("1", True, 1)


def test_a_look_that_failed_leaves_nothing_to_rest_on(store: Counting) -> None:
    looking = watch(store)
    looking.look()
    store.set_alias("m", "production", "1")
    store.remove_version("m", "1")
    store.remove_model("m")
    with pytest.raises(NotFoundError):
        looking.look()
    store.add_model("m")
    store.add_version("m", run_id="r2")
    store.set_alias("m", "production", "1")
    found = looking.look()
    assert found is not None
    assert found.run_id == "r2"
