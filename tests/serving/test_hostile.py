"""Ten thousand requests that nobody should send: none breaks the server, and none comes back to others."""

import json
import logging
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.serving.hostile_bodies import KINDS, MARKER, make_bodies
from tests.serving.hostile_wires import GOOD, make_wires
from tests.serving.raw_http import connect, post, receive, send_in_a_row, talk
from tests.serving.scoring_servers import (
    Reply,
    ServeModel,
    copy_template,
    log_version,
    serve_model,
    set_alias,
    wait_until,
)

pytestmark = pytest.mark.xdist_group("serving_hostile")

BODIES: Final = 9000
WIRES: Final = 1500
TOGETHER: Final = 25
CLIENTS: Final = 6
GROWTH: Final = 40 * 2**20
"""Memory of the whole tree may differ by this much: allocators keep what they had."""
TIMEOUT_S: Final = 3


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A server with a compiled model that has been warmed up, natively too."""

    server: ServeModel
    answer: bytes
    processes: Mapping[int, str]

    @property
    def port(self) -> int:
        return self.server.port

    def is_unhurt(self) -> bool:
        """Whether every process is the one it was, and a good request gets its answer."""
        (reply,) = send_in_a_row(self.port, [post(GOOD)])
        return (reply.status, reply.body) == (200, self.answer) and list_processes(
            self.server
        ) == self.processes


def list_processes(server: ServeModel) -> Mapping[int, str]:
    """Workers and the native process; the workshop between them comes and goes."""
    root = psutil.Process(server.process.pid)
    return {
        child.pid: " ".join(child.cmdline()[:4])
        for child in root.children(recursive=True)
        if "serving.worker" in child.cmdline() or child.ppid() != root.pid
    }


def measure(server: ServeModel) -> int:
    """Memory of the whole tree, in bytes; pages that processes share count once."""
    root = psutil.Process(server.process.pid)
    return sum(process.memory_full_info().pss for process in [root, *root.children(recursive=True)])


@pytest.fixture(scope="module")
def target(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    folder = tmp_path_factory.mktemp("hostile")
    uri = copy_template(sqlite_template, folder)
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "x", "y"], "n": [1, 2, 3, 4]})
    encode = ColumnTransformer(
        [("b", OneHotEncoder(handle_unknown="ignore"), ["b"])], remainder="passthrough"
    )
    model = make_pipeline(encode, LinearRegression()).fit(table, [1.5, 4.25, 7.0, 8.125])
    set_alias(uri, "hostile", log_version(uri, "hostile", model, table.head(2)))
    options = ("--workers", "1", "--timeout-s", str(TIMEOUT_S), "--max-body-mb", "1")
    with serve_model("hostile", uri, folder, *options) as server:
        assert server.info()["engine"] == "compiled"
        answers = set()

        def is_native_up() -> bool:
            reply, slow = send_in_a_row(server.port, [post(GOOD), post(b"a,b,n\n1.0,x,1\n", "text/csv")])
            answers.add(reply.body)
            return slow.status == 200

        wait_until(is_native_up)
        (answer,) = answers
        yield Target(server, answer, list_processes(server))


@pytest.fixture(scope="module", autouse=True)
def log_stays_clean(target: Target) -> Iterator[None]:
    """Whatever the tests of this module sent, the log holds none of it, and nothing unforeseen."""
    yield
    log = target.server.read_log()
    assert MARKER not in log
    assert "A request failed" not in log
    assert "Traceback" not in log
    assert target.is_unhurt()


def check(replies: Sequence[Reply]) -> None:
    """No failure of the server's, no stack, none of what was sent."""
    for reply in replies:
        assert reply.status < 500 or reply.status in {503, 504}, reply
        assert MARKER.encode() not in reply.body, reply
        assert b"Traceback" not in reply.body
        assert MARKER not in str(reply.headers)
        if reply.status >= 400 and reply.headers["content-type"] == "application/json":
            assert set(json.loads(reply.body)) == {"error_code", "message"}


def _report(count: int, begun: float, before: int, after: int, statuses: Mapping[str, Counter[int]]) -> None:
    seconds, mib = time.monotonic() - begun, 2**20
    _log.info("%d in %.1f s, %.1f to %.1f MiB: %s", count, seconds, before / mib, after / mib, dict(statuses))


def test_nine_thousand_hostile_bodies_are_answered_in_their_order(target: Target) -> None:
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    bodies = list(make_bodies(BODIES))
    good = post(GOOD)
    begun = time.monotonic()

    def ask(place: int) -> None:
        """Between hostile bodies there is a good one, and its answer must be its own."""
        some = bodies[place : place + TOGETHER]
        replies = send_in_a_row(target.port, [*(post(body, kind) for _, kind, body in some), good])
        check(replies)
        assert (replies[-1].status, replies[-1].body) == (200, target.answer)
        for (name, _, _), reply in zip(some, replies, strict=False):
            statuses[name][reply.status] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        places = range(0, BODIES, TOGETHER)
        warm = len(places) // 3
        list(pool.map(ask, places[:warm]))
        before = measure(target.server)
        list(pool.map(ask, places[warm:]))
    after = measure(target.server)
    _report(BODIES, begun, before, after, statuses)
    assert target.is_unhurt()
    assert after - before < GROWTH
    assert statuses.keys() == KINDS.keys()
    assert sum(counts[200] for counts in statuses.values()) < BODIES / 3


def test_connections_that_no_client_opens_leave_the_others_alone(target: Target) -> None:
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    begun = time.monotonic()

    def ask(wire: tuple[str, bytes]) -> None:
        kind, sent = wire
        replies = talk(target.port, sent, is_all=b"connection: close" not in sent)
        check(replies)
        statuses[kind].update([reply.status for reply in replies] or [0])
        if kind == "after":
            assert (replies[0].status, replies[0].body) == (200, target.answer)
        if kind == "ids" and replies[0].status == 200:
            assert replies[0].headers["x-request-id"].isalnum()

    before = measure(target.server)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, make_wires(WIRES)))
    after = measure(target.server)
    _report(WIRES, begun, before, after, statuses)
    assert target.is_unhurt()
    assert after - before < GROWTH
    assert min(statuses["ids"][200], statuses["floods"][400]) > WIRES / 20


def test_bodies_that_never_end_are_given_up_and_those_behind_them_are_answered(target: Target) -> None:
    """Slow ones get 504 on time, however many; in the meantime others are answered."""
    begun = time.monotonic()
    slow = post(GOOD)[:-9]
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(target.port)) for _ in range(100)]
        for connection in waiting:
            connection.sendall(slow)
        assert send_in_a_row(target.port, [post(GOOD)])[0].body == target.answer
        assert time.monotonic() - begun < TIMEOUT_S
        for connection in waiting:
            reply = receive(connection)
            check([reply])
            assert reply.status == 504
    assert target.is_unhurt()


def test_clients_that_reset_their_connections_harm_nobody(target: Target) -> None:
    for cut in range(0, 300, 3):
        with connect(target.port) as connection:
            kind = "text/csv" if cut % 2 else "application/json"
            connection.sendall(post(GOOD, kind)[: cut + 20])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert target.is_unhurt()


def test_a_body_above_the_limit_is_refused_before_it_has_been_sent(target: Target) -> None:
    with connect(target.port) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n")
        connection.sendall(b"expect: 100-continue\r\n\r\n")
        assert receive(connection).status == 413
    assert target.is_unhurt()
