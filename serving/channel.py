"""A supervisor and one of its processes talk: JSON lines over a socket pair, questions and answers."""

import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

__all__ = ["Handler", "LostError", "Peer", "open_peer"]

MAX_LINE_BYTES: Final = 64 * 2**20
"""More than any state or any count of requests: only a bug reaches it."""

Handler: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Answers one question; ``{}`` where there is nothing to say."""


class LostError(Exception):
    """The other side is gone."""


class Peer:
    """The other side of a channel.

    Args:
        reader: What it says.
        writer: What it is told.
        handler: Answers its questions.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, op: str, timeout_s: float, **fields: Any) -> Mapping[str, Any]:
        """Asks, and waits for the answer.

        Raises:
            LostError: The other side is gone, or does not answer in time.
        """
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._write({"op": op, "number": number, **fields})
            async with asyncio.timeout(timeout_s):
                answer: Mapping[str, Any] = await future
        except (TimeoutError, OSError) as error:
            raise LostError(op) from error
        finally:
            self._asked.pop(number, None)
        return answer

    def tell(self, op: str, **fields: Any) -> None:
        """Says something that needs no answer; a lost peer does not hear it."""
        with suppress(OSError):
            self._write({"op": op, **fields})

    async def run(self) -> None:
        """Listens until the other side is gone."""
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Hangs up; whoever waits for an answer gets none."""
        self._writer.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(LostError("gone"))

    def _take(self, message: Mapping[str, Any]) -> None:
        if "re" in message:
            future = self._asked.get(message["re"])
            if future is not None and not future.done():
                future.set_result(message)
            return
        task = asyncio.ensure_future(self._answer(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        answer = await self._handler(message)
        if "number" in message:
            with suppress(OSError):
                self._write({"re": message["number"], **answer})

    def _write(self, message: Mapping[str, Any]) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(json.dumps(message).encode() + b"\n")


async def open_peer(end: socket.socket, handler: Handler) -> Peer:
    """Opens a channel on our end of a socket pair."""
    end.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=end, limit=MAX_LINE_BYTES)
    return Peer(reader, writer, handler)
