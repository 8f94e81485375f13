"""The native process, as the supervisor sees it: started when it is needed, and again when it ends."""

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from registry import ArtifactError

from .channel import LostError, Peer, open_peer
from .jobs import Workshop
from .live import PreparedModel, State, dump
from .scorer import NATIVE
from .telemetry import Telemetry

__all__ = ["NativeKeeper", "bind_native"]

WARM_S: Final = 600.0
"""A model that takes longer to load hangs."""
PAUSE_S: Final = 1.0
"""Before another start, when the last one failed or lived for less."""

_log = logging.getLogger("greenroom.serving")


class NativeKeeper:
    """Keeps a native process while something needs it: a version without a plan, or a request a plan left.

    Args:
        workshop: Forks it.
        listener: Where workers knock; it stays open while no process is behind it, so that they wait.
        telemetry: Where restarts are counted.
    """

    def __init__(self, workshop: Workshop, listener: socket.socket, telemetry: Telemetry) -> None:
        self._workshop = workshop
        self._listener = listener
        self._telemetry = telemetry
        self._models: dict[str, PreparedModel] = {}
        self._peer: Peer | None = None
        self._wanted = asyncio.Event()
        self._up = asyncio.Event()
        self._keeping = asyncio.create_task(self._keep())

    @property
    def is_wanted(self) -> bool:
        """Whether there is one, or will be in a moment."""
        return self._wanted.is_set()

    def want(self) -> None:
        """A worker has something for it."""
        self._wanted.set()

    async def warm(self, model: PreparedModel) -> None:
        """Loads a version, if it has no plan, or if the process runs anyway.

        Raises:
            ArtifactError: It does not load, or the process does not survive it.
        """
        if model.engine != NATIVE and not self.is_wanted:
            return
        self.want()
        try:
            async with asyncio.timeout(WARM_S):
                await self._up.wait()
            await self._load(model)
        except LostError:
            raise ArtifactError(f"The native process ended when it loaded version {model.version}.") from None
        except TimeoutError:
            raise ArtifactError(f"No native process could be started for version {model.version}.") from None

    def show(self, state: State) -> None:
        """Remembers what is loaded, for a process that is started anew; drops everything else."""
        self._models = {model.manifest: model for model in state.loaded}
        if self._peer is not None:
            self._peer.tell("keep", manifests=list(self._models))

    async def close(self) -> None:
        """Ends it."""
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping
        if self._peer is not None:
            self._peer.close()

    async def _load(self, model: PreparedModel) -> None:
        if self._peer is None:
            raise LostError("warm")
        answer = await self._peer.ask("warm", WARM_S, model=dump(model))
        if "problem" in answer:
            raise ArtifactError(answer["problem"])

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                control = await self._workshop.start_native(self._listener)
                peer = self._peer = await open_peer(control, self._hear)
            except OSError:
                await asyncio.sleep(PAUSE_S)
                continue
            began_s = time.monotonic()
            listening = asyncio.create_task(peer.run())
            await self._bring_up(peer, list(self._models.values()))
            await listening
            self._peer = None
            self._up.clear()
            self._telemetry.count_restart(NATIVE)
            _log.error("The native process ended by itself; another one is started.")
            if time.monotonic() - began_s < PAUSE_S:
                await asyncio.sleep(PAUSE_S)  # it may not survive what it is given

    async def _bring_up(self, peer: Peer, models: Sequence[PreparedModel]) -> None:
        """What is served first; then it takes requests; the rest is loaded beside."""
        for place, model in enumerate(models):
            try:
                await self._load(model)
            except (LostError, ArtifactError) as error:
                _log.error("The native process cannot load version %s: %s", model.version, error)
            if place == 0:
                peer.tell("open")
                self._up.set()
        if not models:
            peer.tell("open")
            self._up.set()

    async def _hear(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """It has nothing to say but that it is up."""
        del self, message
        return {}


def bind_native(folder: Path) -> tuple[socket.socket, Path]:
    """A Unix socket in a folder that is nobody else's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / "native"
    listener.bind(str(path))
    listener.listen(128)
    return listener, path
