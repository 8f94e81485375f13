"""What the prediction log costs: the same server without and with it, in turns; and what kills take from it.

Two models: the flights of `examples/flights` and a logistic regression on ten numbers; the log is a folder on
this machine's disk. Prints medians over rounds in turns, ratios, what was lost, and the memory of every
process over MILLION predictions of one row; then kills KILLS processes at random, and looks what is missing.
Takes ten minutes; SECONDS=0.5 ROUNDS=2 MILLION=50000 KILLS=4 for a quick look.
"""

import http.client
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bench_serving import (
    BIN,
    ROUNDS,
    Round,
    Started,
    fetch,
    list_tree,
    load,
    make_models,
    measure_cpu_s,
    median,
    run,
    say,
    write_request,
)
from registry import read_predictions
from registry.server import start_server

CASES: Final = ((1, 16), (1, 1), (100, 16))
MODELS: Final = ("linear", "flight-delay")
MILLION: Final = int(os.environ.get("MILLION", "1000000"))
KILLS: Final = int(os.environ.get("KILLS", "50"))
ROUND_S: Final = float(os.environ.get("SECONDS", "4"))
SETTLE_S: Final = 1.5
FLUSH_S: Final = 2.0
NOTICE_S: Final = 0.5
"""After a kill: what is handed to a process that has just died goes with it."""
WITHOUT, WITH, KILLED = "without log", "with log", "killed"
STEPS: Final = 5


def main() -> int:
    """Runs everything."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch:
        folder = Path(scratch)
        database = f"sqlite:///{folder / 'mlflow.db'}"
        with start_server(backend_store_uri=database, folder=folder, log=folder / "server.log") as server:
            os.environ["MLFLOW_TRACKING_URI"] = server.uri
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
            tables = make_models(folder)
            for name in MODELS:
                compare(name, tables[name], folder)
            watch_memory(MODELS[0], tables[MODELS[0]], folder)
            kill_at_random(MODELS[0], tables[MODELS[0]], folder)
    return 0


def compare(name: str, table: Mapping[str, Any], folder: Path) -> None:
    """All cases of one model."""
    say(f"{name}: starting the servers ...")
    with ExitStack() as stack:
        servers = {key: stack.enter_context(start(name, folder, key)) for key in (WITHOUT, WITH)}
        print(f"\n{name}, medians of {ROUNDS} rounds of {ROUND_S} s, in turns")
        print(
            f"{'rows':>5} {'conn.':>5}  {'server':<12}",
            *(f"{text:>9}" for text in ("req/s", "p50 ms", "p99 ms", "CPU µs")),
        )
        for rows, connections in CASES:
            show(rows, connections, alternate(servers, write_request(table, rows), connections))
        print(f"{'':>13}{tell_log(servers[WITH])}")


def alternate(
    servers: Mapping[str, Started], request: bytes, connections: int
) -> Mapping[str, Sequence[Round]]:
    """Rounds in turns, each in the other order; the first of each only warms up."""
    rounds: dict[str, list[Round]] = {key: [] for key in servers}
    for number in range(ROUNDS + 1):
        for key in sorted(servers, reverse=number % 2 == 0):
            measured = measure_whole(servers[key], request, connections)
            if number:
                rounds[key].append(measured)
    return rounds


def measure_whole(server: Started, request: bytes, connections: int) -> Round:
    """One round; what it leaves to be written is written, and counted, before the next one begins."""
    before_s = measure_cpu_s(server.pid)
    found = load(server.port, request, connections, ROUND_S)
    time.sleep(SETTLE_S)
    cpu_s = measure_cpu_s(server.pid) - before_s
    if found["failures"]:
        raise RuntimeError(f"{found['failures']} requests failed: {found['bodies']}")
    rate = found["requests"] / found["seconds"]
    cpu_us = cpu_s / found["requests"] * 1e6
    return Round(rate, found["p50_ms"], found["p99_ms"], cpu_us, found["busy"])


def show(rows: int, connections: int, results: Mapping[str, Sequence[Round]]) -> None:
    """One line per server; the ratio is the median over rounds that follow each other."""
    for key, rounds in results.items():
        values = [median(rounds, figure) for figure in ("requests_per_s", "p50_ms", "p99_ms", "cpu_us")]
        print(f"{rows:>5} {connections:>5}  {key:<12}", *(f"{value:>9.3f}" for value in values))
    pairs = list(zip(results[WITH], results[WITHOUT], strict=True))
    ratio = statistics.median(one.requests_per_s / other.requests_per_s for one, other in pairs)
    more_ms = statistics.median(one.p50_ms - other.p50_ms for one, other in pairs)
    print(f"{'':>13}throughput with log {ratio:.3f} × without, p50 {more_ms:+.3f} ms")


def watch_memory(name: str, table: Mapping[str, Any], folder: Path) -> None:
    """A million predictions of one row, and what every process holds meanwhile."""
    request = write_request(table, 1)
    with start(name, folder, WITH) as server:
        load(server.port, request, 16, 5.0)
        print(f"\n{name}, with log: memory over {MILLION:,} predictions of one row")
        total, sizes = 0, [tell_memory(server)]
        while total < MILLION:
            total += load(server.port, request, 16, 2.0)["requests"]
            if total >= MILLION * len(sizes) / STEPS:
                sizes.append(tell_memory(server))
        for number, size in enumerate(sizes):
            parts = ", ".join(f"{what} {mb:.0f}" for what, mb in size)
            print(f"{number / STEPS:>13.0%}  {sum(mb for _, mb in size):>6.0f} MB: {parts}")
        time.sleep(6.0)
        print(f"{'':>13}{tell_log(server)}")


def kill_at_random(name: str, table: Mapping[str, Any], folder: Path) -> None:
    """Kills a worker or the log's process again and again; what was answered and is not logged was young."""
    with start(name, folder, KILLED, "--log-flush-seconds", str(FLUSH_S)) as server:
        answered: dict[str, float] = {}
        stopping = threading.Event()
        body = json.dumps({"dataframe_split": {"columns": table["columns"], "data": table["data"][:1]}})
        callers = [
            threading.Thread(target=call, args=(server.port, body, answered, stopping, number))
            for number in range(2)
        ]
        for caller in callers:
            caller.start()
        kills = []
        for number in range(KILLS):
            time.sleep(random.uniform(2, 4))  # noqa: S311 - when to kill
            kind = ("worker", "clerk")[number % 2]
            victim = next(one for one in list_tree(server.pid) if name_process(one.cmdline()) == kind)
            kills.append(time.monotonic())
            victim.kill()
        time.sleep(1.0)
        stopping.set()
        for caller in callers:
            caller.join()
    logged = set(read_predictions(str(folder / f"{name} {KILLED}" / "log"), name).meta["id"])
    lost = [at for one, at in answered.items() if one not in logged]
    ages = [tell_age_s(at, kills) for at in lost]
    oldest_s = max(ages, default=0.0)
    print(f"\n{name}: {KILLS} processes killed at random, workers and the log's in turns")
    print(f"{'':>13}{len(answered):,} requests answered, {len(lost):,} of them not in the log,", end=" ")
    print(f"the oldest {oldest_s:.2f} s before a kill (flush interval {FLUSH_S} s); every file can be read")
    if oldest_s > FLUSH_S:
        raise RuntimeError("more was lost than the flush interval")


def tell_age_s(at_s: float, kills: Sequence[float]) -> float:
    """How old an answer was at the kill that took it: the next one, or one that nobody had noticed yet."""
    if any(0 <= at_s - kill < NOTICE_S for kill in kills):
        return 0.0
    return min((kill - at_s for kill in kills if kill >= at_s), default=math.inf)


def call(port: int, body: str, answered: dict[str, float], stopping: threading.Event, number: int) -> None:
    """Asks again and again, and notes what was answered, and when."""
    ids = (f"{number}-{count}" for count in itertools.count())
    while not stopping.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with suppress(OSError, http.client.HTTPException):
            while not stopping.is_set():
                one = next(ids)
                connection.request(
                    "POST", "/invocations", body, {"content-type": "application/json", "x-request-id": one}
                )
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    answered[one] = time.monotonic()
        connection.close()


def tell_memory(server: Started) -> Sequence[tuple[str, float]]:
    """Resident memory of each process, in MB."""
    tree = list_tree(server.pid)
    return [(name_process(process.cmdline()), process.memory_info().rss / 2**20) for process in tree]


def name_process(command: Sequence[str]) -> str:
    """What a process is, by how it was started."""
    modules = [word for word in command if word.startswith("serving.")]
    return modules[0].rpartition(".")[2] if modules else "supervisor"


def tell_log(server: Started) -> str:
    """What the server says of its log."""
    found = json.loads(fetch(server.port, "/info"))["prediction_log"]
    return f"logged {found['logged']:,} requests, lost {found['lost'] or 'none'}"


def start(name: str, folder: Path, which: str, *options: str) -> Any:
    """``serve-model`` with its defaults, and with a log."""
    home = folder / f"{name} {which}"
    home.mkdir(exist_ok=True)
    log = [] if which == WITHOUT else ["--log-predictions", home / "log"]
    if which == WITH:
        log += ["--log-flush-seconds", "1"]  # most of a round is written within it
    environment = {"GREENROOM_CACHE_DIR": str(folder / "cache")}
    return run([BIN / "serve-model", name, *log, *options, "--port"], environment, home)


if __name__ == "__main__":
    sys.exit(main())
