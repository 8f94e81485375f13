"""One scoring server: binds its port and runs its supervisor until told to stop.

SIGTERM and Ctrl-C stop taking connections and let requests in flight finish.
"""

import asyncio
import functools
import importlib.metadata
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from registry import GreenroomError, Settings, open_store

from .bundled import BundledVersion, FolderWatch
from .cache import ModelCache
from .holding import StageWatch, Watch
from .live import State
from .logs import log_to_stderr
from .preparing import Shelf
from .settings import ServeSettings
from .supervisor import Supervisor
from .tokens import Gate

__all__ = ["serve"]


class PortError(GreenroomError):
    """The address cannot be bound."""

    code = "port"


def serve(
    settings: ServeSettings,
    environment: Settings,
    *,
    announce: Callable[[str, State], None],
    bundled: BundledVersion | None = None,
) -> None:
    """Serves until SIGTERM (returns) or Ctrl-C (raises KeyboardInterrupt), both after the last answer.

    Args:
        settings: What to serve, and where.
        environment: Where MLflow and the cache are.
        announce: Told the server's address and state once it has looked at its stage for the first time,
            and again when the first model goes on stage.
        bundled: A version out of a folder, to serve instead of following a stage.

    Raises:
        PortError: The address cannot be bound.
        UsageError: The token file or the cache folder cannot be used.
        NotFoundError: There is no such model.
        UnreachableError: MLflow does not answer, and nothing of the model is in the cache.
        GreenroomError: Any other reason why it cannot start.
    """
    log_to_stderr("supervisor")
    Gate(settings.token_file)
    with _bind(settings.host, settings.port) as listener:
        address = _format_address(settings.host, listener.getsockname()[1])
        connect = functools.cache(lambda: open_store(environment))  # a failure is not kept: tried again
        cache = ModelCache(Path(environment.cache_dir).expanduser().absolute() / "serving")
        watch: Watch = (
            FolderWatch(bundled, cache)
            if bundled
            else StageWatch(connect, settings.model, settings.stage, template=environment.ledger_experiment)
        )
        shelf = Shelf(
            cache,
            server=f"folder {bundled.folder.absolute()}" if bundled else _name_server(environment),
            model=settings.model,
            stage=settings.stage,
            trust_author=settings.trust_author,
        )
        if asyncio.run(_run(settings, listener, watch, shelf, lambda state: announce(address, state))):
            raise KeyboardInterrupt


async def _run(
    settings: ServeSettings,
    listener: socket.socket,
    watch: Watch,
    shelf: Shelf,
    announce: Callable[[State], None],
) -> bool:
    supervisor = Supervisor(
        settings,
        listener,
        watch,
        shelf,
        mlflow_version=importlib.metadata.version("mlflow"),
        announce=announce,
    )
    return await supervisor.run()


def _name_server(environment: Settings) -> str:
    """The two addresses of MLflow without user and password, which may change."""
    uris = (environment.registry_uri, environment.tracking_uri)
    return " ".join(re.sub(r"//[^/@]*@", "//", uri) for uri in uris)


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
