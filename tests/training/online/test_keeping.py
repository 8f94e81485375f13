"""Who drives a stream: claims taken over from the dead, and commits that the living keep for themselves."""

from datetime import UTC, datetime, timedelta

import pytest

from registry import ConflictError, FixedClock, RegistryStore, Settings, UsageError, open_store
from tests.training.online.conftest import MakeJob
from tests.training.online.test_engine import play
from training.online.keeping import Keeper
from training.online.state import read_state


@pytest.fixture
def store(settings: Settings) -> RegistryStore:
    return open_store(settings)


def open_keeper(store: RegistryStore, settings: Settings, host: str = "") -> Keeper:
    keeper = Keeper(store, settings, model="stream", stream="main")
    if host:
        keeper._me["host"] = host
    return keeper


def claim(keeper: Keeper, store: RegistryStore) -> Keeper:
    return keeper.claim("digest", lambda: store.create_run("0", "stream", {}).run_id)


def test_a_trainer_elsewhere_counts_as_dead_after_a_minute_without_a_sign(
    store: RegistryStore, settings: Settings
) -> None:
    claim(open_keeper(store, settings, host="elsewhere"), store)
    with pytest.raises(ConflictError, match="on elsewhere"):
        claim(open_keeper(store, settings), store)
    later = open_keeper(store, settings)
    later._clock = FixedClock(datetime.now(UTC) + timedelta(seconds=61))
    kept = claim(later, store).kept.claim
    assert kept is not None
    assert kept["by"] == later._me["by"]


def test_who_was_taken_over_cannot_commit_any_more(
    store: RegistryStore, settings: Settings, make_job: MakeJob
) -> None:
    first, second = (read_state(*kept) for kept in play(make_job())[:2])
    old = open_keeper(store, settings, host="elsewhere")
    old._clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    claim(old, store).commit(first)
    new = claim(open_keeper(store, settings), store)
    taken = new.load()
    assert taken is not None
    assert taken.learned == first.learned
    with pytest.raises(ConflictError, match="taken over by another trainer"):
        old.commit(second)
    new.commit(second)
    assert new.read().number == 2


def test_a_stream_begun_by_another_job_is_not_continued(store: RegistryStore, settings: Settings) -> None:
    with claim(open_keeper(store, settings), store):
        pass
    with pytest.raises(UsageError, match="another job"):
        open_keeper(store, settings).claim("other digest", lambda: "")
