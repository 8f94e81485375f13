"""The HTTP routes, as a raw ASGI application: bytes in, bytes out, one answer for every request.

This is the request border: one of the two places where an unexpected exception ends (the other is the run
border). Scoring, following and telemetry know nothing of HTTP.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from registry import GreenroomError

from .bodies import ClientGoneError, Receive, read_body
from .counting import Counts
from .errors import (
    BusyError,
    NoLogError,
    NoModelError,
    NoRouteError,
    NotAllowedError,
    TooLateError,
    WrongMethodError,
)
from .info import describe_server, is_ready
from .live import ServedModel, State
from .predictions.feedback import read_feedback
from .predictions.outlet import Outlet
from .scorer import JSON, NATIVE
from .settings import ServeSettings
from .statuses import UNEXPECTED, ErrorAnswer, describe_error
from .telemetry import NO_VERSION
from .tokens import Gate
from .wording import locate_error

__all__ = ["OnStage", "ScoringApp", "encode_error"]

Scope: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
"""An incoming request id that is kept: fits any log line and header."""
MAX_IN_FLIGHT: Final = 4096
"""Requests in one worker at the same time; far above what it answers within a second."""
OPEN_PATHS: Final = frozenset({"/ping", "/health", "/version", "/ready"})
"""What load balancers and probes ask, without a token."""
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger("greenroom.serving")


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, with the model it took at its start."""

    request_id: str
    headers: Mapping[bytes, bytes]
    receive: Receive
    served: ServedModel | None


@dataclass(slots=True)
class OnStage:
    """What a worker serves. ``served`` is the one reference that requests take and that a swap replaces."""

    served: ServedModel | None = None
    state: State = field(default_factory=State)


class ScoringApp:
    """The ASGI application of one worker.

    Args:
        settings: Limits and names.
        stage: What is served.
        counts: What is counted.
        collect: Fetches the text of ``GET /metrics``, all workers together.
        gate: Lets callers in.
        outlet: Where answered requests and feedback are logged; None: nowhere.
        tell_log: Fetches what ``GET /info`` says of the log, all workers together.
        mlflow_version: What ``GET /version`` says.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        stage: OnStage,
        counts: Counts,
        collect: Callable[[], Awaitable[bytes]],
        gate: Gate,
        mlflow_version: str,
        outlet: Outlet | None = None,
        tell_log: Callable[[], Awaitable[Mapping[str, Any] | None]] | None = None,
    ) -> None:
        self._settings = settings
        self._stage = stage
        self._counts = counts
        self._collect = collect
        self._gate = gate
        self._mlflow_version = mlflow_version
        self._outlet = outlet
        self._tell_log = tell_log
        self.choose_request_id = _RequestIds()
        self._routes: Mapping[str, tuple[str, Callable[[_Request], Awaitable[_Reply]]]] = {
            "/invocations": ("POST", self._invoke),
            "/feedback": ("POST", self._take_feedback),
            "/ping": ("GET", self._ping),
            "/health": ("GET", self._ping),
            "/version": ("GET", self._tell_version),
            "/ready": ("GET", self._tell_ready),
            "/info": ("GET", self._tell_info),
            "/metrics": ("GET", self._tell_metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        headers = dict(reversed(scope["headers"]))  # of several with one name, the first
        request_id = self.choose_request_id(headers.get(b"x-request-id"))
        request = _Request(request_id, headers, receive, self._stage.served)
        try:
            reply = await self._answer(scope["method"], scope["path"], request)
        except ClientGoneError:
            return
        await _send(send, reply, request)

    async def _answer(self, method: str, path: str, request: _Request) -> _Reply:
        try:
            return await self._route(method, path, request)
        except GreenroomError as error:
            return _reply_error(describe_error(error))
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - the request border
            _log.error("A request failed: %s", locate_error(error), extra={"request_id": request.request_id})
            return _reply_error(UNEXPECTED)

    async def _route(self, method: str, path: str, request: _Request) -> _Reply:
        if path not in self._routes:
            if path.removesuffix("/") in self._routes:  # as MLflow's server does
                return _Reply(307, b"", headers={"location": path.removesuffix("/")})
            raise NoRouteError
        allowed, handle = self._routes[path]
        if method != allowed:
            raise WrongMethodError(allowed)
        if path not in OPEN_PATHS and not self._gate.admits(request.headers.get(b"authorization")):
            raise NotAllowedError
        return await handle(request)

    async def _invoke(self, request: _Request) -> _Reply:
        started = time.perf_counter()
        self._counts.in_flight += 1
        path = request.served.prepared.engine if request.served else NO_VERSION
        status = UNEXPECTED.status
        try:
            reply, path = await self._predict(request)
            status = reply.status
        except GreenroomError as error:
            reply = _reply_error(describe_error(error))
            status = reply.status
        finally:
            self._counts.in_flight -= 1
            seconds = time.perf_counter() - started
            self._counts.count_request(_name_version(request.served), path, status, seconds)
        return reply

    async def _predict(self, request: _Request) -> tuple[_Reply, str]:
        if request.served is None:
            raise NoModelError(self._settings.model, self._settings.stage)
        if self._counts.in_flight > MAX_IN_FLIGHT:
            raise BusyError(1)
        body = await self._read_in_time(request)
        content_type = request.headers.get(b"content-type")
        scored = await request.served.scorer.score(
            body, content_type.decode("latin-1") if content_type else None, request.request_id
        )
        if self._outlet is not None:
            version, native = request.served.version, scored.path == NATIVE
            self._outlet.note(
                version, request.request_id, content_type or b"", body, scored.body, native=native
            )
        return _Reply(200, scored.body, scored.media_type), scored.path

    async def _read_in_time(self, request: _Request) -> bytes:
        limit = asyncio.timeout(self._settings.timeout_s)
        try:
            async with limit:
                return await read_body(request.receive, request.headers, self._settings.max_body_bytes)
        except TimeoutError:
            raise TooLateError(self._settings.timeout_s or 0.0) from None

    async def _take_feedback(self, request: _Request) -> _Reply:
        if self._outlet is None:
            raise NoLogError
        body = await self._read_in_time(request)
        content_type = request.headers.get(b"content-type")
        truths = read_feedback(body, content_type.decode("latin-1") if content_type else None)
        if not self._outlet.take_feedback(truths):
            raise BusyError(1)
        return _Reply(202, orjson.dumps({"taken": len(truths)}))

    async def _ping(self, request: _Request) -> _Reply:
        return _Reply(404 if request.served is None else 200, b"\n")  # MLflow's two answers

    async def _tell_version(self, _request: _Request) -> _Reply:
        return _Reply(200, self._mlflow_version.encode())

    async def _tell_ready(self, request: _Request) -> _Reply:
        if not is_ready(request.served):
            raise NoModelError(self._settings.model, self._settings.stage)
        return _Reply(200, orjson.dumps({"ready": True, "version": _name_version(request.served)}))

    async def _tell_info(self, request: _Request) -> _Reply:
        document = describe_server(self._settings, self._stage.state, request.served)
        log = await self._tell_log() if self._tell_log is not None else None
        return _Reply(200, orjson.dumps({**document, "prediction_log": log}))

    async def _tell_metrics(self, _request: _Request) -> _Reply:
        return _Reply(200, await self._collect(), PROMETHEUS)


async def _send(send: Send, reply: _Reply, request: _Request) -> None:
    headers = [
        (b"content-type", reply.media_type.encode("latin-1")),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-model-version", _name_version(request.served).encode()),
        (b"x-request-id", request.request_id.encode()),
        *((name.encode(), value.encode()) for name, value in reply.headers.items()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def encode_error(answer: ErrorAnswer) -> bytes:
    """The body of an error."""
    return orjson.dumps({"error_code": answer.error_code, "message": answer.message})


def _reply_error(answer: ErrorAnswer) -> _Reply:
    return _Reply(answer.status, encode_error(answer), headers=answer.headers)


class _RequestIds:
    """Keeps a caller's request id, or makes a new one: random for each process, counted within it."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(10)
        self._numbers = itertools.count(1)

    def __call__(self, given: bytes | None) -> str:
        if given is not None and REQUEST_ID.fullmatch(text := given.decode("latin-1")):
            return text
        return f"{self._prefix}{next(self._numbers):012x}"


def _name_version(served: ServedModel | None) -> str:
    return served.version if served else NO_VERSION
