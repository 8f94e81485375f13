"""Every door to MLflow keeps the same promises."""

import pytest
from mlflow import MlflowClient

from registry.server import Server
from registry.store import RegistryStore
from registry.stores.client import ClientStore
from registry.stores.memory import MemoryStore
from registry.stores.rest import RestStore
from registry.testing.artifact_contract import ArtifactContract
from registry.testing.seeds import MemorySeed, MlflowSeed, Seed
from registry.testing.store_contract import StoreContract

PAGE_SIZE = 4


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> RegistryStore:
        return MemoryStore(tmp_path_factory.mktemp("artifacts"))

    @pytest.fixture
    def seed(self, store: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> Seed:
        return MemorySeed(store, tmp_path_factory.mktemp("logged"))


class TestClientStoreOnSqlite(StoreContract):
    @pytest.fixture
    def store(self, tracking_uri: str) -> RegistryStore:
        return ClientStore(tracking_uri, page_size=PAGE_SIZE)

    @pytest.fixture
    def seed(self, tracking_uri: str) -> Seed:
        return MlflowSeed(MlflowClient(tracking_uri, tracking_uri))


class TestClientStoreOnPostgres(StoreContract):
    @pytest.fixture
    def store(self, postgres_shared_uri: str) -> RegistryStore:
        return ClientStore(postgres_shared_uri, page_size=PAGE_SIZE)

    @pytest.fixture
    def seed(self, postgres_shared_uri: str, monkeypatch: pytest.MonkeyPatch) -> Seed:
        # MLflow 3.17 looks a logged model up where its own environment says, whatever the client was told.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_shared_uri)
        return MlflowSeed(MlflowClient(postgres_shared_uri, postgres_shared_uri))


class TestClientStoreOverHttp(ArtifactContract):
    @pytest.fixture
    def store(self, mlflow_server: Server) -> RegistryStore:
        return ClientStore(mlflow_server.uri, page_size=PAGE_SIZE)

    @pytest.fixture
    def seed(self, mlflow_server: Server) -> Seed:
        return MlflowSeed(MlflowClient(mlflow_server.uri, mlflow_server.uri))


class TestRestStoreOnSqlite(StoreContract):
    @pytest.fixture
    def store(self, mlflow_server: Server) -> RegistryStore:
        return RestStore(mlflow_server.uri, page_size=PAGE_SIZE)

    @pytest.fixture
    def seed(self, mlflow_server: Server) -> Seed:
        return MlflowSeed(MlflowClient(mlflow_server.uri, mlflow_server.uri))


class TestRestStoreOnPostgres(StoreContract):
    @pytest.fixture
    def store(self, mlflow_server_postgres: Server) -> RegistryStore:
        return RestStore(mlflow_server_postgres.uri, page_size=PAGE_SIZE)

    @pytest.fixture
    def seed(self, mlflow_server_postgres: Server) -> Seed:
        return MlflowSeed(MlflowClient(mlflow_server_postgres.uri, mlflow_server_postgres.uri))
