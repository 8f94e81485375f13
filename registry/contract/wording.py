"""How a contract words what it asks for and what it found: alike in requests, in batches, in the artifact.

``training/artifact/contract.py``, which travels without us, says the same; a test holds both together.
"""

import datetime as dt
from typing import Final

from .columns import Column
from .values import EPOCH, EXPECTED, INFINITE, NOTHING, Strange

__all__ = ["UNKNOWN", "Words", "format_bound", "word_column", "word_strange"]

UNKNOWN: Final = "an unknown category"
Words = tuple[str, str]
"""``value_class`` and ``rule`` of a violation."""


def format_bound(value: float, kind: str) -> str:
    """A range's end for people.

    >>> format_bound(99.0, "number"), format_bound(1356998400000000, "datetime")
    ('99', '2013-01-01T00:00:00')
    """
    if kind == "datetime":
        return (EPOCH + dt.timedelta(microseconds=value)).isoformat()
    return f"{value:.12g}"


def word_column(column: Column) -> tuple[Words, Words, Words]:
    """What to say of a value below the range, of one above it, and of an unknown category."""
    low, high = ("", "")
    if column.range is not None:
        ends = (column.range.low, column.range.high)
        low, high = ("" if end is None else format_bound(end, column.type) for end in ends)
    known = len(column.categories or ())
    return (
        (f"below {low}", f"at least {low}"),
        (f"above {high}", f"at most {high}"),
        (UNKNOWN, f"one of {known} known categories"),
    )


def word_strange(strange: Strange, kind: str) -> Words:
    """What to say of a value that is missing, infinite or of another type."""
    if strange == NOTHING:
        return strange.value_class, "a value"
    if strange == INFINITE:
        return strange.value_class, "a finite number"
    return strange.value_class, EXPECTED[kind]
