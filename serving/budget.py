"""How much memory a version may take when it is tried out."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry import ArtifactError

from .settings import MIB

__all__ = ["within"]

WATCH_S: Final = 0.02
"""How often the memory is looked at."""


@contextmanager
def within(limit_bytes: int, give_up: Callable[[ArtifactError], None]) -> Iterator[None]:
    """Watches what this process takes on top of what it has, while the block runs.

    Args:
        limit_bytes: More is too much; 0: any amount may be taken.
        give_up: Called from another thread, in the middle of the block, as soon as it is too much; ends the
            process before the machine is out of memory.

    Raises:
        ArtifactError: It is too much at the end of the block.
    """
    if not limit_bytes:
        yield
        return
    before_bytes = _measure_memory()
    done = threading.Event()

    def find_problem() -> ArtifactError | None:
        taken = _measure_memory() - before_bytes
        return _word(taken, limit_bytes) if taken > limit_bytes else None

    def watch() -> None:
        while not done.wait(WATCH_S):
            if (problem := find_problem()) is not None:
                give_up(problem)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if (problem := find_problem()) is not None:
        raise problem


def _word(taken: int, limit_bytes: int) -> ArtifactError:
    return ArtifactError(
        f"The model takes {taken // MIB} MB of memory, more than the {limit_bytes // MIB} MB of "
        "--memory-budget-mb.",
        hint="Make it smaller, or raise the budget.",
    )


def _measure_memory() -> int:
    """Bytes of this process in memory, files that it shares with others aside."""
    resident, shared = map(int, Path("/proc/self/statm").read_text("ascii").split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
