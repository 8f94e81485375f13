"""What a prediction costs over HTTP: `mlflow models serve`, ours, and a bare echo, same model, in turns.

Three models: the flights of `examples/flights` (a mixed table, dates, weather looked up, boosting), a
logistic regression and a forest of 100 trees on ten numbers. Prints medians over rounds in turns between the
servers, and ratios. Training is left out. Takes about five minutes; SECONDS=0.5 ROUNDS=1 for a quick look.
"""

import json
import math
import os
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

import psutil

from registry.server import start_server

ROUNDS: Final = int(os.environ.get("ROUNDS", "5"))
ROUND_S: Final = float(os.environ.get("SECONDS", "1.5"))
CASES: Final = ((1, 1), (1, 16), (100, 16))
WORKERS: Final = os.cpu_count() or 1
MLFLOW, OURS, ECHO = "mlflow models serve", "serve-model", "bare echo"
TOLERANCE: Final = 1e-6
HERE: Final = Path(__file__).parent
BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True)
class Round:
    """What one server did in one round."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the server's whole tree per request."""
    busy: float
    """How busy the load generator was, of 1."""


@dataclass(frozen=True)
class Started:
    """A running server."""

    port: int
    pid: int
    cold_s: float


def main() -> int:
    """Runs everything."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch:
        folder = Path(scratch)
        database = f"sqlite:///{folder / 'mlflow.db'}"
        with start_server(backend_store_uri=database, folder=folder, log=folder / "server.log") as server:
            os.environ["MLFLOW_TRACKING_URI"] = server.uri
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
            for name, example in make_models(folder).items():
                compare(name, example, folder)
    return 0


def make_models(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Trains, registers and promotes (by alias) the models; returns a table to ask each of them with."""
    import mlflow  # noqa: PLC0415 - after the tracking server's address is known

    say("Training the models ...")
    job = HERE.parent / "examples" / "flights" / "job.toml"
    subprocess.run([BIN / "train-model", job], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    names = {"flight-delay": "flight-delay", **make_simple_models()}
    tables = {}
    for name in names:
        mlflow.MlflowClient().set_registered_model_alias(name, "production", "1")
        path = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(folder / name)))
        tables[name] = json.loads((path / "serving_input_example.json").read_text())["dataframe_split"]
    return tables


def make_simple_models() -> Mapping[str, str]:
    """A linear model and a forest on ten numbers, logged with plain MLflow."""
    import mlflow  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from skops.io import dumps, get_untrusted_types  # noqa: PLC0415 - as above

    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(2000, 10)), columns=[f"x{number}" for number in range(10)])
    truth = (table.sum(axis=1) + random.normal(0, 1, 2000) > 0) * 1
    models = {"linear": LogisticRegression(), "forest": RandomForestClassifier(100, random_state=0)}
    for name, model in models.items():
        model.fit(table, truth)
        with warnings.catch_warnings(), mlflow.start_run():
            warnings.simplefilter("ignore")
            mlflow.sklearn.log_model(
                model,
                name="model",
                input_example=table.head(4),
                pip_requirements=["scikit-learn"],
                registered_model_name=name,
                skops_trusted_types=get_untrusted_types(data=dumps(model)),
            )
    return {name: name for name in models}


def compare(name: str, table: Mapping[str, Any], folder: Path) -> None:
    """All cases of one model, and what it costs to have it running."""
    say(f"{name}: starting the servers ...")
    home = folder / f"{name}-servers"
    home.mkdir()
    with start_ours(name, home):
        pass  # fills the cache, so that the next start is one from it
    with ExitStack() as stack:
        started = {
            MLFLOW: stack.enter_context(start_mlflow(name, home)),
            OURS: stack.enter_context(start_ours(name, home)),
        }
        engine = json.loads(fetch(started[OURS].port, "/info"))["engine"]
        size = check_equal(started, write_request(table, 1))
        started[ECHO] = stack.enter_context(start_echo(size, home))
        print(f"\n{name} ({engine}), medians of {ROUNDS} rounds of {ROUND_S} s, in turns")
        titles = ("req/s", "p50 ms", "p99 ms", "CPU µs", "× mlflow", "× echo")
        print(f"{'rows':>5} {'conn.':>5}  {'server':<20}", *(f"{title:>9}" for title in titles))
        for rows, connections in CASES:
            request = write_request(table, rows)
            check_equal({key: started[key] for key in (MLFLOW, OURS)}, request)
            show(rows, connections, alternate(started, request, connections))
        for server in (MLFLOW, OURS):
            show_cost(server, started[server])


def alternate(
    started: Mapping[str, Started], request: bytes, connections: int
) -> Mapping[str, Sequence[Round]]:
    """Rounds in turns, so that a busy neighbour hits all; the first of each only warms up."""
    rounds: dict[str, list[Round]] = {name: [] for name in started}
    for number in range(ROUNDS + 1):
        for name, server in started.items():
            measured = measure(server, request, connections)
            if number:
                rounds[name].append(measured)
    return rounds


def measure(server: Started, request: bytes, connections: int) -> Round:
    """Asks for a while on so many connections."""
    before_s = measure_cpu_s(server.pid)
    found = load(server.port, request, connections, ROUND_S)
    cpu_s = measure_cpu_s(server.pid) - before_s
    if found["failures"]:
        raise RuntimeError(f"{found['failures']} requests failed: {found['bodies']}")
    return Round(
        requests_per_s=found["requests"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        cpu_us=cpu_s / found["requests"] * 1e6,
        busy=found["busy"],
    )


def load(port: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """One run of the load generator, which is a process of its own."""
    command = [sys.executable, str(HERE / "load.py"), str(port), str(connections), str(seconds)]
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def show(rows: int, connections: int, results: Mapping[str, Sequence[Round]]) -> None:
    """One line per server; ratios are those of medians."""
    speed = {name: median(rounds, "requests_per_s") for name, rounds in results.items()}
    for name, rounds in results.items():
        values = [median(rounds, key) for key in ("requests_per_s", "p50_ms", "p99_ms", "cpu_us")]
        ratios = [speed[name] / speed[MLFLOW], speed[name] / speed[ECHO]]
        busy = median(rounds, "busy")
        note = f"   the load generator was {busy:.0%} busy: the server may do more" if busy > 0.8 else ""
        print(
            f"{rows:>5} {connections:>5}  {name:<20}",
            *(f"{value:>9.2f}" for value in [*values, *ratios]),
            note,
        )
    waits = {name: median(rounds, "p50_ms") for name, rounds in results.items()}
    print(
        f"{'':>13}p50 of ours: {waits[OURS] / waits[ECHO]:.2f} × echo,",
        f"{waits[OURS] / waits[MLFLOW]:.3f} × mlflow",
    )


def show_cost(name: str, server: Started) -> None:
    """Memory of the whole tree (what processes share counts once), and the time of the start."""
    tree = list_tree(server.pid)
    own = sum(process.memory_full_info().pss for process in tree) / 2**20
    sizes = ", ".join(f"{process.memory_info().rss / 2**20:.0f}" for process in tree)
    print(f"{'':>13}{name}: {own:.0f} MB in all (RSS by process: {sizes}), up after {server.cold_s:.2f} s")


def median(rounds: Sequence[Round], key: str) -> float:
    """Median of one figure over rounds."""
    return float(statistics.median(getattr(one, key) for one in rounds))


@contextmanager
def start_mlflow(name: str, folder: Path) -> Iterator[Started]:
    """``mlflow models serve``, as its documentation says."""
    command = [
        BIN / "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{name}@production",
        "--env-manager",
        "local",
    ]
    environment = {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    with run([*command, "-p"], environment, folder) as server:
        yield server


@contextmanager
def start_ours(name: str, folder: Path) -> Iterator[Started]:
    """``serve-model`` with its defaults."""
    with run(
        [BIN / "serve-model", name, "--port"], {"GREENROOM_CACHE_DIR": str(folder / "cache")}, folder
    ) as server:
        yield server


@contextmanager
def start_echo(size: int, folder: Path) -> Iterator[Started]:
    """The echo, with as many processes and as long an answer as ours."""
    with run([sys.executable, HERE / "echo.py"], {}, folder, str(WORKERS), str(size)) as server:
        yield server


@contextmanager
def run(
    command: Sequence[Any], environment: Mapping[str, str], folder: Path, *more: str
) -> Iterator[Started]:
    """Runs a server on a free port, with one thread per numeric library; stops all of it."""
    port = find_free_port()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        began_s = time.monotonic()
        process = subprocess.Popen(
            [*command, str(port), *more],
            env=env,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
    try:
        wait_until_up(port, process, log)
        yield Started(port, process.pid, time.monotonic() - began_s)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_up(port: int, process: "subprocess.Popen[bytes]", log: Path, timeout_s: float = 90.0) -> None:
    """Waits for ``GET /ping`` to say 200."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            fetch(port, "/ping")
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")


def fetch(port: int, path: str) -> bytes:
    """One GET; OSError if it is not answered with 200."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if head[9:12] != b"200":
        raise OSError(head.decode())
    return body


def find_free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def write_request(table: Mapping[str, Any], rows: int) -> bytes:
    """One whole HTTP request for predictions of so many rows."""
    data = [table["data"][number % len(table["data"])] for number in range(rows)]
    body = json.dumps({"dataframe_split": {"columns": table["columns"], "data": data}}).encode()
    head = "POST /invocations HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def check_equal(started: Mapping[str, Started], request: bytes) -> int:
    """Speed of a wrong answer is worth nothing; returns the answer's length."""
    first, second = (load(server.port, request, 1, 0.05)["bodies"][0] for server in started.values())
    if not is_close(json.loads(first), json.loads(second)):
        raise RuntimeError(f"the two servers answer differently: {first[:300]} and {second[:300]}")
    return len(second)


def is_close(one: Any, other: Any) -> bool:
    """The same, but for probabilities, which may differ by a millionth."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


def list_tree(pid: int) -> Sequence[psutil.Process]:
    """A process and all it started."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def measure_cpu_s(pid: int) -> float:
    """Processor seconds of a whole tree so far."""
    return sum(process.cpu_times().user + process.cpu_times().system for process in list_tree(pid))


def say(text: str) -> None:
    """Tells what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
