"""The clock's door: the only module that reads the time of day."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "FixedClock", "SystemClock", "format_time", "parse_time"]


class Clock(Protocol):
    """Tells the time, and waits."""

    def now(self) -> datetime:
        """The time of day, timezone-aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Waits for real."""
        time.sleep(seconds)


@dataclass
class FixedClock:
    """A clock for tests: stands still until told, and waits by moving its own hands."""

    at: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        """What it was set to."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Moves the hands; returns at once."""
        self.at += timedelta(seconds=seconds)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds.

    >>> format_time(datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC))
    '2026-03-01T12:00:00.005Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Reads RFC 3339 or a date; without an offset it means UTC.

    Raises:
        ValueError: It is neither.

    >>> parse_time("2026-03-01").isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
