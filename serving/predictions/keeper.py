"""The log's clerk, as the supervisor sees it: started, and again when it ends; asked to finish at the end."""

import asyncio
import logging
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from registry import get_child_environment
from serving.settings import ServeSettings
from serving.telemetry import Telemetry

__all__ = ["ClerkKeeper", "bind_log"]

FINISH_S: Final = 30.0
"""How long the clerk may take to write what it has; it gives up by itself on a sink that takes nothing."""
PAUSE_S: Final = 1.0
"""Before another start, when the last one lived for less."""
ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}

_log = logging.getLogger("greenroom.serving")


def bind_log(folder: Path) -> tuple[socket.socket, Path]:
    """A Unix socket in a folder that is nobody else's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / "log"
    listener.bind(str(path))
    listener.listen(128)
    return listener, path


class ClerkKeeper:
    """Keeps a clerk.

    Args:
        settings: The server's; ``log`` is set.
        listener: Where workers knock; it stays open while no clerk is behind it, so that they wait.
        telemetry: Where restarts are counted.
    """

    def __init__(self, settings: ServeSettings, listener: socket.socket, telemetry: Telemetry) -> None:
        self._settings = settings
        self._listener = listener
        self._telemetry = telemetry
        self._process: asyncio.subprocess.Process | None = None
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Lets it write what it has; call it when the workers are gone."""
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()  # what was handed over since the last one ended waits at the socket
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(FINISH_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _keep(self) -> None:
        while True:
            began_s = time.monotonic()
            process = self._process = await self._start()
            exit_code = await process.wait()
            self._telemetry.count_restart("log")
            _log.error("The log's process ended by itself (exit code %d); another one is started.", exit_code)
            if time.monotonic() - began_s < PAUSE_S:
                await asyncio.sleep(PAUSE_S)

    async def _start(self) -> asyncio.subprocess.Process:
        settings = self._settings
        order: dict[str, Any] = {
            "listener": self._listener.fileno(),
            "model": settings.model,
            "log": settings.log,
            "redacted": settings.log_redact,
            "flush_s": settings.log_flush_s,
            "limit_bytes": settings.log_buffer_bytes,
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "serving.predictions.clerk", orjson.dumps(order).decode()),
            stdin=asyncio.subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            pass_fds=(self._listener.fileno(),),
            env=get_child_environment(ENVIRONMENT),
            start_new_session=True,
        )
