"""What every part of the store's contract stands on."""

import uuid

import pytest

from registry.store import RegistryStore, Run

from .seeds import Seed

__all__ = ["RACERS", "ContractBase", "make_experiment_name"]

RACERS = 20
"""As many as the races of MLflow that the ledger rests on were measured with."""


class ContractBase:
    """The fixtures: two to give, three made of them."""

    @pytest.fixture
    def store(self) -> RegistryStore:
        """The store under test."""
        raise NotImplementedError

    @pytest.fixture
    def seed(self) -> Seed:
        """What other people do with the same MLflow."""
        raise NotImplementedError

    @pytest.fixture
    def model(self, seed: Seed) -> str:
        """A registered model without versions."""
        name = f"model-{uuid.uuid4().hex[:12]}"
        seed.add_model(name)
        return name

    @pytest.fixture
    def experiment_id(self, store: RegistryStore) -> str:
        """An experiment of our own."""
        return store.create_experiment(make_experiment_name(), {})

    @pytest.fixture
    def run(self, store: RegistryStore, experiment_id: str) -> Run:
        """A run of our own."""
        return store.create_run(experiment_id, "chapter", {"kind": "ledger"})


def make_experiment_name() -> str:
    """One that nobody else uses."""
    return f"greenroom/{uuid.uuid4().hex[:12]}"
