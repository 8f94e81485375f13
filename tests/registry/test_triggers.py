"""Asking for training, and taking what was asked: over every door to MLflow."""

from functools import partial

import pytest

from registry import (
    FixedClock,
    NotFoundError,
    RegistryStore,
    Tag,
    find_training_requests,
    open_agenda,
    request_training,
    take_training_request,
)
from registry.journal import CAPACITY
from registry.server import Server
from registry.stores.client import ClientStore
from registry.stores.memory import MemoryStore
from registry.stores.rest import RestStore
from registry.testing.contract_base import make_experiment_name
from registry.testing.races import run_race


@pytest.fixture(params=["memory", "rest", "client"])
def store(request: pytest.FixtureRequest) -> RegistryStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "rest":
        server: Server = request.getfixturevalue("mlflow_server")
        return RestStore(server.uri)
    return ClientStore(request.getfixturevalue("tracking_uri"))


@pytest.fixture
def monitor(store: RegistryStore) -> str:
    """A run of a monitor."""
    return add_run(store)


def add_run(store: RegistryStore) -> str:
    return store.create_run(store.create_experiment(make_experiment_name(), {}), "monitor", {}).run_id


def test_a_request_is_found_until_it_is_taken(store: RegistryStore, model_name: str, monitor: str) -> None:
    assert find_training_requests(store, model_name) == []
    request_training(store, model_name, run_id=monitor, reason="input drift: \u00fc", clock=FixedClock())
    request_training(store, model_name, run_id=monitor, reason="asked again")
    (found,) = find_training_requests(store, model_name)
    assert (found.run_id, found.reason, found.time) == (monitor, "input drift: \u00fc", FixedClock().now())
    assert take_training_request(store, found, taker="here")
    assert not take_training_request(store, found, taker="here")
    assert find_training_requests(store, model_name) == []
    request_training(store, model_name, run_id=monitor, reason="and again")
    assert find_training_requests(store, model_name) == []


def test_of_twelve_takers_at_once_one_gets_the_request(
    store: RegistryStore, model_name: str, monitor: str
) -> None:
    request_training(store, model_name, run_id=monitor, reason="drift")
    (found,) = find_training_requests(store, model_name)
    won, _ = run_race([partial(take_training_request, store, found, taker="me")] * 12, NotFoundError)
    assert sorted(won) == [False] * 11 + [True]


def test_requests_of_many_monitors_at_once_are_all_found() -> None:
    store = MemoryStore()
    runs = [add_run(store) for _ in range(12)]
    asking = [partial(request_training, store, "m", run_id=run, reason="drift") for run in runs]
    run_race(asking, NotFoundError)
    assert {request.run_id for request in find_training_requests(store, "m")} == set(runs)
    assert find_training_requests(store, "another") == []


def test_a_request_that_cannot_be_read_or_whose_run_is_deleted_is_left_out() -> None:
    store = MemoryStore()
    spoilt, deleted, good = (add_run(store) for _ in range(3))
    for run_id in (spoilt, deleted, good):
        request_training(store, "m", run_id=run_id, reason="drift")
    store.set_run_tag(spoilt, Tag.TRAINING_REQUEST, "not JSON")
    store.delete_run(deleted)
    assert [request.run_id for request in find_training_requests(store, "m")] == [good]


def test_asking_for_a_run_that_does_not_exist_is_refused_and_writes_nothing() -> None:
    store = MemoryStore()
    with pytest.raises(NotFoundError):
        request_training(store, "m", run_id="0" * 32, reason="drift")
    assert store.find_experiment("greenroom/m/training") is None


def test_a_slot_is_taken_once_by_twelve_schedulers_at_once(store: RegistryStore, model_name: str) -> None:
    clock = FixedClock()
    agenda = open_agenda(store, model_name, clock=clock)
    agenda.begin("6h UTC")
    slot = clock.now().replace(hour=6)
    taking = partial(agenda.claim_slot, "6h UTC", slot, who="me", lease_s=60.0)
    won, _ = run_race([taking] * 12, NotFoundError)
    (claim,) = [one for one in won if one is not None]
    assert (claim.slot, claim.schedule) == ("2026-01-01T06:00:00.000Z", "6h UTC")
    assert agenda.read().open == {claim.seq: claim}
    assert agenda.claim_slot("6h UTC", slot.replace(hour=5), who="clock set back", lease_s=60.0) is None


def test_an_agenda_goes_on_over_many_pages_and_forgets_neither_claims_nor_requests() -> None:
    store, clock = MemoryStore(), FixedClock()
    agenda = open_agenda(store, "m", clock=clock)
    asking = add_run(store)
    agenda.begin("1s UTC")
    request_training(store, "m", run_id=asking, reason="drift")
    held = agenda.claim_requests("1s UTC", ("run",), who="slow", lease_s=60.0)
    assert held is not None
    agenda.beat(held, "its-run")
    for _ in range(CAPACITY + 10):
        clock.sleep(1)
        claim = agenda.claim_slot("1s UTC", clock.now(), who="quick", lease_s=60.0)
        assert claim is not None
        assert agenda.settle(claim, "trained", run_id="r", version="1")
        assert not agenda.settle(claim, "lost")
    state = agenda.read()
    assert list(state.open) == [held.seq]
    assert state.find_latest("1s UTC") == clock.now()
    assert agenda.read_beat(state.open[held.seq]).endswith(" its-run")
    assert [request.run_id for request in find_training_requests(store, "m")] == [asking]
    occasions = agenda.list_occasions(1000)
    assert [one.outcome for one in occasions] == ["trained"] * (CAPACITY + 10) + ["open"]
    assert occasions[-1].run_id == "its-run"
    assert len({one.claim.seq for one in occasions}) == CAPACITY + 11
