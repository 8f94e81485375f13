"""What a promotion costs those who ask: swaps of the flights model under sustained load, two workers.

Production goes to and fro between two versions of `examples/flights` whose answers differ, by entries in the
history (rollbacks), while clients ask steadily. One in a hundred swaps is to a version that the server has
never seen, and prepares while the old one serves. Prints failed requests, answers that mix versions, the time
from the entry to the first new answer, latency in the swaps and between them, memory before and after. Takes
about ten minutes; SWAPS=20 for a quick look. Fails if a request failed, or an answer was another version's.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from registry import PromotionRequest, adopt, open_ledger, promote, rollback
from registry.server import find_free_port, start_server

SWAPS: Final = int(os.environ.get("SWAPS", "500"))
CLIENTS: Final = 4
THINK_S: Final = 0.004
"""Between two requests of a client: a thousand a second in all leave MLflow's server a processor."""
PAUSE_S: Final = 1.0
"""Between two swaps, in which the steady latency is measured."""
AROUND_S: Final = 0.5
"""Answers so close to a new version's first one are counted as those of a swap."""
COLD_EVERY: Final = 100
MODEL: Final = "flight-delay"
JOB: Final = Path(__file__).parents[1] / "examples" / "flights" / "job.toml"
BIN: Final = Path(sys.executable).parent


@dataclass
class Client:
    """Asks steadily on one connection, and notes every answer."""

    port: int
    body: bytes
    stopping: threading.Event
    times_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    answers: dict[str, set[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stopping.is_set():
            began_s = time.perf_counter()
            try:
                connection.request("POST", "/invocations", self.body, {"content-type": "application/json"})
                reply = connection.getresponse()
                text = reply.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            now_s = time.perf_counter()
            if reply.status != 200:
                self.failures.append(f"{reply.status} {text[:100]}")
                continue
            version = reply.headers["x-model-version"]
            self.times_s.append(now_s)
            self.latencies_s.append(now_s - began_s)
            self.versions.append(version)
            self.answers.setdefault(version, set()).add(text)
            time.sleep(THINK_S)


@dataclass(frozen=True)
class Swap:
    """One move: to which version, and when its entry was written by the entry's own time."""

    version: str
    written_s: float
    is_cold: bool


def main() -> int:
    """Runs everything; 1 if a request failed or an answer was mixed."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch:
        folder = Path(scratch)
        database = f"sqlite:///{folder / 'mlflow.db'}"
        with start_server(backend_store_uri=database, folder=folder, log=folder / "server.log") as server:
            os.environ["MLFLOW_TRACKING_URI"] = server.uri
            return run(folder)


def run(folder: Path) -> int:
    """Trains, serves, swaps, tells."""
    cold = max(1, SWAPS // COLD_EVERY) if SWAPS >= 10 else 0
    body = train(folder, 2 + cold)
    ledger = open_ledger(MODEL)
    adopt(ledger)
    promote_both(ledger)
    with serve(folder) as (port, process):
        stopping = threading.Event()
        clients = [Client(port, body, stopping) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        before_mb = measure_memory_mb(process)
        for thread in threads:
            thread.start()
        try:
            swaps = list(swap_all(ledger, port, [str(3 + number) for number in range(cold)]))
            time.sleep(PAUSE_S)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        after_mb = measure_memory_mb(process)
    return tell(clients, swaps, before_mb, after_mb)


def train(folder: Path, versions: int) -> bytes:
    """Versions of the flights model that answer differently; returns a request."""
    import mlflow  # noqa: PLC0415 - after the tracking server's address is known

    for number in range(versions):
        say(f"Training version {number + 1} of {versions} ...")
        options = ("--set", f"model.params.max_iter={150 - 10 * number}")
        subprocess.run(
            [BIN / "train-model", JOB, *options], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    path = mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1", dst_path=str(folder / "example"))
    table = json.loads((Path(path) / "serving_input_example.json").read_text())["dataframe_split"]
    return json.dumps({"dataframe_split": {**table, "data": table["data"][:1]}}).encode()


def promote_both(ledger: Any) -> None:
    """Both versions have been in production once; the second is."""
    for version in ("1", "2"):
        promote_version(ledger, version)


def promote_version(ledger: Any, version: str) -> None:
    """Staging, then production, whatever its quality: it is about the swap."""
    for stage in ("staging", "production"):
        request = PromotionRequest(MODEL, stage, version=version, override="benchmark of swaps")
        outcome = promote(ledger, request)
        if not outcome.moved:
            raise RuntimeError(f"version {version} was not promoted to {stage}: {outcome.gates}")


def swap_all(ledger: Any, port: int, cold: Sequence[str]) -> Iterator[Swap]:
    """All swaps, one after the other, each once the one before is seen."""
    unseen, current = list(cold), "1"
    rollback(ledger, to_version=current)
    wait_for(port, current)  # this server has not seen it before
    for number in range(SWAPS):
        is_cold = bool(unseen) and number % COLD_EVERY == min(SWAPS, COLD_EVERY) // 2
        if is_cold:
            current = unseen.pop(0)
            promote_version(ledger, current)  # staged for the moment that the next gate takes
        else:
            current = "1" if current != "1" else "2"
            rollback(ledger, to_version=current)
        yield Swap(current, wait_for(port, current), is_cold)
        time.sleep(PAUSE_S)
        if number % 50 == 49:
            say(f"{number + 1} of {SWAPS} swaps")


def wait_for(port: int, version: str) -> float:
    """Until the server says so itself; returns when the entry was written, in time.perf_counter's seconds."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/info")
        document = json.loads(connection.getresponse().read())
        connection.close()
        if document["version"] == version:
            ago_s = time.time() - datetime.fromisoformat(document["since"]).timestamp()
            return time.perf_counter() - ago_s
        time.sleep(0.01)
    raise RuntimeError(f"version {version} was never served: {document}")


@contextmanager
def serve(folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """``serve-model`` with two workers."""
    port = find_free_port()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GREENROOM_CACHE_DIR": str(folder / "cache")}
    command = [str(BIN / "serve-model"), MODEL, "--port", str(port), "--workers", "2", "--json"]
    with (folder / "serve-model.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stderr=log, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        say(f"Serving: {process.stdout.readline().decode().strip()}")
        yield port, process
    finally:
        process.terminate()
        process.wait(40)


def measure_memory_mb(process: "subprocess.Popen[bytes]") -> float:
    """Of supervisor and workers; what tries versions out comes and goes."""
    root = psutil.Process(process.pid)
    workers = [
        child for child in root.children() if any("serving.worker" in part for part in child.cmdline())
    ]
    return float(sum(one.memory_info().rss for one in [root, *workers]) / 2**20)


def tell(clients: Sequence[Client], swaps: Sequence[Swap], before_mb: float, after_mb: float) -> int:
    """Prints what came of it."""
    failures = [failure for client in clients for failure in client.failures]
    mixed = count_mixed(clients)
    answers = sum(len(client.times_s) for client in clients)
    print(f"\n{len(swaps)} swaps under {CLIENTS} clients, 2 workers, {answers} answers")
    print(f"failed requests {len(failures)}, answers of another version {mixed}", *failures[:3])
    warm = [find_delay_s(clients, swap) for swap in swaps if not swap.is_cold]
    show_times("entry written → first new answer, prepared", warm)
    cold = [find_delay_s(clients, swap) for swap in swaps if swap.is_cold]
    if cold:
        show_times("the same, staged only while it was judged", cold)
    during, steady = split_latencies(clients, swaps)
    ratio = percentile(during, 0.99) / percentile(steady, 0.99)
    print(f"latency p99 around a swap {percentile(during, 0.99) * 1000:.2f} ms, ", end="")
    print(f"otherwise {percentile(steady, 0.99) * 1000:.2f} ms ({ratio:.2f} ×)")
    print(f"memory of supervisor and workers {before_mb:.0f} MB before, {after_mb:.0f} MB after")
    return int(bool(failures or mixed))


def count_mixed(clients: Sequence[Client]) -> int:
    """Texts that two versions gave, and versions that gave two texts to the same question."""
    texts: dict[str, set[str]] = {}
    for client in clients:
        for version, answers in client.answers.items():
            texts.setdefault(version, set()).update(answers)
    several = sum(len(answers) - 1 for answers in texts.values())
    shared = sum(map(len, texts.values())) - len(set().union(*texts.values()))
    return several + shared


def find_delay_s(clients: Sequence[Client], swap: Swap) -> float:
    """From the entry to the first answer of its version, whoever got it."""
    firsts = []
    for client in clients:
        place = bisect_left(client.times_s, swap.written_s)
        while place < len(client.versions) and client.versions[place] != swap.version:
            place += 1
        if place < len(client.versions):
            firsts.append(client.times_s[place])
    return min(firsts) - swap.written_s


def split_latencies(clients: Sequence[Client], swaps: Sequence[Swap]) -> tuple[list[float], list[float]]:
    """Latencies within half a second of a new version's first answer, and all others."""
    edges = [swap.written_s + find_delay_s(clients, swap) for swap in swaps]
    during: list[float] = []
    steady: list[float] = []
    for client in clients:
        for now_s, latency_s in zip(client.times_s, client.latencies_s, strict=True):
            place = bisect_left(edges, now_s)
            near = [edge for edge in edges[max(0, place - 1) : place + 1] if abs(edge - now_s) < AROUND_S]
            (during if near else steady).append(latency_s)
    return during, steady


def show_times(title: str, values: Sequence[float]) -> None:
    """Median, p99 and the longest, in milliseconds."""
    print(f"{title}: {len(values)} times, median {statistics.median(values) * 1000:.0f} ms, ", end="")
    print(f"p99 {percentile(values, 0.99) * 1000:.0f} ms, longest {max(values) * 1000:.0f} ms")


def percentile(values: Sequence[float], part: float) -> float:
    """By rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def say(text: str) -> None:
    """Tells what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
