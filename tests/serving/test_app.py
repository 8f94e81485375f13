import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from serving.app import OnStage, ScoringApp
from serving.counting import Counts
from serving.errors import ModelRefusedError
from serving.inference import Inference
from serving.live import Following, PreparedModel, ServedModel, State
from serving.scorer import JSON, Scored
from serving.settings import ServeSettings
from serving.target import Target
from serving.telemetry import Telemetry
from serving.tokens import Gate


@dataclass
class Echo:
    """A scorer that gives back what it gets, and misbehaves on request."""

    name: str = "1"
    go: threading.Event = field(default_factory=threading.Event)

    def score(self, body: bytes, content_type: str | None) -> Scored:
        if body == b"wait":
            self.go.wait(10)
        if body == b"refuse":
            raise ModelRefusedError("No.", error_code="BAD_REQUEST")
        if body == b"break":
            raise RuntimeError("the caller's secret row")
        return Scored(json.dumps([self.name, len(body), content_type]).encode(), JSON)


@dataclass
class Asked:
    """The echo as a worker asks it: with MLflow's limits, which the native process keeps."""

    echo: Echo
    inference: Inference

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        del request_id
        return await self.inference.score(self.echo, body, content_type)


def describe(name: str) -> PreparedModel:
    return PreparedModel(
        target=Target(name, seq=int(name), since="2026-01-01T00:00:00.000Z", run_id="r"),
        manifest="aa",
        artifact="",
        plan=None,
        reason="because",
        warm=True,
        from_cache=False,
    )


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A real HTTP server around the application."""

    port: int
    stage: OnStage
    inference: Inference

    def show(self, echo: Echo) -> None:
        model = describe(echo.name)
        self.stage.state = State(model=model)
        self.stage.served = ServedModel(model, Asked(echo, self.inference))

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@contextmanager
def running(**limits: Any) -> Iterator[Running]:
    settings = ServeSettings(model="m", **limits)
    stage, counts = OnStage(), Counts()

    async def collect() -> bytes:
        telemetry = Telemetry("m")
        telemetry.note("worker", counts.dump(0))
        return telemetry.render()

    inference = Inference(
        threads=settings.threads, max_waiting=settings.max_waiting, timeout_s=settings.timeout_s
    )
    app = ScoringApp(
        settings,
        stage=stage,
        counts=counts,
        collect=collect,
        gate=Gate(settings.token_file),
        mlflow_version="3.17.2",
    )
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Running(listener.getsockname()[1], stage, inference)
        finally:
            server.should_exit = True
            thread.join(10)
            inference.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[Running]:
    with running(max_body_bytes=1000, timeout_s=0.5, threads=1, max_waiting=1) as server:
        server.show(echo)
        yield server
        echo.go.set()


def test_a_prediction_is_answered_with_version_and_request_id(server: Running) -> None:
    reply = server.ask("POST", "/invocations", b"12345", {"content-type": "text/csv"})
    assert (reply.status, reply.document) == (200, ["1", 5, "text/csv"])
    assert reply.headers["x-model-version"] == "1"
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.headers["content-type"] == JSON


def test_a_sane_request_id_is_kept(server: Running) -> None:
    assert server.ask("GET", "/ping", None, {"x-request-id": "a1/b:2"}).headers["x-request-id"] == "a1/b:2"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "<script>", "é"])
def test_a_strange_request_id_is_replaced(server: Running, given: str) -> None:
    reply = server.ask("GET", "/ping", None, {"x-request-id": given})
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/ping", "/health", "/version", "/ready", "/info", "/metrics", "/nowhere"])
def test_every_answer_names_the_version(server: Running, path: str) -> None:
    assert server.ask("GET", path).headers["x-model-version"] == "1"


def test_ping_health_and_version_are_mlflows(server: Running) -> None:
    assert [server.ask("GET", path).body for path in ("/ping", "/health", "/version")] == [
        b"\n",
        b"\n",
        b"3.17.2",
    ]


def test_a_model_that_refuses_is_a_400_in_mlflows_shape(server: Running) -> None:
    reply = server.ask("POST", "/invocations", b"refuse")
    assert (reply.status, reply.document) == (400, {"error_code": "BAD_REQUEST", "message": "No."})


def test_an_unexpected_failure_tells_the_caller_nothing(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reply = server.ask("POST", "/invocations", b"break", {"x-request-id": "call-7"})
    assert (reply.status, reply.document["error_code"]) == (500, "INTERNAL_ERROR")
    assert b"secret" not in reply.body
    assert getattr(caplog.records[-1], "request_id", None) == "call-7"
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_a_body_that_is_too_large_is_refused_and_the_client_hears_it(server: Running) -> None:
    reply = server.ask("POST", "/invocations", b"x" * 5_000_000)
    assert (reply.status, reply.document["error_code"]) == (413, "BAD_REQUEST")
    assert "1000 bytes" in reply.document["message"]


def test_a_body_that_hides_its_size_is_refused_too(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
             b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n"
        )  # fmt: skip
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_first_is_refused_before_it_sends(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_the_largest_body_is_taken(server: Running) -> None:
    assert server.ask("POST", "/invocations", b"x" * 1000).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/invocations", 405, "POST"),
        ("PUT", "/invocations", 405, "POST"),
        ("POST", "/ping", 405, "GET"),
        ("HEAD", "/ping", 405, "GET"),
        ("GET", "/", 404, None),
        ("POST", "/feedback", 409, None),
        ("GET", "/docs", 404, None),
    ],
)
def test_wrong_doors_are_named(
    server: Running, method: str, path: str, status: int, allow: str | None
) -> None:
    reply = server.ask(method, path)
    assert (reply.status, reply.headers.get("allow")) == (status, allow)


def test_a_trailing_slash_is_sent_on(server: Running) -> None:
    reply = server.ask("POST", "/invocations/", b"1")
    assert (reply.status, reply.headers["location"]) == (307, "/invocations")


def test_a_prediction_that_takes_too_long_is_a_504(server: Running) -> None:
    reply = server.ask("POST", "/invocations", b"wait")
    assert (reply.status, reply.document["error_code"]) == (504, "DEADLINE_EXCEEDED")


def test_a_client_that_never_finishes_its_request_is_a_504(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
        assert connection.recv(4096).startswith(b"HTTP/1.1 504 ")


def test_a_client_that_hangs_up_harms_nobody(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
    assert server.ask("POST", "/invocations", b"1").status == 200


def test_too_many_waiting(server: Running, echo: Echo) -> None:
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(server.ask("POST", "/invocations", b"wait")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while len(replies) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    echo.go.set()
    for thread in threads:
        thread.join()
    statuses = sorted(reply.status for reply in replies)
    assert statuses.count(503) == 4
    refused = next(reply for reply in replies if reply.status == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.document["error_code"] == "TEMPORARILY_UNAVAILABLE"


def test_a_request_finishes_on_the_version_it_began_with(server: Running, echo: Echo) -> None:
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(server.ask("POST", "/invocations", b"wait")))
    thread.start()
    time.sleep(0.1)
    server.show(Echo("2"))
    assert server.ask("GET", "/ping").headers["x-model-version"] == "2"
    echo.go.set()
    thread.join()
    assert (replies[0].headers["x-model-version"], replies[0].document[0]) == ("1", "1")


def test_without_a_version_nothing_is_predicted_and_everything_says_so() -> None:
    with running() as server:
        replies = {
            path: server.ask("GET", path) for path in ("/ping", "/ready", "/version", "/info", "/metrics")
        }
        assert {path: reply.status for path, reply in replies.items()} == {
            "/ping": 404,
            "/ready": 503,
            "/version": 200,
            "/info": 200,
            "/metrics": 200,
        }
        assert replies["/info"].document["version"] is None
        assert {reply.headers["x-model-version"] for reply in replies.values()} == {"none"}
        refused = server.ask("POST", "/invocations", b"1")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")


def test_info_says_what_is_served_and_how_it_is_doing(server: Running) -> None:
    following = Following(problems=("MLflow is away",), refused="2", looked=True)
    server.stage.state = State(model=describe("1"), following=following)
    assert server.ask("GET", "/info").document == {
        "schema": "greenroom/serving/1",
        "model": "m",
        "stage": "production",
        "ready": True,
        "version": "1",
        "seq": 1,
        "since": "2026-01-01T00:00:00.000Z",
        "run_id": "r",
        "managed": True,
        "manifest": "aa",
        "engine": "native",
        "engine_reason": "because",
        "warm": True,
        "from_cache": False,
        "previous": None,
        "staged": None,
        "preparing": None,
        "degraded": True,
        "problems": ["MLflow is away"],
        "refused": "2",
        "prediction_log": None,
    }


def test_telemetry_counts_answers_by_version_path_and_status(server: Running) -> None:
    for body in (b"1", b"1", b"refuse"):
        server.ask("POST", "/invocations", body)
    text = server.ask("GET", "/metrics").body.decode()
    labels = 'model="m",path="native"'
    assert f'greenroom_requests_total{{{labels},status="200",version="1"}} 2.0' in text
    assert f'greenroom_requests_total{{{labels},status="400",version="1"}} 1.0' in text
    assert f'greenroom_request_duration_seconds_count{{{labels},version="1"}} 3.0' in text
    assert 'greenroom_requests_in_flight{model="m"} 0.0' in text
    assert 'greenroom_degraded{model="m"} 0.0' in text


def test_with_a_token_file_only_probes_are_answered_without_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    with running(token_file=str(tmp_path / "token")) as server:
        server.show(Echo())
        for path in ("/info", "/metrics"):
            assert server.ask("GET", path).status == 401
        refused = server.ask("POST", "/invocations", b"1", {"authorization": "Bearer open"})
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.document["error_code"] == "UNAUTHENTICATED"
        assert [server.ask("GET", path).status for path in ("/ping", "/health", "/ready")] == [200] * 3
        assert server.ask("POST", "/invocations", b"1", {"authorization": "Bearer open sesame"}).status == 200


def test_requests_that_come_in_one_piece_are_answered_in_order(server: Running) -> None:
    one = b"POST /invocations HTTP/1.1\r\nhost: x\r\nx-request-id: %d\r\ncontent-length: %d\r\n\r\n%s"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"".join(one % (size, size, b"x" * size) for size in range(1, 6)))
        answer = b""
        while answer.count(b"HTTP/1.1 200 ") < 5 or not answer.endswith(b"]"):
            answer += connection.recv(65536)
    assert re.findall(rb"x-request-id: (\d)", answer) == [b"1", b"2", b"3", b"4", b"5"]


def test_a_client_that_stops_sending_still_gets_its_answer(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"
        )
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
