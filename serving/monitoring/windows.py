"""Cuts time into windows: of equal length, aligned to the epoch, or of equally many predictions."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from registry import UsageError

__all__ = ["Span", "Window", "cut_time", "parse_moment", "parse_seconds", "parse_span"]

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST_S: Final = 60


@dataclass(frozen=True, slots=True)
class Span:
    """How long a window is: seconds, or rows.

    Attributes:
        text: As it was written.
        seconds: Length in time; None if it is counted in rows.
        rows: Length in predictions; None if it is measured in time.
    """

    text: str
    seconds: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """From ``since`` (inclusive) to ``until`` (exclusive), UTC."""

    since: datetime
    until: datetime

    @property
    def text(self) -> str:
        """As people read it.

        >>> Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)).text
        '2026-03-01 00:00 to 2026-03-02 00:00'
        """
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"


def parse_span(text: str) -> Span:
    """Reads ``1d`` or a number of predictions.

    Raises:
        UsageError: It is neither, or too short.

    >>> parse_span("12h").seconds, parse_span("5000").rows
    (43200, 5000)
    """
    if text.isascii() and text.isdigit():
        if not int(text):
            raise UsageError("A window of 0 predictions shows nothing.")
        return Span(text, rows=int(text))
    seconds = parse_seconds(text)
    if seconds < SHORTEST_S:
        raise UsageError(f"A window of {text} is too short.", hint="Use a minute or more.")
    return Span(text, seconds=seconds)


def parse_seconds(text: str) -> int:
    """Reads a duration, in whole seconds.

    Raises:
        UsageError: It is none.

    >>> parse_seconds("90m")
    5400
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text)
    if not found:
        raise UsageError(f"{text!r} is no duration.", hint="Write 30m, 6h, 1d or 1w.")
    return int(found[1]) * UNITS[found[2]]


def parse_moment(text: str) -> datetime:
    """Reads a date or a moment; without an offset it means UTC.

    Raises:
        UsageError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no moment.", hint="Write 2026-03-01 or 2026-03-01T12:00:00Z."
        ) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def cut_time(since: datetime, until: datetime, seconds: int) -> Iterator[Window]:
    """The windows that lie wholly between two moments, in order.

    Args:
        since: The first window begins there or later.
        until: The last one ends there or earlier.
        seconds: Their length; they begin at whole multiples of it since 1970, so that everybody cuts alike
            (a week begins on a Thursday, then).

    >>> cut = list(cut_time(datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC), 86400))
    >>> [window.text for window in cut]
    ['2026-03-02 00:00 to 2026-03-03 00:00', '2026-03-03 00:00 to 2026-03-04 00:00']
    """
    length = timedelta(seconds=seconds)
    start = EPOCH + math.ceil((since - EPOCH) / length) * length
    while start + length <= until:
        yield Window(start, start + length)
        start += length
