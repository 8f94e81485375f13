"""The supervisor: starts everything, follows the stage in a thread, and stops everything in good order.

It answers no requests and loads no models. What it decides is decided in ``following``; here it is done.
"""

import asyncio
import logging
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from registry import GreenroomError, UnreachableError

from .crew import Crew
from .following import Follower
from .holding import Watch
from .jobs import Workshop
from .live import PreparedModel, State
from .native_keeper import NativeKeeper, bind_native
from .predictions.keeper import ClerkKeeper, bind_log
from .preparing import Shelf
from .settings import ServeSettings
from .target import Target
from .telemetry import Telemetry

__all__ = ["Supervisor"]

HOUSEKEEPING_S: Final = 5.0
FOLLOWER_STOP_S: Final = 2.0

_T = TypeVar("_T")
_log = logging.getLogger("greenroom.serving")


@dataclass
class Supervisor:
    """One scoring server.

    Attributes:
        settings: What to serve, and how.
        listener: The listening socket.
        watch: Looks at the stage.
        shelf: What is prepared already.
        mlflow_version: What ``GET /version`` says.
        announce: Told the state once the stage has been looked at, and when the first model goes on stage.
    """

    settings: ServeSettings
    listener: socket.socket
    watch: Watch
    shelf: Shelf
    mlflow_version: str
    announce: Callable[[State], None]

    def __post_init__(self) -> None:
        self._telemetry = Telemetry(self.settings.model, self.settings.log)
        self._stop = asyncio.Event()
        self._interrupted = False

    async def run(self) -> bool:
        """Serves until a signal; returns whether it was Ctrl-C.

        Raises:
            NotFoundError: There is no such model.
            UnreachableError: MLflow does not answer, and nothing of the model is in the cache.
            GreenroomError: Any other reason why it cannot start.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="greenroom-"))
            knocking, path = bind_native(Path(folder))
            stack.callback(knocking.close)
            workshop = Workshop(self.settings, str(self.shelf.cache.root))
            stack.push_async_callback(workshop.wait)
            native = NativeKeeper(workshop, knocking, self._telemetry)
            stack.push_async_callback(native.close)
            log = self._start_log(Path(folder), stack) if self.settings.log else None
            crew = self._gather(path, native, log)
            stack.push_async_callback(crew.drain)
            stack.callback(self.listener.close)
            await self._serve(crew, native, workshop, loop)
        return self._interrupted

    def _interrupt(self) -> None:
        self._interrupted = True
        self._stop.set()

    def _start_log(self, folder: Path, stack: AsyncExitStack) -> Path:
        """The log's process ends after the workers, with what they gave it."""
        knocking, path = bind_log(folder)
        stack.callback(knocking.close)
        stack.push_async_callback(ClerkKeeper(self.settings, knocking, self._telemetry).close)
        return path

    def _gather(self, path: Path, native: NativeKeeper, log: Path | None) -> Crew:
        return Crew(
            self.settings,
            self.listener,
            path,
            mlflow_version=self.mlflow_version,
            telemetry=self._telemetry,
            want_native=native.want,
            log=log,
        )

    async def _serve(
        self, crew: Crew, native: NativeKeeper, workshop: Workshop, loop: asyncio.AbstractEventLoop
    ) -> None:
        has_cached = self.shelf.has_cached()
        crew.start(preload=has_cached)
        if not has_cached:
            await workshop.start()
        stopping = asyncio.create_task(self._stop.wait())
        looking = asyncio.create_task(asyncio.to_thread(self._look_first))
        if not await _first(stopping, looking):
            return
        cast = Cast(loop, crew, native)
        follower = Follower(
            self.watch,
            Bench(loop, self.shelf, workshop, cast),
            cast,
            self.shelf,
            self._telemetry,
            interval_s=self.settings.poll_interval_s,
            cache_limit_bytes=self.settings.cache_limit_bytes,
            announce=lambda state: self._announce(cast, state),
        )
        follower.start()
        while not stopping.done():
            workshop.end_if_idle(is_needed=native.is_wanted)
            await asyncio.wait([stopping], timeout=HOUSEKEEPING_S)
        follower.stop()
        cast.close()
        await asyncio.to_thread(follower.join, FOLLOWER_STOP_S)

    def _announce(self, cast: "Cast", state: State) -> None:
        """In the follower's thread: who is told that the server is up may ask it at once."""
        cast.wait_ready()
        self.announce(state)

    def _look_first(self) -> None:
        """A model that does not exist, or a server that nobody can reach, is said at once."""
        try:
            self.watch.look()
        except UnreachableError:
            if not self.shelf.has_cached():
                raise


async def _first(stopping: "asyncio.Task[Any]", work: "asyncio.Future[Any]") -> bool:
    """Waits for work; returns False if the server is told to stop before it is done."""
    await asyncio.wait([stopping, work], return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        with suppress(asyncio.CancelledError, GreenroomError):
            await work
        return False
    await work
    return True


class _Bridge:
    """Lets the follower's thread wait for what happens in the supervisor's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[Future[Any]] = set()
        self._closed = threading.Event()

    def close(self) -> None:
        """Lets nobody wait any longer."""
        self._closed.set()
        for future in list(self._running):
            future.cancel()

    def _wait(self, work: "Coroutine[Any, Any, _T]") -> "_T":
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._running.add(future)
        if self._closed.is_set():
            future.cancel()
        try:
            return future.result()
        finally:
            self._running.discard(future)


class Cast(_Bridge):
    """All who answer requests, told the same: see :class:`~serving.following.Cast`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, crew: Crew, native: NativeKeeper) -> None:
        super().__init__(loop)
        self._crew = crew
        self._native = native

    def warm(self, model: PreparedModel) -> None:
        """Loads a version everywhere, beside what is served."""
        self._wait(self.warm_up(model))

    def show(self, state: State) -> None:
        """Puts a state on stage everywhere."""
        self._wait(self._show(state))

    def wait_ready(self) -> None:
        """Returns once every worker answers HTTP."""
        self._wait(self._crew.wait_ready())

    async def warm_up(self, model: PreparedModel) -> None:
        """The same as :meth:`warm`, for the event loop's own."""
        await self._native.warm(model)
        await self._crew.warm(model)

    async def _show(self, state: State) -> None:
        await self._crew.show(state)
        self._native.show(state)


class Bench:
    """Prepares versions beside everything else: see :class:`~serving.following.Preparing`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shelf: Shelf, workshop: Workshop, cast: Cast) -> None:
        self._loop = loop
        self._shelf = shelf
        self._workshop = workshop
        self._cast = cast
        self._jobs: dict[Target, Future[PreparedModel]] = {}

    def prepare(self, target: Target, wake: Callable[[], None]) -> PreparedModel | None:
        """What has become of it: a model, an error, or None while it is being prepared."""
        job = self._jobs.get(target)
        if job is None:
            job = asyncio.run_coroutine_threadsafe(self._prepare(target), self._loop)
            self._jobs[target] = job
            job.add_done_callback(lambda _: wake())
        if not job.done():
            return None
        del self._jobs[target]
        return job.result()

    async def _prepare(self, target: Target) -> PreparedModel:
        model = await asyncio.to_thread(self._shelf.find, target)
        if model is None:
            model = await self._workshop.prepare(target)
        await self._cast.warm_up(model)
        return model
