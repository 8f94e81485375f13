"""A Python that has MLflow imported already, and forks itself for every model that is to answer.

Importing MLflow takes seconds, opening most models a fraction of one. So a process that judges models
starts one nursery at the first of them; the nursery imports, and from then on each model gets a process of
its own by a fork: its own memory, its own group, none of the caller's credentials, because the nursery
never had any. The nursery itself never opens a model. It ends with the process that started it, or when
it was idle for long.

How they talk: the nursery's standard input is one end of a socket pair. For each model the asker sends one
end of another pair through it, and one line of JSON through that. The exit code comes back the same way;
when the asker's end closes, for whatever reason, the model is killed with everything it started.
"""

import atexit
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from . import prediction

__all__ = ["ForkedProcess", "fork_answer", "prepare_nursery"]

IDLE_S: Final = 60.0
"""After that long without a model the nursery ends: it holds some 200 MB."""

REAP_S: Final = 0.01
"""How often ended models are looked for while there are any."""

KILL_S: Final = 10.0
"""How long a killed process may take to be gone."""

PR_SET_PDEATHSIG: Final = 1
"""Of ``prctl``, from ``linux/prctl.h``."""

PRELOADED: Final = (
    "skops.io",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "pandas",
    "pyarrow.parquet",
    "sklearn.pipeline",
)
"""What nearly every model needs; one that needs more imports it itself.

skops looks for NumPy's functions in all modules there are: first, while there are few, it takes 0.5 s less.
"""

LOST: Final = -signal.SIGKILL
"""Exit code of a model whose nursery is gone: something killed it."""


class ForkedProcess:
    """A model that answers in a process of its own, together with everything it starts."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """The exit code (minus the signal's number, if one ended it), or None while it runs."""
        return self._receive(0.0)

    def kill(self) -> None:
        """Ends it at once, with everything it started; returns when they are gone. Idempotent."""
        if self._exit_code is None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_WR)
            self._receive(KILL_S)
        self._line.close()

    def _receive(self, timeout_s: float) -> int | None:
        if self._exit_code is None and select.select([self._line], [], [], timeout_s)[0]:
            try:
                said = self._line.recv(16)
            except OSError:
                said = b""
            self._exit_code = int(said) if said else LOST
        return self._exit_code


class _Nursery:
    """The asker's side of a nursery."""

    def __init__(self, env: Mapping[str, str], idle_s: float = IDLE_S) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - Python itself
                [sys.executable, "-P", "-W", "ignore", "-m", "registry.nursery", str(idle_s)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**env, "HOME": os.devnull},
                cwd="/",
                start_new_session=True,
            )

    def fork(self, request: Path, folder: Path) -> ForkedProcess:
        """Asks for a process.

        Raises:
            OSError: The nursery takes no more: it was idle for long, or is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
                ours.sendall(json.dumps({"request": str(request), "folder": str(folder)}).encode())
            except OSError:
                ours.close()
                raise
        return ForkedProcess(ours)

    def close(self) -> None:
        """Lets it end with the last of its models."""
        self._control.close()

    def end(self) -> None:
        """Ends it, and its models."""
        self.close()
        self._process.terminate()
        self._process.wait()


_lock: Final = threading.Lock()
_started: Final[list[tuple[int, _Nursery]]] = []
"""Every nursery, and the process that started it: a fork of that process has no say over it."""

_open: Final[dict[tuple[int, frozenset[tuple[str, str]]], _Nursery]] = {}
"""By process and environment, which a nursery has for life."""


def fork_answer(request: Path, *, env: Mapping[str, str], folder: Path) -> ForkedProcess:
    """Has :mod:`registry.prediction` answer a request file, in a process of its own.

    Args:
        request: The file.
        env: The process's whole environment, but for ``HOME``, which is ``folder``.
        folder: Its working directory; what it prints goes to the file ``output`` there.
    """
    key = _name(env)
    with _lock:
        if key in _open:
            try:
                return _open[key].fork(request, folder)
            except OSError:
                _open.pop(key).close()
        return _start(env).fork(request, folder)


def prepare_nursery(env: Mapping[str, str]) -> None:
    """Starts a nursery for this environment, if there is none: it imports while others work."""
    with _lock:
        if _name(env) not in _open:
            _start(env)


def _name(env: Mapping[str, str]) -> tuple[int, frozenset[tuple[str, str]]]:
    return os.getpid(), frozenset(env.items())


def _start(env: Mapping[str, str]) -> _Nursery:
    nursery = _Nursery(env)
    _open[_name(env)] = nursery
    _started.append((os.getpid(), nursery))
    return nursery


@atexit.register
def _end_all() -> None:
    for owner, nursery in _started:
        if owner == os.getpid():
            nursery.end()


class _Ward:
    """The nursery's own side: who waits for a process, and who has one."""

    def __init__(self, control: socket.socket, idle_s: float) -> None:
        self._idle_s = idle_s
        self._control: socket.socket | None = control
        self._waiting: list[socket.socket] = []
        self._models: dict[socket.socket, int] = {}
        self._given_up: set[socket.socket] = set()

    def watch(self) -> None:
        """Forks and reaps until nobody can ask any more."""
        try:
            while self._control or self._waiting or self._models:
                lines = [line for line in self._list_lines() if line not in self._given_up]
                ready = select.select(lines, [], [], REAP_S if self._models else self._idle_s)[0]
                if not ready and not self._models and self._control:
                    self._control.shutdown(
                        socket.SHUT_RD
                    )  # who asks from now on, asks another; what came is served
                for line in ready:
                    self._attend(line)
                self._reap()
        finally:
            for model in self._models.values():
                _kill(model)

    def _list_lines(self) -> list[socket.socket]:
        return [*([self._control] if self._control else []), *self._waiting, *self._models]

    def _attend(self, line: socket.socket) -> None:
        if line is self._control:
            said, handed, _, _ = socket.recv_fds(line, 1, 1)
            self._waiting += [socket.socket(fileno=one) for one in handed]
            if not said:
                self._control = None
        elif line in self._waiting:
            self._waiting.remove(line)
            if said := line.recv(65536):
                self._models[line] = self._fork(line, **json.loads(said))
        else:
            self._given_up.add(line)  # nobody waits for it any more
            _kill(self._models[line])

    def _fork(self, asker: socket.socket, request: str, folder: str) -> int:
        model = os.fork()
        if model == 0:
            for line in (asker, *self._list_lines()):
                line.close()
            _answer(request, folder)
        with suppress(OSError):  # both do it: whoever comes first
            os.setpgid(model, model)
        return model

    def _reap(self) -> None:
        for line, model in list(self._models.items()):
            if os.waitid(os.P_PID, model, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill(model)  # what it started; it is not reaped yet, so its number is nobody else's
            exit_code = os.waitstatus_to_exitcode(os.waitpid(model, 0)[1])
            with suppress(OSError):
                line.sendall(str(exit_code).encode())
            line.close()
            self._given_up.discard(line)
            del self._models[line]


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _answer(request: str, folder: str) -> NoReturn:
    """What a forked process does, and nothing after it."""
    exit_code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with_parent()
        _take_place(folder)
        exit_code = prediction.main([request])
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else error.code is not None
    except BaseException:  # noqa: BLE001 - its last line is the finding
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


def _die_with_parent() -> None:
    """Where the system can do it (Linux): a nursery that is killed takes its models along."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_place(folder: str) -> None:
    import numpy as np  # noqa: PLC0415 - heavy

    os.chdir(folder)
    os.environ["HOME"] = folder
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, opened in enumerate((null, output, output)):
        os.dup2(opened, number)
    np.random.seed()  # noqa: NPY002 - else all models draw the same numbers


def main(idle_s: float) -> int:
    """The nursery's own work."""
    for name in PRELOADED:
        with suppress(ImportError):  # the model that needs it will say so
            importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _Ward(socket.socket(fileno=os.dup(0)), idle_s).watch()
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
