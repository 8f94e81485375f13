"""Which door leads to which MLflow, and what is said where there is none."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.environment import Settings
from registry.errors import (
    AccessDeniedError,
    GreenroomError,
    NotFoundError,
    StoreError,
    UnreachableError,
    UsageError,
)
from registry.server import Server
from registry.stores.client import ClientStore
from registry.stores.opening import open_store
from registry.stores.rest import RestStore
from tests.fixtures.postgres import Postgres
from tests.fixtures.reverse_proxy import Reply, StartProxy


def _settings(uri: str, registry_uri: str | None = None, timeout_s: float = 5.0) -> Settings:
    return Settings(tracking_uri=uri, registry_uri=registry_uri or uri, timeout_s=timeout_s)


# which door


def test_http_goes_over_rest_also_to_two_servers() -> None:
    store = open_store(_settings("http://127.0.0.1:5000", "https://models.example"))
    assert isinstance(store, RestStore)
    assert (store.tracking_uri, store.registry_uri) == ("http://127.0.0.1:5000", "https://models.example")


def test_the_environment_names_the_server_and_the_user(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start_proxy(lambda _: Reply(body=b'{"user": {"username": "ann"}}'))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert open_store().get_user() == "ann"


def test_the_credentials_file_of_mlflow_is_read(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = ann\nmlflow_tracking_password = 100%\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    proxy = start_proxy(lambda _: Reply(body=b'{"user": {"username": "ann"}}'))
    assert open_store(_settings(proxy.uri)).get_user() == "ann"
    assert proxy.seen[0].headers["authorization"] == "Basic YW5uOjEwMCU="


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_TRACKING_AUTH", "corporate"),
        ("MLFLOW_TRACKING_AWS_SIGV4", "true"),
        ("MLFLOW_WORKSPACE", "team"),
    ],
)
def test_what_only_mlflows_client_can_do_goes_through_it(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    server = start_proxy(lambda _: Reply())
    assert isinstance(open_store(_settings(server.uri)), ClientStore)


def test_what_lies_behind_a_proxy_goes_through_mlflows_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert isinstance(open_store(_settings("http://mlflow.example:5000")), ClientStore)


def test_a_proxy_is_not_asked_for_this_machine_or_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "mlflow.example")
    assert isinstance(open_store(_settings("http://127.0.0.1:5000")), RestStore)
    assert isinstance(open_store(_settings("http://mlflow.example:5000")), RestStore)


def test_a_database_goes_through_the_client(tracking_uri: str) -> None:
    store = open_store(_settings(tracking_uri))
    assert isinstance(store, ClientStore)
    assert list(store.list_models()) == []


def test_runs_here_and_models_there_is_served_by_the_client(
    tracking_uri: str, mlflow_server: Server, model_name: str
) -> None:
    from mlflow import MlflowClient

    MlflowClient(mlflow_server.uri, mlflow_server.uri).create_registered_model(model_name)
    store = open_store(_settings(tracking_uri, mlflow_server.uri))
    assert isinstance(store, ClientStore)
    assert store.get_model(model_name).name == model_name
    name = f"only-in-sqlite-{model_name}"
    store.create_experiment(name, {})
    assert open_store(_settings(mlflow_server.uri)).find_experiment(name) is None


# what is not there


def test_a_command_in_the_wrong_folder_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no MLflow database at sqlite:///mlflow\.db"):
        open_store(Settings())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("may_create", [False, True])
def test_a_missing_folder_is_named(tmp_path: Path, may_create: bool) -> None:
    with pytest.raises(NotFoundError, match="no folder /no/such"):
        open_store(_settings("sqlite:////no/such/mlflow.db"), may_create=may_create)


def test_a_folder_or_another_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, not a database; " * 50)
    with pytest.raises(StoreError, match="no SQLite database"):
        open_store(_settings(f"sqlite:///{tmp_path}/notes.txt"))
    with pytest.raises(StoreError, match="is a folder"):
        open_store(_settings(f"sqlite:///{tmp_path}"))


@pytest.mark.parametrize("uri", ["http://", "http://host:notaport", "https:///path"])
def test_an_address_that_is_none_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI is no address"):
        open_store(_settings(uri))


def test_a_scheme_that_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(GreenroomError, match="gopher"):
        open_store(_settings("gopher://host/x")).list_models()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"], ids=["refused", "silent"])
def test_a_dead_server_is_unreachable_within_seconds_through_the_client_too(
    free_port: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")  # only MLflow's client knows workspaces
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=rf"{host}:{free_port} .* MLFLOW_TRACKING_URI"):
        open_store(_settings(f"http://{host}:{free_port}", timeout_s=1.0))
    assert time.monotonic() - started < 5.0


def test_a_server_that_died_meanwhile_is_unreachable_too(free_port: int) -> None:
    with pytest.raises(UnreachableError, match=str(free_port)):
        ClientStore(f"http://127.0.0.1:{free_port}", timeout_s=1.0).get_model("m")


# databases that do not open


def test_a_wrong_password_is_denied_in_one_line(postgres: Postgres, postgres_uri: Callable[[], str]) -> None:
    with postgres.asking_for_passwords("ann", "right"):
        uri = postgres_uri()
        denied = uri.replace("postgres:@", "ann:wrong@")
        with pytest.raises(AccessDeniedError, match="does not let you in") as caught:
            open_store(_settings(denied))
        assert "wrong" not in str(caught.value).replace("password authentication failed", "")


def test_a_database_that_does_not_exist_is_not_found(postgres: Postgres) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        open_store(_settings(postgres.get_uri("nobody_made_this")))


def test_a_dead_database_is_unreachable_within_seconds(free_port: int) -> None:
    started = time.monotonic()
    uri = f"postgresql+psycopg://ann:secret@127.0.0.1:{free_port}/mlflow"
    with pytest.raises(UnreachableError, match="No answer from the database") as caught:
        open_store(_settings(uri))
    assert time.monotonic() - started < 5.0
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["mysql+mysqldb://ann:secret@db/mlflow", "postgresql+nodriver://ann:secret@db/m"]
)
def test_a_missing_driver_says_what_to_install(uri: str) -> None:
    with pytest.raises(StoreError, match=r"driver that is not installed .* pip install") as caught:
        open_store(_settings(uri))
    assert "secret" not in str(caught.value)


# the answer's own stream


def test_a_database_is_created_where_that_is_welcome_and_nothing_said(tmp_path: Path) -> None:
    code = "from registry import open_store; open_store(may_create=True).list_models()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "mlflow.db").exists()


def test_the_rest_door_imports_neither_mlflow_nor_requests(mlflow_server: Server) -> None:
    code = (
        "import sys; from registry import Settings, open_store;"
        f"open_store(Settings({mlflow_server.uri!r}, {mlflow_server.uri!r})).list_models();"
        "sys.exit(sum(name in sys.modules for name in ('mlflow', 'requests', 'sqlalchemy', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
