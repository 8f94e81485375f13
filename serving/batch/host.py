"""A Python that has imported MLflow already, and forks itself for every worker of a batch.

Its standard input is one end of a socket pair; for each worker the driver sends a byte, and with it the
worker's own end of another pair. When the driver is gone, whatever ended it, all of them end.
"""

import ctypes
import importlib
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from .worker import work

__all__ = ["main"]

PRELOADED: Final = (
    "skops.io",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "pandas",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sklearn.pipeline",
    "serving.batch.parts",
    "serving.batch.fetching",
)
"""What nearly every model needs; one that needs more imports it itself."""
PR_SET_PDEATHSIG: Final = 1
"""Of ``prctl``, from ``linux/prctl.h``."""


def main() -> int:
    """Forks until the driver is gone."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        with suppress(ImportError):  # the model that needs it will say so
            importlib.import_module(name)
    while True:
        said, ends, _, _ = socket.recv_fds(control, 1, 1)
        if not said:
            os.killpg(0, signal.SIGKILL)  # the group is the host's own
        for end in ends:
            if os.fork() == 0:
                control.close()
                _live(socket.socket(fileno=end))
            os.close(end)


def _live(line: socket.socket) -> NoReturn:
    """A worker's whole life; it never returns into the host's loop."""
    try:
        _die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        work(line)
    except OSError:
        pass  # the driver hung up
    finally:
        sys.stderr.flush()
        os._exit(0)


def _die_with_parent() -> None:
    """Where the system can do it (Linux): a host that is killed takes its workers along."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
