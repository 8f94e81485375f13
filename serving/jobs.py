"""The supervisor's side of the workshop: has versions prepared, and the native process started."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from registry import (
    ArtifactError,
    get_child_environment,
)

from .children import CHILD_ENVIRONMENT, ERRORS
from .live import PreparedModel, parse_model
from .settings import ServeSettings
from .target import Target
from .workshop import NATIVE, PREPARE

__all__ = ["Workshop"]

IDLE_S: Final = 60.0
"""After so long without work the workshop ends: it holds some 250 MB."""
PREPARE_S: Final = 1800.0
"""A preparation that takes longer hangs: a download of many gigabytes over a slow line fits in."""

_log = logging.getLogger("greenroom.serving")


class Workshop:
    """The one workshop of a server; started at the first piece of work, and again after it ended.

    Args:
        settings: The server's.
        cache_root: Where prepared versions go.
    """

    def __init__(self, settings: ServeSettings, cache_root: str) -> None:
        self._settings = settings
        self._cache_root = cache_root
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._working = 0
        self._idle_since_s = time.monotonic()

    async def start(self) -> socket.socket:
        """Makes sure that it runs; returns the line to it."""
        async with self._starting:
            if self._control is None or self._process is None or self._process.returncode is not None:
                self.close()
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                with theirs:
                    self._process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-P", "-W", "ignore", "-m", "serving.workshop"),
                        stdin=theirs.fileno(),
                        stdout=sys.stderr.fileno(),
                        env=get_child_environment(CHILD_ENVIRONMENT),
                        start_new_session=True,
                    )
                self._control = ours
            self._idle_since_s = time.monotonic()
            return self._control

    async def prepare(self, target: Target) -> PreparedModel:
        """Has a version prepared.

        Raises:
            GreenroomError: Why it may not be served.
        """
        order = {
            "target": asdict(target),
            "cache": self._cache_root,
            "model": self._settings.model,
            "trust_author": self._settings.trust_author,
            "memory_budget_bytes": self._settings.memory_budget_bytes,
        }
        self._working += 1
        try:
            async with asyncio.timeout(PREPARE_S):
                text = await self._order(order)
        except (TimeoutError, OSError):
            text = b""
        finally:
            self._working -= 1
            self._idle_since_s = time.monotonic()
        if not text:
            raise ArtifactError(
                f"The process that tried version {target.version} out ended without a word.",
                hint="It crashed, was killed, or hung: is there enough memory? The log may say more.",
            )
        answer = json.loads(text)
        if "problem" in answer:
            problem = answer["problem"]
            raise ERRORS.get(problem["code"], ArtifactError)(problem["what"], hint=problem["hint"])
        return parse_model(answer["model"])

    async def start_native(self, listener: socket.socket) -> socket.socket:
        """Has a native process started; returns the line to it.

        Raises:
            OSError: The workshop is gone.
        """
        order = {"settings": asdict(self._settings)}
        return await self._send(NATIVE, order, [listener])

    def end_if_idle(self, *, is_needed: bool) -> None:
        """Ends it when nobody needed it for long.

        Args:
            is_needed: The native process lives in its group.
        """
        if is_needed or self._working:
            self._idle_since_s = time.monotonic()
        elif time.monotonic() - self._idle_since_s > IDLE_S:
            self.close()

    def close(self) -> None:
        """Ends it, and whatever still runs in it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the group is its own

    async def wait(self) -> None:
        """Returns once it is gone."""
        self.close()
        if self._process is not None:
            await self._process.wait()

    async def _order(self, order: Mapping[str, Any]) -> bytes:
        line = await self._send(PREPARE, order, [])
        with line:
            loop, text = asyncio.get_running_loop(), bytearray()
            while piece := await loop.sock_recv(line, 1 << 16):
                text += piece
        return bytes(text)

    async def _send(
        self, kind: bytes, order: Mapping[str, Any], others: "list[socket.socket]"
    ) -> socket.socket:
        control = await self.start()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            socket.send_fds(control, [kind], [theirs.fileno(), *(other.fileno() for other in others)])
        await asyncio.get_running_loop().sock_sendall(ours, json.dumps(order).encode() + b"\n")
        return ours
