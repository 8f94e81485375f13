"""Runs one program and lets none of its processes outlive the one that asked for it.

A program that starts children of its own (MLflow's server starts uvicorn) survives a parent that is killed
the hard way. So the parent starts this keeper in a session of its own and holds the other end of its
standard input: when that closes, for whatever reason, the whole process group is told to stop, and made to.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

__all__ = ["KeptProcess", "start_kept"]

GRACE_S: Final = 8.0
"""How long a program may take to stop by itself: uvicorn finishes requests in flight."""


class KeptProcess:
    """A running program, together with everything it started."""

    def __init__(self, keeper: "subprocess.Popen[bytes]", grace_s: float) -> None:
        self._keeper = keeper
        self._grace_s = grace_s

    @property
    def pid(self) -> int:
        """The keeper's process id, which is also the id of the whole process group."""
        return self._keeper.pid

    def poll(self) -> int | None:
        """The program's exit code, or None while it runs."""
        return self._keeper.poll()

    def stop(self) -> int:
        """Stops the program and all it started; returns once they are gone. Idempotent."""
        if self._keeper.stdin is not None:
            with suppress(OSError):
                self._keeper.stdin.close()
        try:
            return self._keeper.wait(self._grace_s + 4.0)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Ends them at once, without asking: for programs that have nothing to lose."""
        if self._keeper.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        if self._keeper.stdin is not None:
            with suppress(OSError):
                self._keeper.stdin.close()
        return self._keeper.wait()


def start_kept(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: Path,
    output: "IO[bytes] | int",
    grace_s: float = GRACE_S,
) -> KeptProcess:
    """Starts a program under a keeper, in a session of its own (a terminal's Ctrl-C does not reach it).

    Args:
        command: The program and its arguments.
        env: Its whole environment.
        folder: Its working directory.
        output: Where both its output streams go.
        grace_s: How long it may take to stop by itself when asked.
    """
    keeper = subprocess.Popen(  # noqa: S603 - the command is the caller's own
        [sys.executable, "-P", "-m", "registry.keeper", str(grace_s), *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=dict(env),
        cwd=folder,
        start_new_session=True,
    )
    return KeptProcess(keeper, grace_s)


def main(grace_s: float, command: Sequence[str]) -> int:
    """The keeper's own work: run, watch standard input, clear up."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)  # meant for the program; the keeper goes last
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - as above
    threading.Thread(target=_stop_at_end_of_input, args=(program, grace_s), daemon=True).start()
    exit_code = program.wait()
    _end_group(signal.SIGTERM)
    return exit_code


def _stop_at_end_of_input(program: "subprocess.Popen[bytes]", grace_s: float) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    _end_group(signal.SIGTERM)
    try:
        program.wait(grace_s)
    except subprocess.TimeoutExpired:
        _end_group(signal.SIGKILL)  # takes the keeper along


def _end_group(signum: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(os.getpgrp(), signum)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
