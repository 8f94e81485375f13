"""A real HTTP server with a plan that echoes: what the fast lane takes, and what it leaves."""

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
import uvicorn

from serving.app import OnStage, ScoringApp
from serving.batching import CompiledVersion
from serving.connection import FastConnection
from serving.counting import Counts
from serving.lane import FastLane
from serving.live import PreparedModel, ServedModel, State
from serving.scorer import Scored
from serving.settings import ServeSettings
from serving.target import Target
from serving.tokens import Gate


@dataclass(frozen=True)
class Rows:
    body: bytes
    rows: int
    violations: Sequence[Any] = ()
    output: str = ""
    sent: None = None


class EchoPlan:
    """Says its name and what it read; leaves everything that begins with ``?`` to others."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.sizes: list[int] = []

    def parse(self, body: bytes, content_type: str | None) -> Rows | None:
        del content_type
        return None if body.startswith(b"?") else Rows(body, max(1, body.count(b",")))

    def run(self, batches: Sequence[Rows]) -> list[bytes]:
        self.sizes.append(len(batches))
        if any(batch.body == b"break" for batch in batches):
            raise RuntimeError("the caller's secret row")
        return [self.name + b":" + batch.body for batch in batches]


class Others:
    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        del content_type, request_id
        return Scored(b"native:" + body, "text/plain")


@dataclass
class Worker:
    """One server in a thread."""

    counts: Counts = field(default_factory=Counts)
    stage: OnStage = field(default_factory=OnStage)
    port: int = 0
    server: uvicorn.Server | None = None

    def show(self, name: str) -> EchoPlan:
        plan = EchoPlan(name)
        target = Target(name)
        model = PreparedModel(target, "aa", "", "plan", "because", warm=True, from_cache=False)
        scorer = CompiledVersion(plan, Others(), version=name, counts=self.counts, max_rows=50)
        self.stage.state = State(model=model)
        self.stage.served = ServedModel(model, scorer)
        return plan

    def send(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """Sends pieces on one connection, closes our half, and reads to the end."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            answer = b""
            while not is_whole(answer, b"".join(pieces).count(b"HTTP/1.")):
                more = connection.recv(1 << 16)
                if not more:
                    break
                answer += more
        return answer


def is_whole(answer: bytes, responses: int) -> bool:
    """Whether that many whole responses have come."""
    for _ in range(responses):
        head, end, rest = answer.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        if not end or not found or len(rest) < int(found[1]):
            return False
        answer = rest[int(found[1]) :]
    return True


def write(body: bytes, *headers: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"host: x", b"content-length: %d" % len(body), *headers))
    return method + b" /invocations HTTP/" + version + b"\r\n" + lines + b"\r\n" + body


def list_bodies(answer: bytes) -> list[bytes]:
    return re.findall(rb"\r\n\r\n(.*?)(?=HTTP/1\.1|$)", answer, re.DOTALL)


@contextmanager
def running(**limits: Any) -> Iterator[Worker]:
    worker = Worker()
    settings = ServeSettings(model="m", **limits)
    gate = Gate(settings.token_file)

    async def collect() -> bytes:
        return b""

    app = ScoringApp(
        settings, stage=worker.stage, counts=worker.counts, collect=collect, gate=gate, mlflow_version="3"
    )

    class Http(FastConnection):
        def __init__(self, **options: Any) -> None:
            options.pop("_loop", None)
            super().__init__(lanes[0], **options)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            lanes.append(FastLane(worker.stage, worker.counts, gate, app.choose_request_id))
            await super().startup(sockets)

    lanes: list[FastLane] = []
    worker.server = Server(uvicorn.Config(app, http=Http, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker.port = listener.getsockname()[1]
        thread = threading.Thread(target=worker.server.run, args=([listener],))
        thread.start()
        try:
            yield worker
        finally:
            worker.server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    with running(timeout_s=0.5, max_body_bytes=1_000_000) as worker:
        yield worker


@pytest.fixture
def worker(shared: Worker) -> Worker:
    shared.show("1")
    return shared


def test_a_whole_request_gets_the_plans_answer_with_version_and_request_id(worker: Worker) -> None:
    answer = worker.send(write(b"a,b", b"x-request-id: call-7"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n1:a,b")
    for header in (b"x-request-id: call-7", b"x-model-version: 1", b"content-type: application/json"):
        assert b"\r\n" + header + b"\r\n" in answer


def test_the_first_of_two_headers_of_one_name_counts(worker: Worker) -> None:
    answer = worker.send(write(b"a", b"x-request-id: first", b"x-request-id: second"))
    assert b"\r\nx-request-id: first\r\n" in answer


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_a_body_in_any_number_of_pieces_is_answered_the_same(worker: Worker, size: int) -> None:
    request = write(b"x" * size)
    cut = len(request) // 2
    expected = b"1:" + b"x" * size
    assert list_bodies(worker.send(request)) == [expected]
    assert list_bodies(worker.send(request[:20], request[20:cut], request[cut:], pause_s=0.05)) == [expected]


def test_what_the_plan_does_not_read_is_answered_by_others(worker: Worker) -> None:
    answer = worker.send(write(b"?"), write(b"a"))
    assert list_bodies(answer) == [b"native:?", b"1:a"]


def test_pipelined_requests_are_answered_in_order_whoever_answers_them(worker: Worker) -> None:
    bodies = [b"a", b"b", b"?c", b"d", b"?e", b"?f", b"g" * 300_000, b"h"]
    answers = [b"native:" + body if body.startswith(b"?") else b"1:" + body for body in bodies]
    assert list_bodies(worker.send(b"".join(map(write, bodies)))) == answers


@pytest.mark.parametrize("ending", [b"connection: close", b"expect: 100-continue\r\nconnection: close"])
def test_special_requests_are_answered_too(worker: Worker, ending: bytes) -> None:
    assert worker.send(write(b"a", ending)).endswith(b"1:a")


def test_http_1_0_is_answered_and_closed(worker: Worker) -> None:
    answer = worker.send(write(b"a", version=b"1.0"))
    assert answer.endswith(b"1:a")
    assert b"connection: close" in answer


def test_a_body_in_chunks_is_answered(worker: Worker) -> None:
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert list_bodies(worker.send(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")) == [b"1:abc"]


def test_nonsense_after_a_request_does_not_take_its_answer(worker: Worker) -> None:
    answer = worker.send(write(b"a") + b"\x00nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"1:aHTTP/1.1 400 Bad Request" in answer


def test_a_client_that_never_finishes_is_a_504(worker: Worker) -> None:
    assert worker.send(write(b"abcdef")[:-1], pause_s=0.0).startswith(b"HTTP/1.1 504 ")


def test_too_many_rows_are_a_413(worker: Worker) -> None:
    answer = worker.send(write(b"," * 51))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than 50 rows" in answer


def test_a_plan_that_fails_tells_the_caller_nothing(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    answer = worker.send(write(b"break", b"x-request-id: call-8"), write(b"a"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert answer.endswith(b"1:a")
    assert getattr(caplog.records[-1], "request_id", None) == "call-8"
    assert "secret" not in caplog.text


def test_every_answer_is_counted_once_and_nothing_stays_in_flight(worker: Worker) -> None:
    before = worker.counts.requests.total()
    worker.send(*(write(body) for body in (b"a", b"?", b"break", b"," * 60)))
    assert worker.counts.requests.total() == before + 4
    assert worker.counts.in_flight == 0


def test_requests_of_one_moment_share_a_call_and_get_their_own_answers(worker: Worker) -> None:
    plan = worker.show("1")
    connections = [socket.create_connection(("127.0.0.1", worker.port), 10) for _ in range(24)]
    try:
        for turn in range(20):
            for number, connection in enumerate(connections):
                connection.sendall(write(b"%d.%d" % (turn, number)))
            for number, connection in enumerate(connections):
                assert connection.recv(4096).endswith(b"1:%d.%d" % (turn, number))
    finally:
        for connection in connections:
            connection.close()
    assert sum(plan.sizes) == 480
    assert max(plan.sizes) > 1


def test_an_answer_names_the_version_that_gave_it_while_versions_change(worker: Worker) -> None:
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for name in ("1", "2"):
                worker.show(name)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        answer = worker.send(*(write(b"a") for _ in range(100)))
    finally:
        done.set()
        thread.join()
    named = re.findall(rb"x-model-version: (\d)", answer)
    assert len(named) == 100
    assert named == [body[:1] for body in list_bodies(answer)]


def test_without_the_token_nothing_is_answered_fast(tmp_path: Any) -> None:
    (tmp_path / "token").write_text("sesame")
    with running(token_file=str(tmp_path / "token")) as worker:
        plan = worker.show("1")
        assert worker.send(write(b"a")).startswith(b"HTTP/1.1 401 ")
        assert plan.sizes == []
        assert worker.send(write(b"a", b"authorization: Bearer sesame")).startswith(b"HTTP/1.1 200 ")
        (tmp_path / "token").write_text("open")
        time.sleep(1.1)
        assert worker.send(write(b"a", b"authorization: Bearer sesame")).startswith(b"HTTP/1.1 401 ")
        assert worker.send(write(b"a", b"authorization: Bearer open")).startswith(b"HTTP/1.1 200 ")


def test_an_idle_connection_is_closed_and_one_that_crawls_too(shared: Worker) -> None:
    assert shared.server is not None
    with (
        socket.create_connection(("127.0.0.1", shared.port), 10) as idle,
        socket.create_connection(("127.0.0.1", shared.port), 10) as crawling,
    ):
        crawling.sendall(b"POST /invo")
        time.sleep(0.1)
        for connection in list(shared.server.server_state.connections):
            assert isinstance(connection, FastConnection)
            connection.loop.call_soon_threadsafe(connection.close_if_idle, time.perf_counter(), 0.05)
        assert idle.recv(1) == b""
        assert crawling.recv(1) == b""


ENDLESS = [
    (b"POST /invocations HTTP/1.1\r\nhost: x\r\n", b"x-a: 1\r\n" * 8000),
    (b"POST /invocations HTTP/1.1\r\nhost: x\r\nx: ", b"a" * 65536),
    (b"GET /", b"a" * 65536),
    (
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        b"x-a: 1\r\n" * 8000,
    ),
    (b"POST /invocations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;", b"a" * 65536),
]


@pytest.mark.parametrize(("start", "piece"), ENDLESS)
def test_a_head_without_an_end_is_cut_off(worker: Worker, start: bytes, piece: bytes) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", worker.port), 10) as connection, suppress(OSError):
        connection.sendall(start)
        while sent < 50 << 20:
            connection.sendall(piece)
            sent += len(piece)
    assert sent < 16 << 20
    assert worker.send(write(b"a")).endswith(b":a")


def test_endless_head(worker: Worker) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000)
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b'"error_code":"BAD_REQUEST"' in answer


def test_who_asks_and_never_reads_is_not_read_from_for_ever(worker: Worker) -> None:
    before, sent, many = psutil.Process().memory_info().rss, 0, write(b"a") * 1000
    with socket.create_connection(("127.0.0.1", worker.port)) as connection:
        connection.settimeout(1)
        with suppress(OSError):
            while sent < 3000:
                connection.sendall(many)
                sent += 1
        assert psutil.Process().memory_info().rss - before < 60 << 20
        connection.settimeout(20)
        received = 0
        while received < 1_000_000:
            received += len(connection.recv(1 << 20))
    assert worker.send(write(b"a")).endswith(b":a")


def test_a_client_that_says_it_is_done_gets_all_its_answers(worker: Worker) -> None:
    requests = write(b"?x") + write(b"a") + write(b"?y") + write(b"b")
    with socket.create_connection(("127.0.0.1", worker.port), 10) as connection:
        connection.sendall(requests)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
    bodies = [body.rpartition(b":")[2] for body in list_bodies(answer)]
    assert bodies == [b"?x", b"a", b"?y", b"b"]
