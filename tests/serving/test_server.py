"""Whole processes, as users run them: start, follow, survive, stop."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry import STAGES, PromotionRequest, open_ledger, promote, read_settings
from registry.server import Server, start_server
from tests.serving.scoring_servers import (
    ServeModel,
    ask,
    copy_template,
    log_constants,
    predict,
    serve_model,
    set_alias,
    wait_until,
)


def run_serve_model(*arguments: str, uri: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs ``serve-model`` where it is expected to end by itself."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("serve-model")), *arguments],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "GREENROOM_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )


@dataclass
class Hammer:
    """Clients that ask without pause, each on one connection, and note every answer."""

    port: int
    answers: Counter[tuple[int, str, float]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = json.dumps({"dataframe_records": [{"x": 1.0}, {"x": 2.0}]})
        seen: Counter[tuple[int, str, float]] = Counter()
        try:
            while not self.stopping.is_set():
                connection.request("POST", "/invocations", body, {"content-type": "application/json"})
                reply = connection.getresponse()
                document = json.loads(reply.read())
                first, second = document["predictions"]
                assert first == second
                seen[reply.status, reply.headers["x-model-version"], first] += 1
        except (OSError, http.client.HTTPException, KeyError, AssertionError, ValueError) as error:
            self.failures.append(repr(error))
        finally:
            self.answers.update(seen)
            connection.close()


@contextmanager
def hammering(port: int, clients: int = 8) -> Iterator[Hammer]:
    hammer = Hammer(port)
    threads = [threading.Thread(target=hammer.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield hammer
    finally:
        hammer.stopping.set()
        for thread in threads:
            thread.join()


def wait_for_version(server: ServeModel, version: str) -> None:
    wait_until(lambda: server.info()["version"] == version)


def list_children(pid: int) -> Sequence[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def test_no_request_fails_and_no_answer_mixes_versions_while_production_moves(
    mlflow_server: Server, model_name: str, tmp_path: Path
) -> None:
    uri = mlflow_server.uri
    versions = log_constants(uri, model_name, [1, 2, 3])
    set_alias(uri, model_name, "1")
    with serve_model(model_name, uri, tmp_path) as server, hammering(server.port) as hammer:
        for turn in range(1, 13):
            version = versions[turn % 3]
            set_alias(uri, model_name, version)
            wait_for_version(server, version)
            time.sleep(0.1)
    assert hammer.failures == []
    assert {status for status, _, _ in hammer.answers} == {200}
    assert {(version, value) for _, version, value in hammer.answers} == {("1", 1.0), ("2", 2.0), ("3", 3.0)}
    assert hammer.answers.total() > 200


def test_it_waits_for_a_first_promotion_takes_it_and_ends_on_ctrl_c(
    mlflow_server: Server, model_name: str, tmp_path: Path
) -> None:
    uri = mlflow_server.uri
    log_constants(uri, model_name, [1])
    with serve_model(model_name, uri, tmp_path) as server:
        assert server.announced["ready"] is False
        assert ask(server.port, "GET", "/ready").status == 503
        assert predict(server.port).status == 503
        assert f"{model_name} has no production version yet" in server.read_log()
        assert server.info()["degraded"] is False
        set_alias(uri, model_name, "1")
        wait_until(lambda: ask(server.port, "GET", "/ready").status == 200)
        assert predict(server.port).document == {"predictions": [1.0]}
        wait_until(lambda: "Ready: http://" in server.read_log())
        assert server.stop(signal.SIGINT) == 130
        assert "Traceback" not in server.read_log()


def test_without_history_the_alias_counts_and_an_emptied_stage_is_served_on(
    tracking_uri: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    log_constants(tracking_uri, "m", [1])
    set_alias(tracking_uri, "m", "1", "staging")
    with serve_model("m", tracking_uri, tmp_path, "--stage", "staging") as server:
        assert server.announced == {
            "schema": "greenroom/serving/1",
            "address": f"http://127.0.0.1:{server.port}",
            "model": "m",
            "stage": "staging",
            "ready": True,
            "version": "1",
            "seq": 0,
        }
        info = server.info()
        assert (info["managed"], info["seq"], info["warm"], info["from_cache"]) == (False, 0, True, False)
        assert "by alias, no ledger" in server.read_log()
        MlflowClient(tracking_uri).delete_registered_model_alias("m", "staging")
        wait_until(lambda: server.info()["degraded"])
        assert server.info()["problems"] == ["nothing holds the stage; version 1 is served on"]
        assert predict(server.port).status == 200
        set_alias(tracking_uri, "m", "1", "staging")
        wait_until(lambda: not server.info()["degraded"])


@pytest.fixture
def own_server(sqlite_template: Path, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A tracking server that a test may stop."""
    folder = tmp_path / "server"
    folder.mkdir()
    uri = copy_template(sqlite_template, folder)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
    connection.close()
    with start_server(backend_store_uri=uri, folder=folder, log=folder / "log") as server:
        yield server, folder


def test_without_mlflow_it_serves_on_restarts_from_the_cache_and_recovers(
    own_server: tuple[Server, Path], tmp_path: Path
) -> None:
    server, folder = own_server
    log_constants(server.uri, "m", [1, 2])
    set_alias(server.uri, "m", "1")
    with serve_model("m", server.uri, tmp_path) as ours:
        server.process.stop()
        wait_until(lambda: ours.info()["degraded"])
        assert "cannot be looked at" in ours.info()["problems"][0]
        assert 'greenroom_degraded{model="m"} 1.0' in ask(ours.port, "GET", "/metrics").body.decode()
        assert predict(ours.port).document == {"predictions": [1.0]}
        assert ours.stop() == 0
    with serve_model("m", server.uri, tmp_path) as ours:
        assert (ours.announced["ready"], ours.announced["version"]) == (True, "1")
        info = ours.info()
        assert (info["from_cache"], info["degraded"]) == (True, True)
        assert predict(ours.port).document == {"predictions": [1.0]}
        port = int(server.uri.rpartition(":")[2])
        database = f"sqlite:///{folder / 'mlflow.db'}"
        with start_server(backend_store_uri=database, folder=folder, port=port, log=folder / "log"):
            wait_until(lambda: not ours.info()["degraded"])
            set_alias(server.uri, "m", "2")
            wait_for_version(ours, "2")
            assert predict(ours.port).document == {"predictions": [2.0]}


def test_code_that_nobody_vouched_for_does_not_run(tracking_uri: str, tmp_path: Path) -> None:
    """The canary is a file that the artifact's own code would write when it is loaded."""
    log_constants(tracking_uri, "m", [1, 2])
    set_alias(tracking_uri, "m", "1")
    canary = tmp_path / "canary"
    with serve_model("m", tracking_uri, tmp_path / "serving") as server:
        (mlmodel,) = find_artifacts(tracking_uri, tmp_path, "2")
        text = mlmodel.read_text().replace(
            "loader_module: mlflow.sklearn", "loader_module: evil\n    code: code"
        )
        mlmodel.write_text(text)
        (mlmodel.parent / "code").mkdir()
        (mlmodel.parent / "code" / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
        set_alias(tracking_uri, "m", "2")
        wait_until(lambda: server.info()["refused"] == "2")
        info = server.info()
        assert (info["version"], info["degraded"]) == ("1", True)
        assert predict(server.port).document == {"predictions": [1.0]}
        assert 'greenroom_refusals_total{model="m",reason="untrusted",version="2"}' in (
            ask(server.port, "GET", "/metrics").body.decode()
        )
        assert "Degraded: version 2 cannot be served" in server.read_log()
        assert not canary.exists()
        set_alias(tracking_uri, "m", "1")
        wait_until(lambda: not server.info()["degraded"])


def test_with_history_the_ledger_counts_and_tampered_files_are_refused(
    tracking_uri: str, tmp_path: Path
) -> None:
    log_constants(tracking_uri, "m", [1])
    ledger = open_ledger("m", settings=read_settings({"MLFLOW_TRACKING_URI": tracking_uri}))
    for stage in STAGES:
        assert promote(ledger, PromotionRequest("m", stage)).moved
    (mlmodel,) = find_artifacts(tracking_uri, tmp_path, "1")
    weights = mlmodel.parent / "model.skops"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with serve_model("m", tracking_uri, tmp_path / "serving") as server:
        assert server.announced["ready"] is False
        info = server.info()
        assert (info["version"], info["refused"], info["degraded"]) == (None, "1", True)
        assert "are not those that were verified" in info["problems"][0]
        assert predict(server.port).status == 503
        weights.write_bytes(sound)
        wait_until(lambda: ask(server.port, "GET", "/ready").status == 200)
        wait_until(lambda: not server.info()["degraded"])
        info = server.info()
        assert (info["version"], info["managed"]) == ("1", True)
        assert info["seq"] >= 2
        assert info["since"].endswith("Z")
        assert predict(server.port).document == {"predictions": [1.0]}


def find_artifacts(uri: str, folder: Path, version: str) -> Sequence[Path]:
    """The ``MLmodel`` file of a version on disk."""
    from mlflow import MlflowClient

    source = str(MlflowClient(uri).get_model_version("m", version).source)
    return list((folder / "mlruns").rglob(f"{source.removeprefix('models:/')}/artifacts/MLmodel"))


def test_sigterm_lets_the_last_request_finish(tracking_uri: str, tmp_path: Path) -> None:
    log_constants(tracking_uri, "m", [1])
    set_alias(tracking_uri, "m", "1")
    with serve_model("m", tracking_uri, tmp_path) as server:
        body = json.dumps({"dataframe_records": [{"x": 1.0}]}).encode()
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body[:5])
            )
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_open(server.port))
            assert server.process.poll() is None
            connection.sendall(body[5:])
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"predictions": [1.0]}')
        assert server.process.wait(30) == 0


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_model_that_does_not_exist_is_named(tracking_uri: str, tmp_path: Path) -> None:
    done = run_serve_model("nobody", "--port", "0", uri=tracking_uri, folder=tmp_path)
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_server_with_nothing_cached_is_exit_code_4(tmp_path: Path, free_port: int) -> None:
    done = run_serve_model("m", "--port", "0", "--json", uri=f"http://127.0.0.1:{free_port}", folder=tmp_path)
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert (document["error"], document["exit_code"]) == ("unreachable", 4)


def test_a_taken_port_is_one_line(tracking_uri: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_serve_model("m", "--port", str(port), uri=tracking_uri, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"http://127.0.0.1:{port} cannot be bound: Address already in use. "
        "Choose another --port (0 takes a free one) or --host.\n"
    )
