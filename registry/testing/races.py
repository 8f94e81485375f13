"""Many at once: every racer starts at the same moment, and nobody's outcome is lost."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_race"]

Outcome = TypeVar("Outcome")


def run_race(
    racers: Sequence[Callable[[], Outcome]], expected: type[Exception]
) -> tuple[list[Outcome], list[Exception]]:
    """Runs all at once, each in a thread.

    Args:
        racers: What each does.
        expected: The error of a fair loser; any other is raised.

    Returns:
        What the winners returned, and the losers' errors.
    """
    gate = threading.Barrier(len(racers))

    def start(racer: Callable[[], Outcome]) -> Outcome:
        gate.wait()
        return racer()

    won: list[Outcome] = []
    lost: list[Exception] = []
    with ThreadPoolExecutor(len(racers)) as pool:
        for future in [pool.submit(start, racer) for racer in racers]:
            try:
                won.append(future.result())
            except expected as error:
                lost.append(error)
    return won, lost
