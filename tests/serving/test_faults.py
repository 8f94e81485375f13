"""What goes wrong around a server with two workers: processes that are killed, disks that are full."""

import http.client
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from registry.server import Server
from tests.serving.scoring_servers import (
    ServeModel,
    ask,
    log_constants,
    log_version,
    predict,
    serve_model,
    set_alias,
    wait_until,
)

pytestmark = pytest.mark.xdist_group("serving_faults")

BODY = json.dumps({"dataframe_records": [{"x": 1.0}]})


@dataclass
class Hammer:
    """Clients that open a new connection when one breaks, and note what they saw."""

    port: int
    seen: set[tuple[str, float]] = field(default_factory=set)
    answers: int = 0
    broken: int = 0
    unavailable: int = 0
    odd: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopping.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            with suppress(OSError, http.client.HTTPException):
                while not self.stopping.is_set():
                    self.ask(connection)
                connection.close()
                return
            self.broken += 1
            connection.close()

    def ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", "/invocations", BODY, {"content-type": "application/json"})
        reply = connection.getresponse()
        document = json.loads(reply.read())
        if reply.status == 200:
            self.answers += 1
            self.seen.add((reply.headers["x-model-version"], document["predictions"][0]))
        elif reply.status == 503:
            self.unavailable += 1
        else:
            self.odd.append(f"{reply.status}: {document}")


@contextmanager
def hammering(port: int, clients: int = 6) -> Iterator[Hammer]:
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


def log_lines(uri: str, name: str, values: list[float]) -> list[str]:
    """Versions that can be compiled, and always predict their own number."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    table = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    models = [LinearRegression().fit(table, [value] * 3) for value in values]
    return [log_version(uri, name, model, table) for model in models]


def find(server: ServeModel, word: str) -> list[psutil.Process]:
    """Processes of this server's tree whose command line holds the word."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    found = []
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if any(word in part for part in child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def find_native(server: ServeModel) -> list[psutil.Process]:
    """The native process is the workshop's child."""
    return [child for child in find(server, "serving.workshop") if child.ppid() != server.process.pid]


def count(server: ServeModel, series: str) -> float:
    text = ask(server.port, "GET", "/metrics").body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


@pytest.fixture(scope="module")
def line(mlflow_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ServeModel]]:
    """A compiled model on two workers; versions 1 to 3 answer their number."""
    uri = mlflow_server.uri
    log_lines(uri, "faulty-line", [1.0, 2.0, 3.0])
    set_alias(uri, "faulty-line", "1")
    folder = tmp_path_factory.mktemp("line")
    with serve_model("faulty-line", uri, folder, "--workers", "2") as server:
        yield uri, server


def test_a_compiled_version_needs_neither_mlflow_in_the_workers_nor_a_native_process(
    line: tuple[str, ServeModel],
) -> None:
    _, server = line
    info = server.info()
    assert (info["engine"], info["version"]) == ("compiled", "1")
    assert predict(server.port).document == {"predictions": [1.0]}
    assert find_native(server) == []
    for worker in find(server, "serving.worker"):
        files = {Path(entry.path).as_posix() for entry in worker.memory_maps()}
        assert not [path for path in files if "pandas" in path or "sklearn" in path]
        assert worker.memory_info().rss < 90 * 2**20


def test_all_workers_swap_at_once_under_load_and_what_was_staged_is_there_in_a_moment(
    line: tuple[str, ServeModel],
) -> None:
    from mlflow import MlflowClient

    uri, server = line
    set_alias(uri, "faulty-line", "2", "staging")
    wait_until(lambda: server.info()["staged"] == "2")
    with hammering(server.port) as hammer:
        for version in ["2", "1", "2", "1", "3", "2", "3"]:
            began = time.monotonic()
            set_alias(uri, "faulty-line", version)
            wait_until(lambda version=version: server.info()["version"] == version)  # type: ignore[misc]
            if version != "3":  # prepared: the others were on stage, or staged
                assert time.monotonic() - began < 3.0
            time.sleep(0.1)
    assert (hammer.broken, hammer.unavailable, hammer.odd) == (0, 0, [])
    assert hammer.seen == {("1", 1.0), ("2", 2.0), ("3", 3.0)}
    assert hammer.answers > 500
    set_alias(uri, "faulty-line", "1")
    MlflowClient(uri).delete_registered_model_alias("faulty-line", "staging")
    wait_until(lambda: (server.info()["version"], server.info()["staged"]) == ("1", None))


def test_connections_are_spread_over_the_workers(line: tuple[str, ServeModel]) -> None:
    _, server = line
    before = {worker.pid: len(worker.net_connections()) for worker in find(server, "serving.worker")}
    open_connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(16)]
    try:
        for connection in open_connections:
            connection.connect()
        for connection in open_connections:
            connection.request("GET", "/ping")
            connection.getresponse().read()
        after = {worker.pid: len(worker.net_connections()) for worker in find(server, "serving.worker")}
    finally:
        for connection in open_connections:
            connection.close()
    shares = sorted(after[pid] - before[pid] for pid in before)
    assert sum(shares) == 16
    assert shares[0] >= 6


def test_a_worker_that_is_killed_is_replaced_and_only_its_requests_fail(
    line: tuple[str, ServeModel],
) -> None:
    _, server = line
    first, second = find(server, "serving.worker")
    restarts = count(server, "greenroom_restarts_total")
    with hammering(server.port) as hammer:
        time.sleep(0.3)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: count(server, "greenroom_restarts_total") == restarts + 1)
        wait_until(lambda: len(find(server, "serving.worker")) == 2)
        time.sleep(0.5)
    assert hammer.broken <= 6
    assert (hammer.unavailable, hammer.odd) == (0, [])
    assert hammer.seen == {("1", 1.0)}
    assert second.pid in {worker.pid for worker in find(server, "serving.worker")}
    assert "ended by itself" in server.read_log()


def test_a_native_process_that_is_killed_is_replaced_and_only_its_requests_fail(
    line: tuple[str, ServeModel],
) -> None:
    _, server = line
    csv = {"content-type": "text/csv"}
    assert ask(server.port, "POST", "/invocations", b"x\n1\n", csv).document == {"predictions": [1.0]}
    (native,) = find_native(server)
    with hammering(server.port) as hammer:
        os.kill(native.pid, signal.SIGKILL)
        reply = ask(server.port, "POST", "/invocations", b"x\n1\n", csv)
    assert reply.status in {200, 503}
    assert ask(server.port, "POST", "/invocations", b"x\n1\n", csv).document == {"predictions": [1.0]}
    assert (hammer.broken, hammer.unavailable, hammer.odd) == (0, 0, [])
    (another,) = find_native(server)
    assert another.pid != native.pid
    assert count(server, 'greenroom_restarts_total{model="faulty-line",process="native"}') == 1.0


def test_one_scrape_shows_the_requests_of_all_workers(line: tuple[str, ServeModel]) -> None:
    _, server = line
    series = 'greenroom_requests_total{model="faulty-line",path="compiled",status="200"'
    before = count(server, series)
    for _ in range(20):
        predict(server.port)
    assert [count(server, series) for _ in range(4)] == [before + 20] * 4
    from prometheus_client.parser import text_string_to_metric_families

    text = ask(server.port, "GET", "/metrics").body.decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"greenroom_requests", "greenroom_batch_requests", "greenroom_request_duration_seconds"} <= names


def test_nothing_is_left_when_the_supervisor_is_killed(
    mlflow_server: Server, tmp_path: Path, line: tuple[str, ServeModel]
) -> None:
    del line
    with serve_model("faulty-line", mlflow_server.uri, tmp_path, "--workers", "2") as server:
        assert find(server, "serving.workshop")
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert len(children) >= 3
        server.process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []


def limit_files() -> None:
    """A disk that takes no file above 64 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


def test_a_full_disk_keeps_the_old_version_on_stage_and_says_so(
    mlflow_server: Server, tmp_path: Path, model_name: str
) -> None:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    uri = mlflow_server.uri
    log_constants(uri, model_name, [1])
    table = np.random.default_rng(0).normal(size=(3, 10_000))
    log_version(uri, model_name, LinearRegression().fit(table, [1.0, 2.0, 3.0]), table[:1])
    set_alias(uri, model_name, "1")
    with serve_model(model_name, uri, tmp_path, "--workers", "1", preexec=limit_files) as server:
        set_alias(uri, model_name, "2")
        wait_until(lambda: server.info()["refused"] == "2")
        info = server.info()
        assert (info["version"], info["degraded"]) == ("1", True)
        assert "File too large" in info["problems"][0]
        assert predict(server.port).document == {"predictions": [1.0]}


def test_two_servers_share_a_cache_and_a_damaged_one_is_made_good(
    mlflow_server: Server, tmp_path: Path, line: tuple[str, ServeModel]
) -> None:
    del line
    shared = {"GREENROOM_CACHE_DIR": str(tmp_path / "shared")}
    uri = mlflow_server.uri
    options = ("--workers", "1")
    with serve_model("faulty-line", uri, tmp_path / "a", *options, env=shared) as one:
        weights = tmp_path / "shared" / "serving" / "models" / one.info()["manifest"] / "model.skops"
        with serve_model("faulty-line", uri, tmp_path / "b", *options, env=shared) as two:
            assert (one.info()["from_cache"], two.info()["from_cache"]) == (False, True)
            assert find(two, "serving.workshop") == []
            assert predict(two.port).document == {"predictions": [1.0]}
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
        assert predict(one.port).document == {"predictions": [1.0]}
    with serve_model("faulty-line", uri, tmp_path / "c", *options, env=shared) as three:
        assert (three.info()["from_cache"], three.info()["degraded"]) == (False, False)
        assert predict(three.port).document == {"predictions": [1.0]}
