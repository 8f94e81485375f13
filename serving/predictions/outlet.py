"""A worker's way to the log: what was answered is held for a moment, then handed to the clerk in one piece.

What was read to answer it is handed on as numbers, the rest as the bytes that came. What waits is bounded;
what does not fit is lost, counted and told.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from .blocks import BlockKey, OpenBlock, name_block
from .records import BLOCK, COMPILED, FEEDBACK, FRAME, NATIVE, OVERHEAD_BYTES, pack
from .tally import CRASH, OVERFLOW, SINK, Tally

if TYPE_CHECKING:
    from serving.batching import Batch

__all__ = ["Outlet"]

HOLD_S: Final = 0.05
"""How long answers are held; with a worker that is killed, so much is lost."""
PIECE_BYTES: Final = 256 * 1024
"""So many bytes are handed on at once, whatever the time."""
RETRY_S: Final = 0.2
CLOSE_S: Final = 10.0
"""How long a worker that leaves waits for a clerk that is being started, or has no room."""
TELL_S: Final = 60.0
"""Losses are logged as often as this."""

_log = logging.getLogger("greenroom.serving")


class Outlet:
    """One worker's; made inside its event loop.

    Args:
        path: The clerk's Unix socket; it listens while no clerk is behind it.
        tally: Where what became of it is counted.
        sample: Share of the requests that are logged, 0 to 1.
        limit_bytes: What may wait here; more is lost.
    """

    def __init__(self, path: Path, tally: Tally, *, sample: float, limit_bytes: int) -> None:
        self._path = path
        self._tally = tally
        self._sample = sample
        self._limit_bytes = limit_bytes
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._blocks: dict[BlockKey, OpenBlock] = {}
        self._records = 0
        self._bytes = 0
        self._stuck_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._line: _Line | None = None
        self._connected = asyncio.Event()
        self._closing = False
        self._lost_before = Counter[str]()
        self._told_s = -TELL_S
        self._connecting = asyncio.create_task(self._keep_connected())

    def note(
        self, version: str, request_id: str, content_type: bytes, body: bytes, answer: bytes, *, native: bool
    ) -> None:
        """Takes an answered request, unless it is not in the sample."""
        if not self._is_sampled():
            return
        kind = NATIVE if native else COMPILED
        now_us = time.time_ns() // 1000
        self._hold(kind, now_us, request_id.encode(), content_type, version.encode(), body, answer)

    def note_read(self, version: str, request_id: str, batch: "Batch", answer: bytes, size: int) -> bool:
        """Takes a request that was answered from what had been read of it, ``size`` bytes when it came.

        Returns:
            False if what was sent is not known without reading it again: then :meth:`note` is for it.
        """
        sent = batch.sent
        if sent is None:
            return False
        if not self._is_sampled():
            return True
        size += len(answer) + OVERHEAD_BYTES
        if not self._has_room(size):
            self._lose()
            return True
        key = name_block(version, batch.output, sent)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = OpenBlock(key, sent.are_numbers)
        block.add(request_id, time.time_ns() // 1000, batch.rows, sent, answer)
        block.held_bytes += size
        self._note_size(size)
        return True

    def take_feedback(self, truths: Sequence[tuple[str, Any, int | None]]) -> bool:
        """Takes truths, all or none; returns False if there is no room for them now.

        Args:
            truths: Of each the prediction's id, what is true, and since when (microseconds; None: now).
        """
        now_us = time.time_ns() // 1000
        bodies = [orjson.dumps([truth, time_us or now_us]) for _, truth, time_us in truths]
        if not self._has_room(sum(map(len, bodies)) + OVERHEAD_BYTES * len(bodies)):
            return False
        for (one, *_), body in zip(truths, bodies, strict=True):
            self._hold(FEEDBACK, now_us, one.encode(), b"", b"", body, b"")
        return True

    async def close(self) -> None:
        """Hands on what is held; returns when the clerk has it, or does not take it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._records:
                    await self._connected.wait()
                self._closing = True
                self._hand_on()
                if self._line is not None:
                    self._line.transport.close()
                    await self._line.gone.wait()
        self._connecting.cancel()

    def _hold(self, kind: int, now_us: int, *parts: bytes) -> None:
        pieces = pack(kind, now_us, *parts)
        size = len(pieces[-2]) + len(pieces[-1]) + OVERHEAD_BYTES
        if not self._has_room(size):
            self._lose()
            return
        self._pieces += pieces
        self._note_size(size)

    def _note_size(self, size: int) -> None:
        self._records += 1
        self._bytes += size
        if self._timer is None:
            self._timer = self._loop.call_later(HOLD_S, self._hand_on)
        elif self._bytes >= PIECE_BYTES and self._line is not None:
            self._hand_on()

    def _has_room(self, size: int) -> bool:
        return self._bytes + self._stuck_bytes + size <= self._limit_bytes

    def _is_sampled(self) -> bool:
        return self._sample >= 1.0 or random.random() < self._sample  # noqa: S311 - a sample

    def _close_blocks(self) -> None:
        """What was held as values becomes bytes, whoever takes them and when."""
        for key, block in self._blocks.items():
            body, answers = block.write()
            self._pieces += pack(BLOCK, block.time_us, b"", b"", key.version.encode(), body, answers)
            self._bytes += len(body) + len(answers) + OVERHEAD_BYTES - block.held_bytes
        self._blocks.clear()

    def _hand_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_blocks()
        if self._line is None:
            self._timer = self._loop.call_later(HOLD_S, self._hand_on)
            return
        if self._records:
            payload = b"".join(self._pieces)
            self._line.send(payload, self._records)
            self._pieces, self._records, self._bytes = [], 0, 0
        self._stuck_bytes = self._line.transport.get_write_buffer_size()
        if self._stuck_bytes:
            self._timer = self._loop.call_later(HOLD_S, self._hand_on)

    def _lose(self) -> None:
        self._tally.lost[SINK if self._tally.problem else OVERFLOW] += 1
        self.tell_losses()

    def tell_losses(self) -> None:
        """Logs what was lost since it was told last, once a minute."""
        now_s = self._loop.time()
        lost = self._tally.lost - self._lost_before
        if lost and now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            for reason, count in lost.items():
                _log.error("%d predictions could not be logged: %s", count, self._tally.explain(reason))
            self._lost_before = self._tally.lost.copy()

    async def _keep_connected(self) -> None:
        while not self._closing:
            try:
                _, line = await self._loop.create_unix_connection(self._make_line, str(self._path))
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            self._line = line
            self._connected.set()
            await line.gone.wait()
            self._line = None
            self._connected.clear()
            self._stuck_bytes = 0
            if line.unsettled and not self._closing:
                self._tally.lost[CRASH] += line.unsettled
                self.tell_losses()

    def _make_line(self) -> "_Line":
        return _Line(self._tally, self.tell_losses)


class _Line(asyncio.Protocol):
    """One connection to a clerk, which says what it has written."""

    transport: asyncio.Transport

    def __init__(self, tally: Tally, tell_losses: Any) -> None:
        self._tally = tally
        self._tell_losses = tell_losses
        self._words = b""
        self.unsettled = 0
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's are no subclass of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.gone.set()

    def send(self, payload: bytes, records: int) -> None:
        """Sends a frame."""
        self.unsettled += records
        self.transport.writelines((FRAME.pack(len(payload), records), payload))

    def data_received(self, data: bytes) -> None:
        *lines, self._words = (self._words + data).split(b"\n")
        for line in lines:
            said = orjson.loads(line)
            self.unsettled -= said["logged"] + said["feedback"] + sum(said["lost"].values())
            self._tally.problem = ""
            self._tally.add(said)
            self._tell_losses()
