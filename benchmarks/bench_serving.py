"""How ``serve-model`` compares with ``mlflow models serve``: the same model, machine and minute, in turns.

Prints medians over rounds that alternate between the two servers, and their ratios; numbers of one run are
comparable with each other, not with those of another machine. Takes about a minute.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mlflow
import numpy as np
import pandas as pd
import psutil
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skops.io import dumps, get_untrusted_types

ROUNDS: Final = 5
ROUND_S: Final = 1.5
CONNECTIONS: Final = (1, 16)
ROWS: Final = (1, 100)
SERVERS: Final = ("mlflow models serve", "serve-model")
BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True)
class Round:
    """What one server did in one round."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of the server's whole tree per request."""


def main() -> int:
    """Runs everything; 1 if a request failed."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        say("Training a mixed table with a boosting model ...")
        uri, rows = make_model(folder)
        say("Starting both servers ...")
        started = {
            "mlflow models serve": stack.enter_context(start_mlflow(uri, folder)),
            "serve-model": stack.enter_context(start_ours(uri, folder)),
        }
        check_equal(started, rows[:100])
        results = {}
        for count in ROWS:
            for connections in CONNECTIONS:
                say(f"{count} rows, {connections} connections ...")
                request = write_request(rows[:count])
                results[count, connections] = alternate(started, request, connections)
        show(results, {name: measure_memory_mb(pid) for name, (_, pid) in started.items()})
    return 0


def make_model(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Logs, registers and promotes (by alias) one model; returns MLflow's URI and rows to ask with."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "distance": random.uniform(100, 2500, 4000),
            "hour": random.integers(0, 24, 4000).astype(float),
            "carrier": random.choice(["AA", "B6", "DL", "UA"], 4000),
            "origin": random.choice(["EWR", "JFK", "LGA"], 4000),
        }
    )
    late = (table["hour"] / 24 + (table["carrier"] == "B6") * 0.3 + random.normal(0, 0.3, 4000) > 0.7) * 1
    encode = ColumnTransformer(
        [("text", OneHotEncoder(sparse_output=False), ["carrier", "origin"])], remainder="passthrough"
    )
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=50)).fit(table, late)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.create_experiment("bench", str(folder / "artifacts"))
    mlflow.set_experiment("bench")
    with warnings.catch_warnings(), mlflow.start_run():
        warnings.simplefilter("ignore")
        mlflow.sklearn.log_model(
            model,
            name="model",
            input_example=table.head(2),
            pip_requirements=["scikit-learn"],
            registered_model_name="bench",
            skops_trusted_types=list_types(model),
        )
    mlflow.MlflowClient().set_registered_model_alias("bench", "production", "1")
    rows = table.head(200).to_dict(orient="records")
    return uri, [{str(name): value for name, value in row.items()} for row in rows]


def list_types(model: Any) -> Sequence[str]:
    """Types of scikit-learn and NumPy that skops wants to be told of."""
    return [
        name for name in get_untrusted_types(data=dumps(model)) if name.startswith(("sklearn.", "numpy."))
    ]


@contextmanager
def start_mlflow(uri: str, folder: Path) -> Iterator[tuple[int, int]]:
    """``mlflow models serve``; yields port and process id."""
    port = find_free_port()
    command = [BIN / "mlflow", "models", "serve", "-m", "models:/bench@production", "-p", str(port)]
    environment = {"MLFLOW_TRACKING_URI": uri, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    with run([*command, "--env-manager", "local"], environment, folder, "mlflow.log") as process:
        wait_until_up(port, process)
        yield port, process.pid


@contextmanager
def start_ours(uri: str, folder: Path) -> Iterator[tuple[int, int]]:
    """``serve-model``; yields port and process id."""
    port = find_free_port()
    environment = {"MLFLOW_TRACKING_URI": uri, "GREENROOM_CACHE_DIR": str(folder / "cache")}
    command = [BIN / "serve-model", "bench", "--port", str(port)]
    with run(command, environment, folder, "serve-model.log") as process:
        wait_until_up(port, process)
        yield port, process.pid


@contextmanager
def run(
    command: Sequence[Any], environment: Mapping[str, str], folder: Path, log: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program with one thread per numeric library; stops all of it."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, cwd=folder, start_new_session=True
        )
    try:
        yield process
    except BaseException:
        say((folder / log).read_text(errors="replace")[-2000:])
        raise
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def find_free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_up(port: int, process: "subprocess.Popen[bytes]", timeout_s: float = 90.0) -> None:
    """Waits for ``GET /ping`` to say 200."""
    deadline = time.monotonic() + timeout_s
    request = b"GET /ping HTTP/1.1\r\nhost: bench\r\n\r\n"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if asyncio.run(ask_once(port, request))[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("a server did not start")


def write_request(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One whole HTTP request for a prediction."""
    columns = list(rows[0])
    data = [[row[column] for column in columns] for row in rows]
    body = json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()
    head = "POST /invocations HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """One request on an open connection: status and body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return int(head[9:12]), await reader.readexactly(length)


async def ask_once(port: int, request: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await ask(reader, writer, request)
    finally:
        writer.close()


def check_equal(started: Mapping[str, tuple[int, int]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Speed of a wrong answer is worth nothing."""
    request = write_request(rows)
    answers = {asyncio.run(ask_once(port, request)) for port, _ in started.values()}
    if len(answers) != 1:
        raise RuntimeError("the two servers answer differently")


def alternate(
    started: Mapping[str, tuple[int, int]], request: bytes, connections: int
) -> dict[str, list[Round]]:
    """Rounds in turns, so that a busy neighbour hits both; the first of each only warms up."""
    rounds: dict[str, list[Round]] = {name: [] for name in started}
    for number in range(ROUNDS + 1):
        for name, (port, pid) in started.items():
            measured = measure(port, pid, request, connections)
            if number:
                rounds[name].append(measured)
    return rounds


def measure(port: int, pid: int, request: bytes, connections: int) -> Round:
    """Asks for a while on so many connections."""
    before = measure_cpu_s(pid)
    began = time.perf_counter()
    latencies = asyncio.run(load(port, request, connections))
    seconds = time.perf_counter() - began
    cpu_s = measure_cpu_s(pid) - before
    ordered = sorted(latencies)
    return Round(
        requests_per_s=len(ordered) / seconds,
        p50_ms=statistics.median(ordered) * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        cpu_ms=cpu_s / len(ordered) * 1000,
    )


async def load(port: int, request: bytes, connections: int) -> list[float]:
    """Seconds of every request; raises if one is not answered with 200."""
    latencies: list[float] = []
    end = time.perf_counter() + ROUND_S

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            status, body = await ask(reader, writer, request)
            if status != 200:
                raise RuntimeError(f"{status}: {body[:200]!r}")
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


def list_tree(pid: int) -> Sequence[psutil.Process]:
    """A process and all it started."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def measure_cpu_s(pid: int) -> float:
    """Processor seconds of a whole tree so far."""
    return sum(process.cpu_times().user + process.cpu_times().system for process in list_tree(pid))


def measure_memory_mb(pid: int) -> float:
    """Resident memory of a whole tree, in MB of 2^20 bytes."""
    return sum(process.memory_info().rss for process in list_tree(pid)) / 2**20


def show(
    results: Mapping[tuple[int, int], Mapping[str, Sequence[Round]]], memory: Mapping[str, float]
) -> None:
    """Prints medians and ratios."""
    width = min(shutil.get_terminal_size().columns, 100)
    print(f"\nmedians of {ROUNDS} rounds of {ROUND_S} s, in turns\n{'-' * width}")
    titles = ("req/s", "p50 ms", "p99 ms", "CPU ms")
    print(f"{'rows':>4} {'conn.':>5}  {'server':<20}", *(f"{title:>8}" for title in titles))
    for (rows, connections), by_server in results.items():
        for name, rounds in by_server.items():
            values = (median(rounds, key) for key in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms"))
            print(f"{rows:>4} {connections:>5}  {name:<20}", *(f"{value:>8.2f}" for value in values))
        theirs, ours = (by_server[name] for name in SERVERS)
        ratio = median(ours, "requests_per_s") / median(theirs, "requests_per_s")
        print(f"{'':>12}{'ratio':<20} {ratio:>8.2f} x")
    sizes = ", ".join(f"{name} {value:.0f} MB" for name, value in memory.items())
    print(f"memory of the whole tree: {sizes}")


def median(rounds: Sequence[Round], key: str) -> float:
    """Median of one figure over rounds."""
    return float(statistics.median(getattr(one, key) for one in rounds))


def say(text: str) -> None:
    """Tells what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
