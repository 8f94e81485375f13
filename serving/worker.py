"""One worker: answers HTTP from plans it has loaded, and asks the native process for the rest.

It never imports MLflow, pandas or scikit-learn. The supervisor tells it what to load and what to serve.
"""

import asyncio
import gc
import importlib
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop

from registry import GreenroomError

from .accepting import Acceptor, Board
from .app import OnStage, ScoringApp
from .asking import NativeLine, NativeVersion
from .batching import CompiledVersion, Plan
from .channel import LostError, Peer, open_peer
from .connection import FastConnection
from .counting import Counts
from .lane import FastLane
from .live import PreparedModel, ServedModel, parse_model, parse_state
from .logs import log_to_stderr
from .memory import return_freed_memory
from .predictions.outlet import Outlet
from .scorer import Scorer
from .settings import ServeSettings
from .tokens import Gate

__all__ = ["WorkerOrder", "main"]

DRAIN_S: Final = 30
"""How long requests in flight may take to finish when the server stops."""
KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of the usual load balancers, so that they hang up first, never we on them."""
COLLECT_S: Final = 5.0
REPORT_S: Final = 1.0

_log = logging.getLogger("greenroom.serving")


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """What a worker is told when it starts.

    Attributes:
        place: Its number, from 0.
        control: File descriptor of the channel to the supervisor.
        listener: File descriptor of the shared listening socket.
        board: File descriptor of the board of connection counts.
        native: Path of the native process's socket.
        log: Path of the socket of the log's clerk; None: nothing is logged.
        mlflow_version: What ``GET /version`` says.
        preload: A plan will come in a moment.
        settings: The server's.
    """

    place: int
    control: int
    listener: int
    board: int
    native: str
    log: str | None
    mlflow_version: str
    preload: bool
    settings: Mapping[str, Any]


class _Server(uvicorn.Server):
    """uvicorn with our acceptor, told by the supervisor when to stop."""

    def __init__(self, config: uvicorn.Config, lane: FastLane) -> None:
        super().__init__(config)
        self.acceptor: Acceptor | None = None
        self._lane = lane

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        self.servers = []
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.acceptor is not None:
            self.acceptor.stop()
        await super().shutdown(sockets)

    def make_protocol(self) -> asyncio.Protocol:
        return FastConnection(self._lane, config=self.config, server_state=self.server_state, app_state={})

    async def on_tick(self, counter: int) -> bool:
        """What comes again and again: every tenth of a second, as uvicorn counts."""
        must_end = await super().on_tick(counter)
        if counter % 10 == 0:
            self._lane.date = self.server_state.default_headers
        if counter % 50 == 0:
            now_s = time.perf_counter()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, FastConnection)
                connection.close_if_idle(now_s, KEEP_ALIVE_S)
        return must_end

    def count(self) -> int:
        return len(self.server_state.connections)


class Worker:
    """What one worker has loaded, and what it serves."""

    def __init__(self, order: WorkerOrder) -> None:
        self._settings = ServeSettings(**order.settings)
        self._order = order
        self._counts = Counts()
        self._stage = OnStage()
        self._scorers: dict[str, Scorer] = {}
        self._peer: Peer | None = None
        settings = self._settings
        self._line = NativeLine(
            Path(order.native),
            self._want_native,
            max_asked=settings.threads + settings.max_waiting,
            timeout_s=settings.timeout_s,
        )
        self._outlet: Outlet | None = None

    async def run(self) -> None:
        """Serves until told to stop, or until the supervisor is gone."""
        if self._order.log is not None:
            self._outlet = self._make_outlet(Path(self._order.log))
        server = self._make_server()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        control = socket.socket(fileno=self._order.control)
        self._peer = await open_peer(control, lambda message: self._obey(message, server))
        listening = asyncio.ensure_future(self._peer.run())
        listening.add_done_callback(lambda _: setattr(server, "should_exit", True))
        reporting = asyncio.create_task(self._report())
        await server._serve()  # noqa: SLF001 - without uvicorn's own signal handlers
        reporting.cancel()
        if self._outlet is not None:
            await self._outlet.close()
        if not listening.done():
            self._peer.tell("count", counts=self._dump_counts())
        self._peer.close()
        await listening

    def _make_outlet(self, path: Path) -> Outlet:
        settings = self._settings
        return Outlet(
            path, self._counts.log, sample=settings.log_sample, limit_bytes=settings.log_buffer_bytes
        )

    def _make_server(self) -> _Server:
        gate = Gate(self._settings.token_file)
        app = ScoringApp(
            self._settings,
            stage=self._stage,
            counts=self._counts,
            collect=self._collect,
            gate=gate,
            outlet=self._outlet,
            tell_log=self._tell_log if self._outlet is not None else None,
            mlflow_version=self._order.mlflow_version,
        )
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        config.load()
        lane = FastLane(self._stage, self._counts, gate, app.choose_request_id, self._outlet)
        return _Server(config, lane)

    async def _obey(self, message: Mapping[str, Any], server: _Server) -> Mapping[str, Any]:
        match message["op"]:
            case "warm":
                return await self._warm(parse_model(message["model"]))
            case "show":
                self._show(message["state"])
                if server.acceptor is None:
                    server.acceptor = self._accept(server)
            case "count":
                return {"counts": self._dump_counts()}
            case "drain":
                server.should_exit = True
        return {}

    async def _warm(self, model: PreparedModel) -> Mapping[str, Any]:
        if model.manifest in self._scorers:
            return {}
        native = NativeVersion(self._line, model.manifest)
        scorer: Scorer = native
        if model.plan is not None:
            try:
                plan = await asyncio.to_thread(_open_plan, Path(model.plan))
            except GreenroomError as error:
                return {"problem": str(error)}
            scorer = CompiledVersion(
                plan,
                native,
                version=model.version,
                counts=self._counts,
                max_rows=self._settings.max_rows,
            )
        self._scorers[model.manifest] = scorer
        return {}

    def _show(self, document: Mapping[str, Any]) -> None:
        """The swap: from the next request on, another version answers."""
        state = parse_state(document)
        model = state.model
        served = ServedModel(model, self._find_scorer(model)) if model else None
        self._stage.state = state
        self._stage.served = served
        for manifest in self._scorers.keys() - {loaded.manifest for loaded in state.loaded}:
            del self._scorers[manifest]

    def _find_scorer(self, model: PreparedModel) -> Scorer:
        """What was loaded; a plan that could not be opened here leaves all to MLflow's own code."""
        return self._scorers.get(model.manifest) or NativeVersion(self._line, model.manifest)

    def _accept(self, server: _Server) -> Acceptor:
        listener = socket.socket(fileno=self._order.listener)
        listener.setblocking(False)
        board = Board(self._order.board, self._settings.workers, self._order.place)
        acceptor = Acceptor(listener, board, count=server.count, make_protocol=server.make_protocol)
        acceptor.start()
        return acceptor

    async def _report(self) -> None:
        """Says now and then what was counted, in case this worker does not get to say its last words."""
        assert self._peer is not None
        said = 0
        while True:
            await asyncio.sleep(REPORT_S)
            total = self._counts.requests.total() + self._counts.log.total()
            if total != said:
                said = total
                self._peer.tell("count", counts=self._dump_counts())

    def _dump_counts(self) -> Mapping[str, Any]:
        return self._counts.dump(self._line.waiting)

    def _want_native(self) -> None:
        if self._peer is not None:
            self._peer.tell("want_native")

    async def _collect(self) -> bytes:
        """The telemetry of all workers, from the supervisor."""
        assert self._peer is not None
        try:
            answer = await self._peer.ask("collect", COLLECT_S)
        except LostError:
            return b""  # the supervisor is gone, and this worker follows it
        text: str = answer["text"]
        return text.encode()

    async def _tell_log(self) -> Mapping[str, Any] | None:
        """What became of predictions that were to be logged, in all workers, from the supervisor."""
        assert self._peer is not None
        try:
            answer = await self._peer.ask("tell_log", COLLECT_S)
        except LostError:
            return None  # the supervisor is gone, and this worker follows it
        told: Mapping[str, Any] | None = answer["log"]
        return told


def _open_plan(folder: Path) -> Plan:
    from .compiled.plan import open_plan  # noqa: PLC0415 - NumPy and ONNX Runtime, where there is a plan only

    plan = open_plan(folder)
    plan.warm()
    return_freed_memory()
    return plan


def main(text: str) -> int:
    """Runs a worker from its order, a JSON document."""
    order = WorkerOrder(**json.loads(text))
    log_to_stderr(f"worker {order.place}")
    if order.preload:
        importlib.import_module("serving.compiled.plan")
    gc.freeze()  # what is imported stays; collections look at requests only
    uvloop.run(Worker(order).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
