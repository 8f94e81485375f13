"""Reads one value of a request as its column's type, or says what it is instead; plain Python, no pandas.

Batches read by the same functions wherever a table's own type does not settle the matter, so that both
cannot disagree.
"""

import datetime as dt
import decimal
import math
import numbers
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .violation import MISSING

__all__ = ["EPOCH", "EXPECTED", "INFINITE", "NOTHING", "READERS", "ColumnType", "Strange", "read_moment"]

ColumnType = str
"""``number``, ``category``, ``text``, ``datetime`` or ``boolean``."""


class Strange(NamedTuple):
    """What a value is that is none of its column's type. ``value_class`` as in ``Violation``."""

    value_class: str


NOTHING: Final = Strange(MISSING)
INFINITE: Final = Strange("an infinite number")

EXPECTED: Final[dict[ColumnType, str]] = {
    "number": "a number",
    "category": "a text",
    "text": "a text",
    "datetime": "a moment",
    "boolean": "true or false",
}
EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - moments without a zone are the data's own
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
"""The forms of ISO 8601 that are read alike everywhere."""
_MISSING_TYPES: Final = frozenset({"NAType", "NaTType"})


def _read_number(value: Any) -> float | Strange:
    if type(value) is float or (isinstance(value, numbers.Real | decimal.Decimal) and not _is_truth(value)):
        try:
            number = float(value)
        except OverflowError:
            return INFINITE
        except ValueError:  # a decimal's signalling NaN
            return NOTHING
        if number - number == 0:  # neither infinite nor NaN
            return number
        return NOTHING if math.isnan(number) else INFINITE
    return _name(value)


def _read_text(value: Any) -> str | Strange:
    return value if isinstance(value, str) else _name(value)


def _read_boolean(value: Any) -> bool | Strange:
    return bool(value) if _is_truth(value) else _name(value)


def read_moment(value: Any) -> int | Strange:
    """Microseconds since 1970 in UTC, rounded down; a moment without a zone is taken as it is."""
    if isinstance(value, str):
        return _parse_moment(value)
    if type(value).__name__ in _MISSING_TYPES:
        return NOTHING
    if isinstance(value, dt.datetime):
        return _count(value)
    if isinstance(value, dt.date):
        return (value.toordinal() - EPOCH.toordinal()) * _DAY
    if type(value).__name__ == "datetime64":  # NumPy's
        return NOTHING if value != value else int(value.astype("datetime64[us]").astype("int64"))  # noqa: PLR0124 - NaT
    return _name(value)


def _parse_moment(text: str) -> int | Strange:
    if not _MOMENT.fullmatch(text):
        return Strange("a text that is no moment")
    try:
        return _count(dt.datetime.fromisoformat(text))
    except ValueError:
        return Strange("a text that is no moment")


def _count(moment: dt.datetime) -> int:
    offset = moment.utcoffset()
    since = moment.replace(tzinfo=None) - EPOCH
    if offset is not None:
        since -= offset
    return since.days * _DAY + since.seconds * _SECOND + since.microseconds


def _name(value: Any) -> Strange:
    """What a value of another type is, without showing it."""
    kind = type(value).__name__
    if value is None or kind in _MISSING_TYPES:
        return NOTHING
    if isinstance(value, str):
        return Strange("a text")
    if _is_truth(value):
        return Strange("a truth value")
    if isinstance(value, dt.date) or kind == "datetime64":
        return Strange("a moment") if value == value else NOTHING  # noqa: PLR0124 - NumPy's NaT
    if isinstance(value, numbers.Number):
        return NOTHING if value != value else Strange("a number")  # noqa: PLR0124 - NaN
    return Strange("a list" if isinstance(value, list | tuple) or kind == "ndarray" else "an object")


def _is_truth(value: Any) -> bool:
    return value is True or value is False or type(value).__name__ in {"bool", "bool_"}


READERS: Final[dict[ColumnType, Callable[[Any], Any]]] = {
    "number": _read_number,
    "category": _read_text,
    "text": _read_text,
    "datetime": read_moment,
    "boolean": _read_boolean,
}
"""By type: a value → what it is compared as (float, str, microseconds, bool), or ``Strange``."""
