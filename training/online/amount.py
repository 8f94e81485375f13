"""How much: a number of events, or a stretch of time, as a job file says it."""

import re
from dataclasses import dataclass
from typing import Final

from registry import UsageError

__all__ = ["Amount", "parse_amount", "parse_duration"]

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Amount:
    """Events, or nanoseconds; the other one is None."""

    events: int | None = None
    ns: int | None = None


def parse_amount(text: str, key: str) -> Amount:
    """Reads ``1000 events`` or ``7 days``.

    Args:
        text: What the job says.
        key: Which key of the job, for messages.

    Raises:
        UsageError: It is neither, or nothing at all.

    >>> parse_amount("1000 events", "online.warmup")
    Amount(events=1000, ns=None)
    >>> parse_amount("1.5 hours", "online.step").ns
    5400000000000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(event|second|minute|hour|day|week)s?\s*", text)
    if match is None or float(match[1]) == 0:
        raise UsageError(
            f"{key}: {text!r} is no amount.",
            hint='Write for example "5000 events", "30 minutes" or "7 days".',
        )
    if match[2] != "event":
        return Amount(ns=round(float(match[1]) * SECONDS[match[2]] * NS))
    if "." in match[1]:
        raise UsageError(f"{key}: {text!r} is not a whole number of events.")
    return Amount(events=int(match[1]))


def parse_duration(text: str, key: str) -> int:
    """Reads a stretch of time; returns nanoseconds.

    Raises:
        UsageError: It is none.
    """
    amount = parse_amount(text, key)
    if amount.ns is None:
        raise UsageError(f"{key}: {text!r} is no stretch of time.", hint='Write for example "30 minutes".')
    return amount.ns
