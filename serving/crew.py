"""The workers, as the supervisor sees them: started, replaced when they end, all told the same."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from registry import ArtifactError, get_child_environment

from .accepting import Board
from .channel import Handler, LostError, Peer, open_peer
from .children import CHILD_ENVIRONMENT
from .live import PreparedModel, State, dump
from .settings import ServeSettings
from .telemetry import Telemetry

__all__ = ["Crew"]

WARM_S: Final = 120.0
"""A worker that takes longer to open a plan hangs."""
SHOW_S: Final = 10.0
COLLECT_S: Final = 0.5
"""A worker that is busy for longer is counted by what it said before."""
GRACE_S: Final = 32.0
"""How long workers may take to finish requests in flight: their own patience, and a moment."""
SHORT_LIFE_S: Final = 5.0
MAX_PAUSE_S: Final = 5.0
"""A worker that ends again and again is started ever more rarely, up to this pause."""

_log = logging.getLogger("greenroom.serving")


@dataclass(slots=True)
class _Member:
    name: str
    process: asyncio.subprocess.Process
    peer: Peer
    listening: "asyncio.Task[None]" = field(repr=False)

    def end(self) -> None:
        """Ends it at once."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)


class Crew:
    """All workers of one server.

    Args:
        settings: The server's.
        listener: The listening socket they share.
        native: Path of the native process's socket.
        mlflow_version: What they say at ``GET /version``.
        telemetry: Where their counts add up.
        want_native: Called when a worker has something for the native process.
        log: Path of the socket of the log's clerk; None: nothing is logged.
    """

    def __init__(
        self,
        settings: ServeSettings,
        listener: socket.socket,
        native: Path,
        *,
        mlflow_version: str,
        telemetry: Telemetry,
        want_native: Callable[[], None],
        log: Path | None = None,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._native = native
        self._mlflow_version = mlflow_version
        self._telemetry = telemetry
        self._want_native = want_native
        self._log = log
        self._board_file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._board_file.truncate(settings.workers * Board.WIDTH)
        self._board = Board(self._board_file.fileno(), settings.workers)
        self._members: dict[int, _Member] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._ready: list[asyncio.Event] = []
        self._preload = False
        self._state = State()
        self._warmed: dict[str, PreparedModel] = {}
        self._telling = asyncio.Lock()
        self._stopping = False

    def start(self, *, preload: bool) -> None:
        """Starts all workers.

        Args:
            preload: They will be given a plan in a moment, and import what it needs at once.
        """
        self._preload = preload
        self._ready = [asyncio.Event() for _ in range(self._settings.workers)]
        self._keepers = [asyncio.create_task(self._keep(place, up)) for place, up in enumerate(self._ready)]

    async def wait_ready(self) -> None:
        """Returns once every worker answers HTTP."""
        waiting = asyncio.gather(*(up.wait() for up in self._ready))
        everything: list[asyncio.Future[Any]] = [waiting, *self._keepers]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()
        await waiting

    async def warm(self, model: PreparedModel) -> None:
        """Has every worker load a version beside what it has.

        Raises:
            ArtifactError: One of them cannot.
        """
        async with self._telling:
            answers = await self._ask_all("warm", WARM_S, model=dump(model))
            problems = [answer["problem"] for answer in answers if answer and "problem" in answer]
            if problems:
                raise ArtifactError(problems[0])
            if answers and not any(answer is not None for answer in answers):
                raise ArtifactError(f"The workers ended when they opened version {model.version}.")
            self._warmed[model.manifest] = model

    async def show(self, state: State) -> None:
        """Puts a state on stage in every worker; what it names is loaded, everything else is dropped."""
        async with self._telling:
            self._state = state
            self._warmed = {}
            await self._ask_all("show", SHOW_S, state=dump(state))

    async def collect(self) -> bytes:
        """The telemetry of all workers, as Prometheus reads it."""
        await self._note_all()
        return self._telemetry.render()

    async def _note_all(self) -> None:
        members = list(self._members.values())
        asked = [member.peer.ask("count", COLLECT_S) for member in members]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for member, answer in zip(members, answers, strict=True):
            if not isinstance(answer, BaseException):
                self._telemetry.note(member.name, answer["counts"])

    async def drain(self) -> None:
        """Lets the workers finish what they have; returns when they are gone."""
        self._stopping = True
        for member in self._members.values():
            member.peer.tell("drain")
        _, late = await asyncio.wait(self._keepers, timeout=GRACE_S)
        self.kill()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def kill(self) -> None:
        """Ends them at once."""
        self._stopping = True
        for member in self._members.values():
            member.end()

    async def _ask_all(self, op: str, timeout_s: float, **fields: Any) -> Sequence[Mapping[str, Any] | None]:
        """The workers' answers; None for one that is lost, which is ended, so that it does not lag behind."""

        async def ask(member: _Member) -> Mapping[str, Any] | None:
            try:
                return await member.peer.ask(op, timeout_s, **fields)
            except LostError:
                member.end()
                return None

        return await asyncio.gather(*(ask(member) for member in self._members.values()))

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _keep(self, place: int, up: asyncio.Event) -> None:
        """Keeps one place filled."""
        short_lives = 0
        while not self._is_stopping():
            began_s = time.monotonic()
            member = await self._start(place)
            if await self._bring_up(place, member):
                up.set()
            await member.listening
            exit_code = await member.process.wait()
            self._members.pop(place, None)
            self._board.clear(place)
            self._telemetry.bury(member.name)
            if self._is_stopping():
                return
            self._telemetry.count_restart("worker")
            _log.error("Worker %d ended by itself (exit code %d); another is started.", place, exit_code)
            short_lives = short_lives + 1 if time.monotonic() - began_s < SHORT_LIFE_S else 0
            await asyncio.sleep(min(0.05 * 4**short_lives, MAX_PAUSE_S) if short_lives > 1 else 0)

    async def _start(self, place: int) -> _Member:
        ours, theirs = socket.socketpair()
        listener, board = self._listener.fileno(), self._board_file.fileno()
        order = {
            "place": place,
            "control": theirs.fileno(),
            "listener": listener,
            "board": board,
            "native": str(self._native),
            "log": str(self._log) if self._log else None,
            "mlflow_version": self._mlflow_version,
            "preload": self._preload,
            "settings": asdict(self._settings),
        }
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "serving.worker", orjson.dumps(order).decode()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                pass_fds=(theirs.fileno(), listener, board),
                env=get_child_environment(CHILD_ENVIRONMENT),
                start_new_session=True,
            )
        name = f"{place}.{process.pid}.{os.urandom(4).hex()}"
        peer = await open_peer(ours, self._answer(name))
        return _Member(name, process, peer, asyncio.create_task(peer.run()))

    async def _bring_up(self, place: int, member: _Member) -> bool:
        """A worker answers nobody before it serves what all others serve."""
        async with self._telling:
            try:
                for model in (*self._state.loaded, *self._warmed.values()):
                    answer = await member.peer.ask("warm", WARM_S, model=dump(model))
                    if "problem" in answer:
                        _log.error(
                            "A new worker cannot load version %s: %s", model.version, answer["problem"]
                        )
                await member.peer.ask("show", WARM_S, state=dump(self._state))
            except LostError:
                member.end()
                return False
            self._members[place] = member
        return True

    def _answer(self, name: str) -> Handler:
        async def answer(message: Mapping[str, Any]) -> Mapping[str, Any]:
            match message["op"]:
                case "want_native":
                    self._want_native()
                case "count":
                    self._telemetry.note(name, message["counts"])
                case "collect":
                    return {"text": (await self.collect()).decode()}
                case "tell_log":
                    await self._note_all()
                    return {"log": self._telemetry.describe_log()}
            return {}

        return answer
