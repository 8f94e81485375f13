"""Watches once, or again and again until Ctrl-C; a server that is away is waited for."""

from collections.abc import Callable
from typing import Final

from registry import UnreachableError

from .report import Report
from .texts import write_text

__all__ = ["watch_again"]

LONGEST_WAIT_S: Final = 60.0
"""After a failure it is tried again after so long at most, even where rounds are hours apart."""


def watch_again(
    look: Callable[[], Report],
    every_s: float,
    *,
    sleep: Callable[[float], None],
    tell: Callable[[str], None],
) -> None:
    """Rounds until something other than an unreachable server ends them.

    Args:
        look: One round.
        every_s: Seconds from one to the next.
        sleep: Waits.
        tell: Speaks to a person.
    """
    told = ""
    while True:
        try:
            report = look()
        except UnreachableError as error:
            tell(f"{error} Going on.")
            sleep(min(every_s, LONGEST_WAIT_S))
            continue
        if report.windows or report.alarms or report.verdict != told:
            tell(write_text(report))
            told = report.verdict
        sleep(every_s)
