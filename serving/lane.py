"""The fast lane: small compiled predictions, from bytes to bytes without a task for each.

A connection offers it a whole request; what it does not take goes through the ASGI application, which can
answer everything. Requests that arrive in one turn of the event loop share one call of the plan, and none
waits longer than that turn. This is the request border for what it takes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from .app import OnStage, encode_error
from .batching import LARGE_BYTES, Batch, CompiledVersion, divide
from .counting import Counts
from .errors import BrokenContractError, TooManyRowsError
from .predictions.outlet import Outlet
from .scorer import COMPILED, JSON
from .statuses import UNEXPECTED, describe_error
from .tokens import Gate
from .wording import locate_error

__all__ = ["Connection", "FastLane"]

OK_STATUS: Final = 200
REFUSED_STATUS: Final = 400
OK: Final = b"HTTP/1.1 200 OK\r\n"
REFUSED: Final = b"HTTP/1.1 400 Bad Request\r\n"
FAILED: Final = b"HTTP/1.1 500 Internal Server Error\r\n"

_log = logging.getLogger("greenroom.serving")


class Connection(Protocol):
    """Who offers requests."""

    def answer(self, response: bytes, now_s: float) -> None:
        """Sends a whole response; the connection may be gone by now."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    connection: Connection
    batch: Batch
    request_id: str
    began_s: float
    content_type: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class _Refused:
    connection: Connection
    answer: bytes
    request_id: str
    began_s: float


class FastLane:
    """One worker's fast lane.

    Args:
        stage: What is served.
        counts: What is counted.
        gate: Lets callers in.
        choose_request_id: Of the application, so that numbers are never used twice.
        outlet: Where answered requests are logged; None: nowhere.
    """

    def __init__(
        self,
        stage: OnStage,
        counts: Counts,
        gate: Gate,
        choose_request_id: Callable[[bytes | None], str],
        outlet: Outlet | None = None,
    ) -> None:
        self._stage = stage
        self._counts = counts
        self._gate = gate
        self._choose_request_id = choose_request_id
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._scorer: CompiledVersion | None = None
        self._version = ""
        self._head = b""
        self._waiting: list[_Waiting] = []
        self._refused: list[_Refused] = []
        self.date: Sequence[tuple[bytes, bytes]] = ()
        """The header ``date``, as the HTTP server renews it every second."""

    def take(self, connection: Connection, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Takes a request; returns False if it is not one of those that are answered here."""
        served = self._stage.served
        if served is None or len(body) > LARGE_BYTES or not isinstance(served.scorer, CompiledVersion):
            return False
        fields = dict(reversed(headers))  # of several with one name, the first
        if not self._gate.admits(fields.get(b"authorization")):
            return False
        began_s = time.perf_counter()
        content_type = fields.get(b"content-type")
        batch, answer = None, b""
        try:
            batch = served.scorer.read(body, content_type.decode("latin-1") if content_type else None)
        except TooManyRowsError:
            return False
        except BrokenContractError as error:
            answer = encode_error(describe_error(error))
        if batch is None and not answer:
            return False
        if served.scorer is not self._scorer or served.version != self._version:
            self.flush()
            self._scorer, self._version = served.scorer, served.version
            self._head = f"content-type: {JSON}\r\nx-model-version: {served.version}\r\n".encode()
        if not self._waiting and not self._refused:
            self._loop.call_soon(self.flush)
        request_id = self._choose_request_id(fields.get(b"x-request-id"))
        if batch is None:
            self._refused.append(_Refused(connection, answer, request_id, began_s))
        else:
            self._waiting.append(_Waiting(connection, batch, request_id, began_s, content_type or b"", body))
        self._counts.in_flight += 1
        return True

    def flush(self) -> None:
        """Answers what waits."""
        if self._refused:
            refused, self._refused = self._refused, []
            self._send(refused, [one.answer for one in refused], REFUSED_STATUS, REFUSED)
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for part in divide([one.batch.rows for one in waiting]):
            self._answer(waiting[part])

    def _answer(self, waiting: Sequence[_Waiting]) -> None:
        assert self._scorer is not None
        status, line = OK_STATUS, OK
        try:
            answers = self._scorer.run([one.batch for one in waiting])
        except Exception as error:  # noqa: BLE001 - the request border
            for one in waiting:
                text = locate_error(error)
                _log.error("A request failed: %s", text, extra={"request_id": one.request_id})
            answers = [encode_error(UNEXPECTED)] * len(waiting)
            status, line = UNEXPECTED.status, FAILED
        self._send(waiting, answers, status, line)
        if self._outlet is not None and status == OK_STATUS:
            for one, answer in zip(waiting, answers, strict=True):
                self._log(one, answer, self._outlet)

    def _log(self, one: _Waiting, answer: bytes, outlet: Outlet) -> None:
        if not outlet.note_read(self._version, one.request_id, one.batch, answer, len(one.body)):
            outlet.note(self._version, one.request_id, one.content_type, one.body, answer, native=False)

    def _send(
        self, asked: Sequence[_Waiting | _Refused], answers: Sequence[bytes], status: int, line: bytes
    ) -> None:
        head = b"".join([line, *(b"%b: %b\r\n" % field for field in self.date), self._head])
        now_s = time.perf_counter()
        for one, answer in zip(asked, answers, strict=True):
            lines = b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (one.request_id.encode(), len(answer))
            one.connection.answer(b"".join((head, lines, answer)), now_s)
            self._counts.count_request(self._version, COMPILED, status, now_s - one.began_s)
        self._counts.in_flight -= len(asked)
