"""JSON values as the types of a signature: exactly what MLflow makes of them, or doubt.

A value is read here only where MLflow's own conversion is beyond question; everything that it converts by a
rule of its own (text to number, fraction to integer, null to False) raises :class:`Doubt`, and the request
goes to MLflow's own code.
"""

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ABSENT",
    "MAX_UNNAMED",
    "Column",
    "Doubt",
    "Kind",
    "Sent",
    "Value",
    "make_column_reader",
    "make_reader",
]

Kind = str
"""``double``, ``float``, ``long``, ``integer``, ``boolean``, ``string`` or ``datetime``: MLflow's names."""
Value = float | str | dt.datetime | None
"""A number (missing: NaN), or text or a moment without zone (missing: None)."""
Column = NDArray[np.float64] | list[Any]
"""A column of numbers as an array, of text or moments as a list."""


class Sent(NamedTuple):
    """A request's rows as its caller sent them: what a log keeps, read once.

    Attributes:
        names: Of the columns, which are the signature's; shared by all requests of a plan.
        are_numbers: Whether each column holds nothing but numbers and missing ones, which 64 bits hold.
        row: The values of one row; None if there are several.
        columns: The columns of several rows, those of numbers as arrays, the others as JSON's values.
    """

    names: tuple[str, ...]
    are_numbers: tuple[bool, ...]
    row: Sequence[Any] | None
    columns: Sequence[Sequence[Any] | NDArray[np.float64]] | NDArray[np.float64] | None


MAX_UNNAMED: Final = 1024
"""Rows without names that are longer (pictures, sounds) are kept as one list each, not as columns."""
EXACT: Final = 2**53
"""Integers up to here are floats without loss (IEEE 754 binary64)."""
_INTEGER_LIMITS: Final = {"long": EXACT, "integer": 2**31 - 1}
_NAN: Final = float("nan")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.(?:\d{3}|\d{6}))?)?)?", re.ASCII)
_YEARS: Final = range(1700, 2200)
"""Well inside what fits nanoseconds since 1970 in 64 bits (pandas: 1677 to 2262)."""


class Doubt(Exception):  # noqa: N818 - not an error: the request takes the other path
    """Only MLflow's own code knows what becomes of this request."""


class _Absent:
    """The type of :data:`ABSENT`."""


ABSENT: Final = _Absent()
"""Stands for an optional column that was not sent."""


def make_reader(kind: Kind, *, missing: bool, limit: float) -> Callable[[Any], Value]:
    """Returns the function that reads one value.

    Args:
        kind: The column's type.
        missing: Whether the model's answer to a missing value is known.
        limit: Numbers further from zero than this are doubtful.
    """
    if kind == "double":
        return _make_number_reader(missing=missing, limit=limit)
    if kind == "float":
        return _make_single_reader(_make_number_reader(missing=missing, limit=limit))
    if kind in _INTEGER_LIMITS:
        return _make_integer_reader(_INTEGER_LIMITS[kind], missing=missing)
    if kind == "boolean":
        return _make_truth_reader(missing=missing)
    return _make_text_reader(missing=missing) if kind == "string" else _make_moment_reader(missing=missing)


def make_column_reader(kind: Kind, *, missing: bool, limit: float) -> Callable[[Sequence[Any]], Column]:
    """Returns the function that reads one column of several rows; like :func:`make_reader`."""
    read = make_reader(kind, missing=missing, limit=limit)
    if kind == "string":
        return _make_text_column_reader(missing=missing)
    if kind == "datetime":
        return _make_moment_column_reader(read)
    if kind not in {"double", "float"}:
        return lambda values: np.array([read(value) for value in _uniform(values)], dtype=np.float64)

    def read_numbers(values: Sequence[Any]) -> Column:
        if set(map(type, values)) == {float} and -limit <= min(values) and max(values) <= limit:
            numbers = np.array(values, dtype=np.float64)
            return numbers.astype(np.float32).astype(np.float64) if kind == "float" else numbers
        return np.array([read(value) for value in values], dtype=np.float64)

    return read_numbers


def _uniform(values: Sequence[Any]) -> Sequence[Any]:
    """A column of truth values or integers that was sent for some rows only changes its type in pandas."""
    sent = sum(value is not ABSENT for value in values)
    if sent not in {0, len(values)}:
        raise Doubt
    return values


def _make_number_reader(*, missing: bool, limit: float) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        kind = type(value)
        if kind is float and -limit <= value <= limit:
            return value  # type: ignore[no-any-return]
        if kind is int and -EXACT <= value <= EXACT and abs(value) <= limit:
            return float(value)
        if missing and (value is None or value is ABSENT):
            return _NAN
        raise Doubt

    return read


def _make_single_reader(read_double: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """Numbers of 32 bits; what is computed with them has 64, as beside coefficients of 64 bits."""

    def read(value: Any) -> Value:
        number: Any = read_double(value)
        return float(np.float32(number))

    return read


def _make_integer_reader(limit: int, *, missing: bool) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        if type(value) is int and -limit <= value <= limit:
            return float(value)
        if missing and value is ABSENT:
            return _NAN
        raise Doubt

    return read


def _make_truth_reader(*, missing: bool) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        if value is True:
            return 1.0
        if value is False:
            return 0.0
        if missing and value is ABSENT:
            return _NAN
        raise Doubt

    return read


def _make_text_reader(*, missing: bool) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        if type(value) is str:
            return value
        if missing and (value is None or value is ABSENT):
            return None
        raise Doubt

    return read


def _make_text_column_reader(*, missing: bool) -> Callable[[Sequence[Any]], Column]:
    allowed = {str, type(None), _Absent} if missing else {str}

    def read(values: Sequence[Any]) -> Column:
        kinds = set(map(type, values))
        if not kinds <= allowed:
            raise Doubt
        return [None if value is ABSENT else value for value in values] if _Absent in kinds else list(values)

    return read


def _make_moment_reader(*, missing: bool) -> Callable[[Any], Value]:
    match = _MOMENT.fullmatch
    parse = dt.datetime.fromisoformat

    def read(value: Any) -> Value:
        if type(value) is not str:
            if missing and (value is None or value is ABSENT):
                return None
            raise Doubt
        if match(value) is None:
            raise Doubt
        try:
            moment = parse(value)
        except ValueError:
            raise Doubt from None
        if moment.year not in _YEARS:
            raise Doubt
        return moment

    return read


def _make_moment_column_reader(read: Callable[[Any], Value]) -> Callable[[Sequence[Any]], Column]:
    def read_moments(values: Sequence[Any]) -> Column:
        shapes = {(len(value), value[10:11]) for value in values if type(value) is str}
        if len(shapes) > 1:  # pandas goes by the first one's format
            raise Doubt
        return [read(value) for value in values]

    return read_moments
