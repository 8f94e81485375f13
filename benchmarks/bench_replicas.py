"""Eight scoring servers that share nothing but the registry: promotions under load, and what following costs.

Every replica is a host of its own (a network namespace with its own address); the tracking server is another,
and those who ask and promote a third. Production moves 50 times by real promotions; in the second half one
replica is cut off from the registry, serves on, and catches up. Then: what one follower costs the tracking
server, how many looks a second the server can answer, and what follows from both for 1,000 replicas.

Needs Linux, root (or CAP_NET_ADMIN), and the program ip. Takes about six minutes; PROMOTIONS=6 for a quick
look. Fails if a request failed, or a replica was not current in time.
"""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from registry import PromotionRequest, adopt, open_ledger, promote

PROMOTIONS: Final = int(os.environ.get("PROMOTIONS", "50"))
REPLICAS: Final = 8
LIMIT_S: Final = 1.5
THINK_S: Final = 0.05
MODEL: Final = "linear"
NET: Final = "10.77.0"
HUB, REGISTRY, FIRST = 1, 2, 11
PORT: Final = 8080
ANY: Final = "0.0.0.0"  # noqa: S104 - of a namespace that nobody else is in
BIN: Final = Path(sys.executable).parent
INSIDE: Final = "--inside"


@dataclass(frozen=True)
class Host:
    """A network namespace with an address."""

    name: str
    address: str

    def run(self, *command: Any) -> list[str]:
        """The command, to be run on this host."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]


@dataclass
class Client:
    """Asks one replica steadily, one connection a request, as a load balancer without keep-alive would."""

    address: str
    body: bytes
    stopping: threading.Event
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Until told to stop."""
        while not self.stopping.is_set():
            try:
                reply, _ = ask(self.address, "POST", "/invocations", self.body)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            self.answers += 1
            self.versions.add(reply.headers["x-model-version"])
            if reply.status != 200:
                self.failures.append(str(reply.status))
            time.sleep(THINK_S)


def main() -> int:
    """Makes the hosts, and runs everything on one of them."""
    if INSIDE in sys.argv:
        return run(Path(sys.argv[-1]))
    if os.geteuid() != 0 or shutil.which("ip") is None:
        say("Left out: network namespaces need root and the program ip (iproute2).")
        return 0
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch, hosts() as made:
        return subprocess.run(
            made[HUB].run(sys.executable, __file__, INSIDE, made[HUB].name.rpartition("-")[0], scratch),
            check=False,
        ).returncode


def name_hosts(prefix: str) -> dict[int, Host]:
    """By the last number of their address."""
    numbers = [HUB, REGISTRY, *range(FIRST, FIRST + REPLICAS)]
    return {number: Host(f"{prefix}-{number}", f"{NET}.{number}") for number in numbers}


@contextmanager
def hosts() -> Iterator[dict[int, Host]]:
    """The namespaces, on one bridge that is in the hub's; nothing outside of them is touched."""
    made = name_hosts(f"greenroom{os.getpid()}")
    hub = made[HUB].name
    with ExitStack() as stack:
        for host in made.values():
            ip("netns", "add", host.name)
            stack.callback(ip, "netns", "delete", host.name)
            ip("-n", host.name, "link", "set", "lo", "up")
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "address", "add", f"{made[HUB].address}/24", "dev", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for number, host in made.items():
            if number != HUB:
                port = f"port{number}"
                ip("-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
                ip("-n", hub, "link", "set", port, "master", "bridge", "up")
                ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
                ip("-n", host.name, "link", "set", "eth0", "up")
        yield made


def ip(*arguments: str) -> None:
    """Runs the program ip."""
    subprocess.run(["ip", *arguments], check=True)


def run(folder: Path) -> int:
    """On the hub: trains, serves, promotes, tells."""
    made = name_hosts(sys.argv[-2])
    replicas = [made[FIRST + number] for number in range(REPLICAS)]
    with tracking_server(made[REGISTRY], folder) as server:
        os.environ["MLFLOW_TRACKING_URI"] = f"http://{made[REGISTRY].address}:5000"
        body = train()
        ledger = open_ledger(MODEL)
        adopt(ledger)
        for version in ("1", "2"):
            promote_version(ledger, version, ())
        with ExitStack() as stack:
            for number, host in enumerate(replicas):
                stack.enter_context(serve(host, folder / f"replica-{number}"))
            for host in replicas:
                wait_for(host.address, "2", 120)
            clients, times, caught_up_s = promote_all(ledger, replicas, body, made[REGISTRY])
            polls = measure_polling(server, made[REGISTRY].address, replicas)
    return tell(clients, times, caught_up_s, polls)


@contextmanager
def tracking_server(host: Host, folder: Path) -> Iterator[psutil.Process]:
    """``greenroom server`` on its own host."""
    names = f"{host.address}:5000"
    command = host.run(
        BIN / "greenroom", "server", "--host", ANY, "--allowed-hosts", names, "--json"
    )  # fmt: skip
    with started(command, folder, "server.log") as process:
        yield psutil.Process(process.pid)


@contextmanager
def serve(host: Host, folder: Path) -> Iterator[None]:
    """``serve-model`` on a replica's host, with a cache of its own."""
    folder.mkdir()
    os.environ["GREENROOM_CACHE_DIR"] = str(folder / "cache")
    command = host.run(
        BIN / "serve-model", MODEL, "--host", ANY, "--port", PORT, "--workers", 1, "--json"
    )  # fmt: skip
    with started(command, folder, "serve-model.log"):
        yield


@contextmanager
def started(command: Sequence[str], folder: Path, log: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that prints one line when it is up."""
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=output)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError((folder / log).read_text()[-2000:])
        yield process
    finally:
        process.terminate()
        process.wait(60)


def train() -> bytes:
    """Two versions of a logistic regression, by plain MLflow; returns a request."""
    import mlflow  # noqa: PLC0415 - after the tracking server's address is known
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above

    say("Training two versions ...")
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(500, 10)), columns=[f"x{number}" for number in range(10)])
    truth = (table.sum(axis=1) + random.normal(0, 1, 500) > 0) * 1
    for strength in (1.0, 0.01):
        with warnings.catch_warnings(), mlflow.start_run():
            warnings.simplefilter("ignore")
            mlflow.sklearn.log_model(
                LogisticRegression(C=strength).fit(table, truth),
                name="model",
                input_example=table.head(2),
                pip_requirements=["scikit-learn"],
                registered_model_name=MODEL,
            )
    return json.dumps({"dataframe_split": {"columns": list(table), "data": [[0.1] * 10]}}).encode()


def promote_version(ledger: Any, version: str, replicas: Sequence[Host]) -> None:
    """To staging, and on once the replicas have prepared it; whatever its quality: it is about following."""
    for stage in ("staging", "production"):
        request = PromotionRequest(MODEL, stage, version=version, override="benchmark of replicas")
        outcome = promote(ledger, request)
        if not outcome.moved:
            raise RuntimeError(f"version {version} was not promoted to {stage}: {outcome.gates}")
        if stage == "staging":
            for host in replicas:
                wait_for(host.address, version, 120, key="staged")


def promote_all(
    ledger: Any, replicas: Sequence[Host], body: bytes, registry: Host
) -> tuple[list[Client], list[float], float]:
    """All promotions under load; the last replica is cut off for a while in the second half."""
    stopping = threading.Event()
    clients = [Client(host.address, body, stopping) for host in replicas]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    times: list[float] = []
    caught_up_s, current = 0.0, "2"
    cut = PROMOTIONS // 2
    mend = cut + PROMOTIONS // 10 // 2 * 2 + 1  # an odd number: what it missed is another version
    lost = replicas[-1]
    try:
        for number in range(PROMOTIONS):
            if number == cut:
                ip("-n", registry.name, "route", "add", "blackhole", f"{lost.address}/32")
            if number == mend:
                check_degraded(lost.address)
                ip("-n", registry.name, "route", "delete", "blackhole", f"{lost.address}/32")
                caught_up_s = wait_for(lost.address, current, 90)
            current = "1" if number % 2 == 0 else "2"
            with ThreadPoolExecutor(REPLICAS) as pool:
                asked = replicas[:-1] if cut <= number < mend else replicas
                waiting = [pool.submit(watch, host.address, current) for host in asked]
                promote_version(ledger, current, asked)
                times.append(max(one.result() for one in waiting))
            if number % 10 == 9:
                say(f"{number + 1} of {PROMOTIONS} promotions")
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    return clients, times, caught_up_s


def watch(address: str, version: str) -> float:
    """Seconds from the entry in the history until a replica said that it serves the version."""
    until_s = time.monotonic() + 180
    while time.monotonic() < until_s:
        document = ask(address, "GET", "/info")[1]
        if document["version"] == version:
            return time.time() - datetime.fromisoformat(document["since"]).timestamp()
        time.sleep(0.02)
    raise RuntimeError(f"{address} never served version {version}")


def wait_for(address: str, version: str, timeout_s: float, *, key: str = "version") -> float:
    """Seconds until a replica serves a version; it may not be up yet."""
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < timeout_s:
        try:
            if ask(address, "GET", "/info")[1][key] == version:
                return time.perf_counter() - began_s
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{address} never served version {version}")


def check_degraded(address: str) -> None:
    """Who is cut off says so."""
    began_s = time.monotonic()
    while not (document := ask(address, "GET", "/info")[1])["degraded"]:
        if time.monotonic() - began_s > 30:
            raise RuntimeError(f"{address} is cut off and does not say so: {document}")
        time.sleep(0.2)


def ask(
    address: str, method: str, path: str, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, Any]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(address, PORT, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        reply = connection.getresponse()
        return reply, json.loads(reply.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Polls:
    """What following costs the tracking server."""

    cpu_ms: float
    """Processor time of one look."""
    per_s: float
    """Looks of eight idle followers in a second."""
    capacity: float
    """Looks a second that the server answers at most."""


def measure_polling(server: psutil.Process, address: str, replicas: Sequence[Host]) -> Polls:
    """The server's processor time while only the followers ask; then as many looks as it can answer."""
    say("Measuring what following costs ...")
    seconds = 20.0
    before_s = measure_cpu_s(server)
    time.sleep(seconds)
    idle_s = measure_cpu_s(server) - before_s
    looks = len(replicas) * seconds / 0.5
    answered = 0
    lock = threading.Lock()
    until_s = time.perf_counter() + 8

    def look() -> None:
        nonlocal answered
        connection = http.client.HTTPConnection(address, 5000, timeout=30)
        while time.perf_counter() < until_s:
            connection.request("GET", f"/api/2.0/mlflow/registered-models/get?name={MODEL}")
            reply = connection.getresponse()
            reply.read()
            if reply.status == 200:
                with lock:
                    answered += 1

    threads = [threading.Thread(target=look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Polls(idle_s / looks * 1000, looks / seconds, answered / 8)


def measure_cpu_s(server: psutil.Process) -> float:
    """Of its whole tree."""
    tree = [server, *server.children(recursive=True)]
    return sum(one.cpu_times().user + one.cpu_times().system for one in tree)


def tell(clients: Sequence[Client], times: Sequence[float], caught_up_s: float, polls: Polls) -> int:
    """Prints what came of it; 1 if something was not as promised."""
    failures = [failure for client in clients for failure in client.failures]
    answers = sum(client.answers for client in clients)
    late = sum(one > LIMIT_S for one in times)
    print(
        f"\n{len(times)} promotions, {REPLICAS} replicas, {answers} answers, {len(failures)} failed requests"
    )
    print(
        f"entry written → last replica current: median {statistics.median(times) * 1000:.0f} ms, "
        f"longest {max(times) * 1000:.0f} ms, {late} later than {LIMIT_S} s"
    )
    print(
        f"one cut off from the registry served on, said degraded, and was current {caught_up_s:.1f} s after "
        "the network was mended"
    )
    wanted = 1000 / 0.5
    print(
        f"a look costs the tracking server {polls.cpu_ms:.1f} ms of processor time; it answers at most "
        f"{polls.capacity:.0f} looks/s\n"
        f"1,000 replicas at the default interval of 0.5 s look {wanted:.0f} times a second: "
        f"{wanted / polls.capacity:.1f} × what this server answers; within half of it they may look every "
        f"{1000 / (polls.capacity / 2):.0f} s"
    )
    return int(bool(failures or late))


def say(text: str) -> None:
    """Tells what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
