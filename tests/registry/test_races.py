"""Promoters as separate processes over REST, released by a barrier, on SQLite and PostgreSQL."""

from pathlib import Path

import pytest

from registry import STAGING, RegistryStore, Server, Settings, open_store, read_history
from registry.ledger.ledger import Ledger
from registry.testing.racing import Kind, Racers, racers
from tests.registry.mlflow_models import register

TRIALS = {2: 70, 8: 30}
"""By the number of racers: 100 for each database."""

NAIVE_TRIALS = 12


@pytest.fixture(params=["mlflow_server", "mlflow_server_postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: Server) -> RegistryStore:
    return open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))


def run_trials(
    field: Racers, store: RegistryStore, name: str, versions: list[str], kind: Kind, count: int
) -> list[list[str]]:
    trials = []
    for _ in range(count):
        held = store.get_model(name).aliases.get(STAGING)
        free = [version for version in versions if version != held]
        trials.append(field.race(free[: len(field.pipes)], kind))
    return trials


@pytest.mark.parametrize("count", [2, 8])
def test_exactly_one_promoter_wins_and_every_other_is_told(
    store: RegistryStore, model_name: str, tmp_path: Path, count: int
) -> None:
    (tmp_path / "model").write_text("weights")
    versions = register(store, model_name, tmp_path, count + 1)
    with racers(count, store.tracking_uri, model_name) as field:
        trials = run_trials(field, store, model_name, versions, "greenroom", TRIALS[count])
    assert {tuple(sorted(trial)) for trial in trials} == {("told",) * (count - 1) + ("won",)}
    entries = read_history(Ledger(store, model_name))
    assert [entry.action for entry in entries] == ["promote"] * TRIALS[count]
    assert store.get_model(model_name).aliases[STAGING] == entries[-1].version


def test_the_same_trials_catch_a_promoter_that_checks_and_then_sets(
    store: RegistryStore, model_name: str, tmp_path: Path
) -> None:
    (tmp_path / "model").write_text("weights")
    versions = register(store, model_name, tmp_path, 9)
    with racers(8, store.tracking_uri, model_name) as field:
        trials = run_trials(field, store, model_name, versions, "naive", NAIVE_TRIALS)
    assert sum(trial.count("won") > 1 for trial in trials) > NAIVE_TRIALS // 4
