"""The HTTP routes, as a raw ASGI application: bytes in, bytes out, one answer for every request.

This is the request border: one of the two places where an unexpected exception ends (the other is the run
border). Scoring, following and telemetry know nothing of HTTP.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from registry import GreenroomError

from .errors import BodyTooLargeError, NoModelError, NoRouteError, TooLateError, WrongMethodError
from .inference import Inference
from .info import describe_server, is_ready
from .live import Live, ServedModel
from .scoring import JSON
from .settings import ServeSettings
from .statuses import UNEXPECTED, ErrorAnswer, describe_error
from .telemetry import NO_VERSION, Telemetry
from .wording import locate_error

__all__ = ["ScoringApp"]

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
"""An incoming request id that is kept: fits any log line and header."""
DISCARD_S: Final = 2.0
"""How long the rest of a body that is too large is read and thrown away, so that the client sees the 413."""
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger("greenroom.serving")


class _ClientGoneError(Exception):
    """The client hung up before it had sent its request."""


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


class ScoringApp:
    """The ASGI application of one scoring server.

    Args:
        settings: Limits and names.
        live: The reference to the served model.
        inference: Where predictions run.
        telemetry: What is counted.
        mlflow_version: What ``GET /version`` says.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        live: Live,
        inference: Inference,
        telemetry: Telemetry,
        mlflow_version: str,
    ) -> None:
        self._settings = settings
        self._live = live
        self._inference = inference
        self._telemetry = telemetry
        self._mlflow_version = mlflow_version
        self._routes: Mapping[str, tuple[str, Callable[[_Request], Awaitable[_Reply]]]] = {
            "/invocations": ("POST", self._invoke),
            "/ping": ("GET", self._ping),
            "/health": ("GET", self._ping),
            "/version": ("GET", self._tell_version),
            "/ready": ("GET", self._tell_ready),
            "/info": ("GET", self._tell_info),
            "/metrics": ("GET", self._tell_metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        request = _Request(_choose_request_id(headers), headers, receive, self._live.model)
        try:
            reply = await self._answer(scope["method"], scope["path"], request)
        except _ClientGoneError:
            return
        await _send(send, reply, request)

    async def _answer(self, method: str, path: str, request: _Request) -> _Reply:
        try:
            return await self._route(method, path, request)
        except GreenroomError as error:
            return _reply_error(describe_error(error))
        except _ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - the request border
            _log.error("Request %s failed: %s", request.request_id, locate_error(error))
            return _reply_error(UNEXPECTED)

    async def _route(self, method: str, path: str, request: _Request) -> _Reply:
        if path not in self._routes:
            if path.removesuffix("/") in self._routes:  # as MLflow's server does
                return _Reply(307, b"", headers={"location": path.removesuffix("/")})
            raise NoRouteError
        allowed, handle = self._routes[path]
        if method != allowed:
            raise WrongMethodError(allowed)
        return await handle(request)

    async def _invoke(self, request: _Request) -> _Reply:
        started = time.perf_counter()
        with self._telemetry.in_flight():
            try:
                reply = await self._predict(request)
            except GreenroomError as error:
                reply = _reply_error(describe_error(error))
        version, engine = _name_version(request.served), _name_engine(request.served)
        self._telemetry.count_request(version, engine, reply.status, time.perf_counter() - started)
        return reply

    async def _predict(self, request: _Request) -> _Reply:
        if request.served is None:
            raise NoModelError(self._settings.model, self._settings.stage)
        body = await self._read_in_time(request)
        content_type = request.headers.get(b"content-type")
        scored = await self._inference.score(
            request.served.scorer, body, content_type.decode("latin-1") if content_type else None
        )
        return _Reply(200, scored.body, scored.media_type)

    async def _read_in_time(self, request: _Request) -> bytes:
        limit = asyncio.timeout(self._settings.timeout_s)
        try:
            async with limit:
                return await _read_body(request, self._settings.max_body_bytes)
        except TimeoutError:
            raise TooLateError(self._settings.timeout_s or 0.0) from None

    async def _ping(self, request: _Request) -> _Reply:
        return _Reply(404 if request.served is None else 200, b"\n")  # MLflow's two answers

    async def _tell_version(self, _request: _Request) -> _Reply:
        return _Reply(200, self._mlflow_version.encode())

    async def _tell_ready(self, request: _Request) -> _Reply:
        if not is_ready(request.served):
            raise NoModelError(self._settings.model, self._settings.stage)
        return _Reply(200, orjson.dumps({"ready": True, "version": _name_version(request.served)}))

    async def _tell_info(self, request: _Request) -> _Reply:
        return _Reply(200, orjson.dumps(describe_server(self._settings, self._live, request.served)))

    async def _tell_metrics(self, _request: _Request) -> _Reply:
        return _Reply(200, self._telemetry.render(), PROMETHEUS)


async def _read_body(request: _Request, max_bytes: int) -> bytes:
    declared = request.headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > max_bytes:
        if request.headers.get(b"expect", b"").lower() != b"100-continue":
            await _discard(request)
        raise BodyTooLargeError(max_bytes)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
        if size > max_bytes:
            if more:
                await _discard(request)
            raise BodyTooLargeError(max_bytes)
    return b"".join(chunks)


async def _discard(request: _Request) -> None:
    """Reads on for a moment: a client that is still sending would lose the answer to a reset."""
    try:
        async with asyncio.timeout(DISCARD_S):
            while (message := await request.receive()).get("more_body"):
                pass
    except TimeoutError:
        return
    if message["type"] == "http.disconnect":
        raise _ClientGoneError


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


def _reply_error(answer: ErrorAnswer) -> _Reply:
    body = orjson.dumps({"error_code": answer.error_code, "message": answer.message})
    return _Reply(answer.status, body, headers=answer.headers)


def _choose_request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _name_version(served: ServedModel | None) -> str:
    return served.version if served else NO_VERSION


def _name_engine(served: ServedModel | None) -> str:
    return served.scorer.engine if served else NO_VERSION
