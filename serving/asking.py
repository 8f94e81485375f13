"""How a worker asks the native process: one connection, many questions on it, none of them for ever."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .errors import BusyError, ForwardedError, LostProcessError, TooLateError
from .frames import read_frame, write_frame
from .scorer import NATIVE, Scored

__all__ = ["NativeLine", "NativeVersion"]

RETRY_AFTER_S: Final = 1
PATIENCE_S: Final = 0.5
"""The native process keeps the time itself; this much later a worker gives up on a process that hangs."""


class NativeLine:
    """The line from one worker to the native process; opened when first needed, and again after a loss.

    Args:
        path: The Unix socket. The supervisor holds it, so that knocking at a process that is being started
            waits instead of failing.
        want: Tells the supervisor that a native process is needed.
        max_asked: Questions without an answer; one more is refused.
        timeout_s: How long a question may take; None: for ever.
    """

    def __init__(
        self, path: Path, want: Callable[[], None], *, max_asked: int, timeout_s: float | None
    ) -> None:
        self._path = path
        self._want = want
        self._max_asked = max_asked
        self._timeout_s = timeout_s
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[tuple[Mapping[str, Any], bytes]]] = {}
        self._opening: asyncio.Future[asyncio.StreamWriter] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Questions without an answer."""
        return len(self._asked)

    async def ask(self, manifest: str, body: bytes, content_type: str | None, request_id: str) -> Scored:
        """Asks a version.

        Raises:
            BusyError: Too many questions wait already.
            TooLateError: No answer in time.
            LostProcessError: The process ended.
            ForwardedError: What it answered instead of a prediction.
        """
        if len(self._asked) >= self._max_asked:
            raise BusyError(RETRY_AFTER_S)
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        head = {
            "number": number,
            "manifest": manifest,
            "content_type": content_type,
            "request_id": request_id,
        }
        try:
            async with asyncio.timeout(self._timeout_s and self._timeout_s + PATIENCE_S):
                write_frame(await self._open(), head, body)
                answer, text = await future
        except TimeoutError:
            raise TooLateError(self._timeout_s or 0.0) from None
        except OSError:
            raise LostProcessError from None
        finally:
            del self._asked[number]
        if "error" in answer:
            raise ForwardedError(**answer["error"])
        return Scored(text, answer["media_type"], NATIVE)

    async def close(self) -> None:
        """Hangs up."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    async def _open(self) -> asyncio.StreamWriter:
        if self._opening is None:
            self._want()
            self._opening = asyncio.ensure_future(self._connect())
        try:
            return await asyncio.shield(self._opening)
        except OSError:
            self._opening = None
            raise

    async def _connect(self) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._listening = asyncio.ensure_future(self._listen(reader, writer))
        return writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, body = await read_frame(reader)
                future = self._asked.get(head["number"])
                if future is not None and not future.done():
                    future.set_result((head, body))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._opening = None
            writer.close()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(LostProcessError())


class NativeVersion:
    """One version behind the line, as a :class:`~serving.scorer.Scorer`."""

    def __init__(self, line: NativeLine, manifest: str) -> None:
        self._line = line
        self._manifest = manifest

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        """Predicts; see :class:`NativeLine`."""
        return await self._line.ask(self._manifest, body, content_type, request_id)
