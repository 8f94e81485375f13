"""A Python that has imported MLflow already, and forks itself for every piece of work that needs it.

Importing takes seconds, opening most models a fraction of one. So the supervisor starts one workshop when
the first version is to be prepared, or the native process is needed; both run in forks of it. The workshop
itself never opens a model.

Its standard input is one end of a socket pair. For each piece of work the supervisor sends one byte, and with
it the work's own end of another pair (for the native process also the socket where workers knock). When the
supervisor is gone, the workshop ends with all its children.
"""

import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from registry import ArtifactError, GreenroomError, open_store, read_settings

from .budget import within
from .cache import ModelCache
from .live import dump
from .logs import log_to_stderr
from .preparing import Preparer
from .settings import ServeSettings
from .target import Target
from .wording import locate_error

__all__ = ["MAX_ORDER_BYTES", "NATIVE", "PREPARE", "main", "prepare"]

PREPARE: Final = b"p"
NATIVE: Final = b"n"
MAX_ORDER_BYTES: Final = 1 << 20

PRELOADED: Final = (
    "mlflow.pyfunc.scoring_server",
    "mlflow.sklearn",
    "pandas",
    "pyarrow.parquet",
    "skops.io",
    "sklearn.pipeline",
)
"""What nearly every model needs; one that needs more imports it itself."""

_log = logging.getLogger("greenroom.serving")


def main() -> int:
    """Works until the supervisor is gone."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    while True:
        kind, ends, _, _ = socket.recv_fds(control, 1, 2)
        if not kind:
            os.killpg(0, signal.SIGKILL)  # the group is the workshop's own
        if os.fork() == 0:
            _work(kind, [socket.socket(fileno=end) for end in ends], control)
        for end in ends:
            os.close(end)


def _work(kind: bytes, ends: list[socket.socket], control: socket.socket) -> NoReturn:
    """A child's whole life; it never returns into the workshop's loop."""
    exit_code = 1
    try:
        control.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log_to_stderr("native" if kind == NATIVE else "preparation")
        order = json.loads(_read_line(ends[0]))
        if kind == NATIVE:
            _serve(ends[0], ends[1], ServeSettings(**order["settings"]))
        else:
            _send(ends[0], prepare(order, lambda error: _give_up(ends[0], error)))
        exit_code = 0
    except Exception as error:  # noqa: BLE001 - this process's run border
        _log.error("%s", locate_error(error))
    finally:
        sys.stderr.flush()
        os._exit(exit_code)


def _send(end: socket.socket, answer: Mapping[str, Any]) -> None:
    end.sendall(json.dumps(answer).encode())


def _give_up(end: socket.socket, error: ArtifactError) -> NoReturn:
    _send(end, _refuse(error))
    os._exit(0)


def _serve(control: socket.socket, listener: socket.socket, settings: ServeSettings) -> None:
    from .native import run_native  # noqa: PLC0415 - the one of two kinds of work

    control.sendall(json.dumps({"op": "up", "pid": os.getpid()}).encode() + b"\n")
    asyncio.run(run_native(control, listener, settings))


def prepare(order: Mapping[str, Any], give_up: Callable[[ArtifactError], None]) -> Mapping[str, Any]:
    """Prepares one version as an order says.

    Args:
        order: Of :class:`~serving.jobs.Workshop`.
        give_up: Told that the version takes too much memory.

    Returns:
        The model, or why there is none, as a JSON document.
    """
    preparer = Preparer(
        lambda: open_store(read_settings()),
        ModelCache(Path(order["cache"])),
        model=order["model"],
        trust_author=order["trust_author"],
        trial=lambda: within(order["memory_budget_bytes"], give_up),
    )
    try:
        return {"model": dump(preparer.prepare(Target(**order["target"])))}
    except GreenroomError as error:
        return _refuse(error)
    except OSError as error:  # the disk is full, or the cache folder was taken away
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return _refuse(ArtifactError(f"The cache folder {order['cache']} cannot take it: {reason}."))


def _refuse(error: GreenroomError) -> Mapping[str, Any]:
    return {"problem": {"code": error.code, "what": error.what, "hint": error.hint}}


def _read_line(end: socket.socket) -> bytes:
    """One line, and not a byte more: what follows belongs to others."""
    line = bytearray()
    while len(line) < MAX_ORDER_BYTES:
        piece = end.recv(1)
        if not piece or piece == b"\n":
            break
        line += piece
    return bytes(line)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
