"""One HTTP connection: uvicorn's, with a door to the fast lane.

A request is offered to the lane if all of it came in one piece and nothing about it is special. Everything
else (parts that come later, pipelining behind a slow request, ``Expect``, HTTP/1.0, closing) is uvicorn's.
"""

import asyncio
import time
from collections.abc import Sized
from typing import Any, Final

import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .lane import FastLane

__all__ = ["FastConnection"]

FAST_URL: Final = b"/invocations"
MAX_HEAD_BYTES: Final = 64 * 1024
"""A longer head (or trailer) is refused; uvicorn has no limit, nginx 32 KiB, Node.js 16 KiB."""
REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class _Flow(FlowControl):
    """Reads no further while requests wait for their turn: each read adds a thousand for one answered."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class FastConnection(HttpToolsProtocol):
    """A connection of one worker.

    Args:
        lane: Where whole small requests are answered.
        options: uvicorn's.
    """

    def __init__(self, lane: FastLane, **options: Any) -> None:
        super().__init__(**options)
        self._lane = lane
        self._pieces: list[bytes] | None = None
        self._is_pending = False
        self._idle_since_s: float | None = time.perf_counter()
        self._unheeded = 0
        self._is_last = False
        self._running: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins; with a limit to what may wait."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends; uvicorn tells only the last of several requests that nobody waits for it."""
        cycle = self._running
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that says that it is done gets the answers to what it has asked; True: not yet."""
        self._is_last = True
        if self._is_pending:
            self._lane.flush()
        return self._is_uvicorn_busy() and not self.cycle.more_body

    def close_if_idle(self, now_s: float, limit_s: float) -> None:
        """Closes a connection that has sent no whole head for long: idle, or sending it byte by byte."""
        if self._idle_since_s is not None and now_s - self._idle_since_s > limit_s:
            self.transport.close()

    def answer(self, response: bytes, now_s: float) -> None:
        """Sends the lane's response."""
        self._is_pending = False
        self._idle_since_s = now_s
        if not self.transport.is_closing():
            self.transport.write(response)

    def data_received(self, data: bytes) -> None:
        """Parses; a request whose end is not there yet is uvicorn's from here on."""
        self._unheeded += len(data)
        super().data_received(data)
        if self._unheeded > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.")
        if self._pieces is not None and not self.transport.is_closing():
            self._give_over()

    def on_message_begin(self) -> None:
        """A request begins; what only uvicorn needs is made when it gets it."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Decides who gets it, unless the lane declines."""
        if self._is_pending:  # pipelined: answers keep the order of requests
            self._lane.flush()
        self._idle_since_s = None
        self._unheeded = 0
        if self._is_plain():
            self._pieces = []
        else:
            self._begin_slowly()

    def on_body(self, body: bytes) -> None:
        """Keeps a piece."""
        self._unheeded = 0
        if self._pieces is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Offers the request to the lane."""
        self._unheeded = 0
        if self._pieces is None:
            super().on_message_complete()
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if self._lane.take(self, self.headers, body):
            self._pieces = None
            self._is_pending = True
        else:
            self._give_over()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """After uvicorn's own response."""
        self._idle_since_s = time.perf_counter()
        super().on_response_complete()
        if self._is_last and not self._is_uvicorn_busy():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP."""
        del msg
        self._refuse(400, "This is no HTTP request that the server understands.")

    def shutdown(self) -> None:
        """Lets the connection end after what it is answering."""
        if self._is_pending:
            self._lane.flush()
        super().shutdown()

    def _refuse(self, status: int, message: str) -> None:
        """Answers and hangs up; a request that came before gets its answer first."""
        if self._is_pending:
            self._lane.flush()
        body = orjson.dumps({"error_code": "BAD_REQUEST", "message": message})
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n" % (status, REASONS[status])
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_plain(self) -> bool:
        if self.url != FAST_URL or self.expect_100_continue or self.pipeline or self.flow.write_paused:
            return False
        if self._is_uvicorn_busy():
            return False
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def _is_uvicorn_busy(self) -> bool:
        cycle: Any = self.cycle  # None before its first request, whatever its annotation says
        return cycle is not None and not cycle.response_complete

    def _give_over(self) -> None:
        """What came so far becomes a request of uvicorn's."""
        pieces, self._pieces = self._pieces or [], None
        self._begin_slowly()
        for piece in pieces:
            super().on_body(piece)

    def _begin_slowly(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
