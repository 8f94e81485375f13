"""One scoring server: binds its port, follows its stage in a thread, answers until told to stop.

SIGTERM and Ctrl-C stop taking connections and let requests in flight finish.
"""

import functools
import importlib.metadata
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn

from registry import GreenroomError, Settings, UnreachableError, open_store

from .app import ScoringApp
from .cache import ModelCache
from .following import Follower
from .holding import StageWatch
from .inference import Inference
from .live import Live
from .preparing import Preparer
from .settings import ServeSettings
from .telemetry import Telemetry

__all__ = ["serve"]

DRAIN_S: Final = 30
"""How long requests in flight may take to finish after a signal."""
KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of the usual load balancers, so that they hang up first, never we on them."""
CHATTY: Final = ("mlflow.models.utils", "mlflow.pyfunc.scoring_server")
"""Loggers that write a warning per request, with the caller's column names in it."""
FOLLOWER_STOP_S: Final = 2.0
STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class PortError(GreenroomError):
    """The address cannot be bound."""

    code = "port"


def serve(settings: ServeSettings, environment: Settings, *, announce: Callable[[str, Live], None]) -> None:
    """Serves until SIGTERM (returns) or Ctrl-C (raises KeyboardInterrupt), both after the last answer.

    Args:
        settings: What to serve, and where.
        environment: Where MLflow and the cache are.
        announce: Told the server's address and state once it has looked at its stage for the first time,
            and again when the first model goes on stage.

    Raises:
        PortError: The address cannot be bound.
        NotFoundError: There is no such model.
        UnreachableError: MLflow does not answer, and nothing of the model is in the cache.
        GreenroomError: Any other reason why it cannot start.
    """
    _log_to_stderr()
    with _bind(settings.host, settings.port) as listener:
        address = _format_address(settings.host, listener.getsockname()[1])
        connect = functools.cache(lambda: open_store(environment))  # a failure is not kept: tried again
        cache = ModelCache(Path(environment.cache_dir).expanduser() / "serving")
        watch = StageWatch(connect, settings.model, settings.stage, template=environment.ledger_experiment)
        preparer = Preparer(
            connect,
            cache,
            server=_name_server(environment),
            model=settings.model,
            stage=settings.stage,
            trust_author=settings.trust_author,
        )
        _look_first(watch, preparer)
        live, telemetry = Live(), Telemetry(settings.model)
        follower = Follower(
            watch,
            preparer,
            live,
            telemetry,
            interval_s=settings.poll_interval_s,
            announce=lambda: announce(address, live),
        )
        _run(settings, listener, live, telemetry, follower)


def _name_server(environment: Settings) -> str:
    """The two addresses of MLflow without user and password, which may change."""
    uris = (environment.registry_uri, environment.tracking_uri)
    return " ".join(re.sub(r"//[^/@]*@", "//", uri) for uri in uris)


def _look_first(watch: StageWatch, preparer: Preparer) -> None:
    """A model that does not exist, or a server that nobody can reach, is said at once."""
    try:
        watch.look()
    except UnreachableError:
        if not preparer.has_cached():
            raise


def _run(
    settings: ServeSettings, listener: socket.socket, live: Live, telemetry: Telemetry, follower: Follower
) -> None:
    inference = Inference(
        threads=settings.threads, max_waiting=settings.max_waiting, timeout_s=settings.timeout_s
    )
    app = ScoringApp(
        settings,
        live=live,
        inference=inference,
        telemetry=telemetry,
        mlflow_version=importlib.metadata.version("mlflow"),
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
    server = _Server(config)
    follower.start()
    server.run([listener])
    stopped = follower.stop(FOLLOWER_STOP_S)
    if inference.close() or not stopped:
        _leave_running_threads(130 if server.interrupted else 0)
    if server.interrupted:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """uvicorn, but a signal that was obeyed is not raised once more afterwards."""

    interrupted = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortError(
            f"{_format_address(host, port)} cannot be bound: {reason}.",
            hint="Choose another --port (0 takes a free one) or --host.",
        ) from error


def _format_address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log: Any = logging.getLogger("greenroom.serving")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


def _leave_running_threads(code: int) -> None:
    """A prediction or a download that cannot be stopped would hold up Python's own exit for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
