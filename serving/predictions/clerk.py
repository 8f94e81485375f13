"""The log's clerk: a process of its own that reads what workers hand over and writes the log's files.

Reading is the event loop's, writing a thread's, so that a sink that hangs stops nobody until the memory for
what waits is full; then workers are no longer read from, and they lose what they cannot keep.
"""

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import uvloop

from registry import PredictionWriter
from serving.logs import log_to_stderr

from .intake import Batch, Intake
from .records import FRAME, read_time_us
from .scribe import Scribe

__all__ = ["ClerkOrder", "main"]

PART_BYTES: Final = 4 * 2**20
"""So much of bodies and answers makes a file before its time; some 10,000 small requests."""
FLUSH_SHARE: Final = 0.8
"""Of the flush interval; the rest is for handing over and for writing."""
LEAVE_S: Final = 32.0
"""How long workers may take to leave once the server stops: their own patience, and a moment."""

_log = logging.getLogger("greenroom.serving")


@dataclass(frozen=True, slots=True)
class ClerkOrder:
    """What a clerk is told when it starts.

    Attributes:
        listener: File descriptor of the socket at which workers knock.
        model: Name of the registered model.
        log: The folder, or ``s3://bucket/prefix``.
        redacted: Columns that nobody may keep.
        flush_s: Nothing waits longer than this, unless the sink takes nothing.
        limit_bytes: What may wait here.
    """

    listener: int
    model: str
    log: str
    redacted: Sequence[str]
    flush_s: float
    limit_bytes: int


class _Clerk:
    def __init__(self, order: ClerkOrder) -> None:
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(
            delay_s=order.flush_s * FLUSH_SHARE, part_bytes=min(PART_BYTES, order.limit_bytes)
        )
        self._scribe = Scribe(
            self._intake,
            PredictionWriter(order.log, order.model),
            redacted=order.redacted,
            done=self._make_room,
        )
        self._lines: set[_Line] = set()
        self._is_full = False
        self._stop = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(self) -> None:
        """Works until told to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_reader(sys.stdin.fileno(), self._stop.set)  # the supervisor is gone
        listener = socket.socket(fileno=self._order.listener)
        server = await self._loop.create_unix_server(lambda: _Line(self), sock=listener)
        writing = asyncio.create_task(asyncio.to_thread(self._scribe.run))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([writing, stopping], return_when=asyncio.FIRST_COMPLETED)
        self._loop.remove_reader(sys.stdin.fileno())
        stopping.cancel()
        await self._wait_for_workers(writing)
        server.close()
        self._scribe.stop()
        self._intake.close()
        given_up = await writing
        if given_up:
            _log.error("%d predictions were lost at the end: their log cannot be written.", given_up)

    async def _wait_for_workers(self, writing: "asyncio.Task[int]") -> None:
        """What they have handed over comes first; one that has just knocked is let in."""
        await asyncio.sleep(0.05)
        leaving = asyncio.create_task(self._empty.wait())
        await asyncio.wait([leaving, writing], timeout=LEAVE_S, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()

    def take(self, line: "_Line", payload: bytes, records: int) -> None:
        """Keeps a frame; while too many wait, none is read."""
        age_s = max(0.0, time.time() - read_time_us(payload) / 1e6)  # none, should the clock go backwards
        waiting = self._intake.put(Batch(line, payload, records, age_s))
        if waiting > self._order.limit_bytes and not self._is_full:
            self._is_full = True
            for one in self._lines:
                one.transport.pause_reading()

    def open(self, line: "_Line") -> None:
        """A worker has knocked."""
        self._lines.add(line)
        self._empty.clear()
        if self._is_full:
            line.transport.pause_reading()

    def close(self, line: "_Line") -> None:
        """A worker has left."""
        self._lines.discard(line)
        if not self._lines:
            self._empty.set()

    def _make_room(self) -> None:
        """From the writing thread."""
        self._loop.call_soon_threadsafe(self._relax)

    def _relax(self) -> None:
        if self._is_full and self._intake.waiting_bytes <= self._order.limit_bytes // 2:
            self._is_full = False
            for line in self._lines:
                line.transport.resume_reading()


class _Line(asyncio.Protocol):
    """One worker's connection."""

    transport: asyncio.Transport

    def __init__(self, clerk: _Clerk) -> None:
        self._clerk = clerk
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's are no subclass of asyncio's
        self._clerk.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._clerk.close(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= FRAME.size:
            length, records = FRAME.unpack_from(self._buffer)
            end = FRAME.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[FRAME.size : end])
            del self._buffer[:end]
            self._clerk.take(self, payload, records)

    def settle(self, logged: int, feedback: int, lost: dict[str, int], problem: str) -> None:
        """From the writing thread."""
        said = {"logged": logged, "feedback": feedback, "lost": lost, "problem": problem}
        self._loop.call_soon_threadsafe(self._say, orjson.dumps(said) + b"\n")

    def _say(self, words: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(words)


def main(text: str) -> int:
    """Runs a clerk from its order, a JSON document."""
    order = ClerkOrder(**json.loads(text))
    log_to_stderr("log")
    uvloop.run(_work(order))
    return 0


async def _work(order: ClerkOrder) -> None:
    await _Clerk(order).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
