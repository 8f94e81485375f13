"""``greenroom server``: stock MLflow, checked before it starts, gone when it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from registry.errors import GreenroomError, UnreachableError, UsageError
from registry.server import Server, check_port, find_free_port, keep_running, start_server
from registry.stores.rest import RestStore
from tests.fixtures.mlflow_stores import copy_template
from tests.fixtures.s3 import S3Server

RUN = """
import sys
from registry.commands.server import COMMAND
from registry.console import run_command
sys.exit(run_command(COMMAND, prog="greenroom server"))
"""


@contextmanager
def _running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, as a shell would start it."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"It ended without saying {words!r}")


def _find_descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


# a server that runs


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_the_whole_process_tree_and_adds_nothing_to_the_one_document(
    sqlite_template: Path, tmp_path: Path, signum: int, exit_code: int
) -> None:
    copy_template(sqlite_template, tmp_path / "mlflow.db", "mlflow-artifacts:/0")
    with _running("--port", "0", "--json") as process:
        uri = _read_until(process, "MLflow is at").split()[3]
        with urlopen(f"{uri}/health") as answer:
            assert answer.read() == b"OK"
        family = _find_descendants(process)
        assert len(family) >= 3  # keeper, mlflow, uvicorn
        process.send_signal(signum)
        stdout, _ = process.communicate(timeout=60)
        assert process.returncode == exit_code
        _assert_gone(family)
    assert json.loads(stdout) == {"schema": "greenroom/server/1", "uri": uri}


def test_a_server_starts_from_nothing_and_keeps_everything_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "7")
    with start_server(folder=tmp_path, log=tmp_path / "log") as server:
        environment = psutil.Process(server.process.pid).children(recursive=True)[-1].environ()
        store = RestStore(server.uri)
        run = store.create_run(store.create_experiment("e", {}), "r", {})
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "a").write_text("1")
        store.upload(run.run_id, str(tmp_path / "source"))
        assert server.is_running()
    assert not server.is_running()
    assert (tmp_path / "mlflow.db").exists()
    assert [file.read_text() for file in (tmp_path / "mlartifacts").rglob("a")] == ["1"]
    with pytest.raises(UnreachableError):
        store.list_models()
    assert environment["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] == "7"  # the user's own setting is left alone
    assert environment["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"] == "60"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_holds_forty_writers_at_once(mlflow_server: Server) -> None:
    """MLflow's own default pool loses a third of them (400 after 30 s)."""
    from concurrent.futures import ThreadPoolExecutor

    store = RestStore(mlflow_server.uri, timeout_s=60.0)
    run = store.create_run(store.create_experiment(f"load-{mlflow_server.process.pid}", {}), "r", {})

    def write(number: int) -> None:
        store.log_metrics(run.run_id, {f"m{number}-{i}": float(i) for i in range(100)})

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(write, range(40)))
    assert len(store.get_run(run.run_id).metrics) == 4000


# housekeeping


class _Stop(Exception):  # noqa: N818 - not an error
    pass


class _Housekeeping:
    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = iter(outcomes)
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        outcome = next(self.outcomes)
        if outcome is not None:
            raise outcome


def test_housekeeping_is_done_about_every_second_and_its_failure_is_told_once(
    mlflow_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble = UnreachableError("No answer.", hint="Wait.")
    housekeeping = _Housekeeping(None, trouble, trouble, _Stop())
    with pytest.raises(_Stop):
        keep_running(mlflow_server, housekeeping)
    assert 2.9 < housekeeping.times[-1] - housekeeping.times[0] < 6.0
    assert capsys.readouterr().err == "No answer. Wait.\n"


# a server that does not start


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run("--port", str(port))
    assert done.returncode == 1
    sentence = f"Cannot listen on 127.0.0.1:{port}: Address already in use."
    hint = "Stop what runs there, or choose another port with --port."
    assert done.stderr.splitlines()[1:] == [f"{sentence} {hint}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["--port", "99999"], 2, "99999 is no port."),
        (["--backend-store-uri", "./mlruns"], 2, "./mlruns is no database."),
        (["--backend-store-uri", "sqlite:////no/such/mlflow.db"], 1, "There is no folder /no/such"),
        (["--artifacts", "s3://models/x"], 1, "no S3 credentials were found"),
        (["--host", "192.0.2.1"], 1, "Cannot assign requested address"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    tmp_path: Path, arguments: list[str], exit_code: int, sentence: str
) -> None:
    done = _run("--port", "0", *arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_or_a_wrong_secret_exits_1_and_a_dead_s3_exits_4(
    s3_server: S3Server, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in s3_server.environment.items():
        monkeypatch.setenv(key, value)
    assert _run("--port", "0", "--artifacts", "s3://nobucket").returncode == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    denied = _run("--port", "0", "--artifacts", f"s3://{s3_server.bucket}", "--json")
    assert denied.returncode == 1
    assert json.loads(denied.stdout)["error"] == "access_denied"
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    assert _run("--port", "0", "--artifacts", f"s3://{s3_server.bucket}").returncode == 4
    assert list(tmp_path.iterdir()) == []


def test_a_dead_database_exits_4_within_seconds(free_port: int) -> None:
    started = time.monotonic()
    uri = f"postgresql+psycopg://ann:secret@127.0.0.1:{free_port}/mlflow"
    done = _run("--port", "0", "--backend-store-uri", uri)
    assert done.returncode == 4
    assert "secret" not in done.stderr
    assert time.monotonic() - started < 30.0


def test_a_server_that_ends_while_it_starts_is_quoted(tracking_uri: str, tmp_path: Path) -> None:
    """It is asked for an app that MLflow does not know: it says so and ends."""
    with (
        pytest.raises(GreenroomError, match=r"while starting\. Its last words: "),
        start_server(
            backend_store_uri=tracking_uri, app_name="of-nobody", folder=tmp_path, log=tmp_path / "log"
        ),
    ):
        pass


# ports


def test_a_free_port_can_be_listened_on() -> None:
    check_port("127.0.0.1", find_free_port())


def test_a_port_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="65535"):
        check_port("127.0.0.1", 70000)


def test_help_needs_no_mlflow() -> None:
    started = time.monotonic()
    done = _run("--help")
    assert (done.returncode, os.linesep in done.stdout) == (0, True)
    assert time.monotonic() - started < 2.0
