"""A lookup's table as a dictionary from keys to finished slots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import NotCompilableError
from .features import floor_moment

__all__ = ["CompiledLookup", "LookupSlot", "compile_lookup"]


DOUBT: Final = -1
MAX_KEYS: Final = 2**62
"""Combinations of keys that a 64-bit integer can number."""


@dataclass(frozen=True, slots=True)
class LookupSlot:
    """One slot that a lookup fills.

    Attributes:
        slot: Which.
        name: The second table's column.
        codes: For a category: its number by text; None for a number.
        missing: What stands for a missing one; None if the model refuses it.
        unknown: Like ``missing``, for a category without a number.
    """

    slot: int
    name: str
    codes: Mapping[str, float] | None
    missing: float | None
    unknown: float | None = None


@dataclass(frozen=True, slots=True)
class CompiledLookup:
    """A lookup as parts of a plan.

    Attributes:
        maker: Its entry in the document.
        rows: The slots' values, one row per key and one for none.
        places: Number of the keys together, and place of the row; :data:`DOUBT` where the model refuses it.
            With ``times``: number of the keys, number of the group, first row of it and the one after it.
        times: Of a lookup as of a moment: each row's time in microseconds, and its place as above.
    """

    maker: dict[str, Any]
    rows: NDArray[np.float64]
    places: NDArray[np.int64]
    times: NDArray[np.int64] | None = None


def compile_lookup(
    lookup: Mapping[str, Any], table: pd.DataFrame, slots: Sequence[LookupSlot], columns: Mapping[str, int]
) -> CompiledLookup:
    """Compiles one lookup of ``layers.json``.

    Args:
        lookup: Its entry.
        table: The second table, keys unique together.
        slots: What is wanted of it.
        columns: Place of each raw column.

    Raises:
        NotCompilableError: Keys are not unique.
    """
    keys = [_read_key(table[key["right"]], key) for key in lookup["keys"]]
    values = [list(dict.fromkeys(key)) for key in keys]
    combined = _combine(keys, values, len(table))
    as_of = lookup.get("as_of")
    moments = _read_key(table[as_of["right"]], {"type": "datetime"}) if as_of else [0] * len(table)
    if len(set(zip(combined, moments, strict=True))) != len(table):
        raise NotCompilableError("A lookup has a key twice.")
    rows, doubtful = _fill_rows(table, slots)
    places = [DOUBT if is_doubtful else place for place, is_doubtful in enumerate(doubtful)]
    entries = [
        {
            "column": columns[key["left"]],
            "moment": key["type"] == "datetime",
            "floor": key.get("floor"),
            "values": known,
        }
        for key, known in zip(lookup["keys"], values, strict=True)
    ]
    maker = {
        "make": "lookup",
        "keys": entries,
        "slots": [slot.slot for slot in slots],
        "nothing": DOUBT if any(slot.missing is None for slot in slots) else len(table),
    }
    if as_of is None:
        return CompiledLookup(maker, rows, np.array([combined, places], dtype=np.int64).T.copy())
    limit = as_of["max_age_s"]
    maker["as_of"] = {
        "column": columns[as_of["left"]],
        "max_age_us": None if limit is None else limit * 1_000_000,
    }
    return CompiledLookup(maker, rows, *_order(combined, moments, places))


def _order(
    combined: Sequence[int], moments: Sequence[int], places: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by key and time: the spans of the keys, and times with places.

    >>> spans, times = _order([5, 7, 5], [30, 10, 20], [0, 1, 2])
    >>> spans.tolist(), times.tolist()
    ([[5, 0, 0, 2], [7, 1, 2, 3]], [[20, 2], [30, 0], [10, 1]])
    """
    order = np.lexsort((moments, combined))
    known, first, counts = np.unique(np.array(combined)[order], return_index=True, return_counts=True)
    spans = np.array([known, np.arange(len(known)), first, first + counts], dtype=np.int64).T.copy()
    return spans, np.array([moments, places], dtype=np.int64)[:, order].T.copy()


def _fill_rows(table: pd.DataFrame, slots: Sequence[LookupSlot]) -> tuple[NDArray[np.float64], list[bool]]:
    """The slots of each row, and of none, in the end; which rows the model would refuse."""
    filled = [_read_values(table[slot.name], slot) for slot in slots]
    nothing = [slot.missing for slot in slots]
    rows = [
        [0.0 if value is None else value for value in row] for row in [*zip(*filled, strict=True), nothing]
    ]
    made = np.array(rows, dtype=np.float64).reshape(len(table) + 1, len(slots))
    return made, [None in row for row in zip(*filled, strict=True)]


def _combine(keys: Sequence[Sequence[Any]], values: Sequence[Sequence[Any]], rows: int) -> list[int]:
    """One number for each row's keys together: places in ``values``, the last key counting fastest.

    >>> _combine([["a", "b"], [7.0, 8.0]], [["a", "b"], [7.0, 8.0]], 2)
    [0, 3]
    """
    if math.prod(map(len, values)) > MAX_KEYS:
        raise NotCompilableError("A lookup has too many keys.")
    combined = [0] * rows
    for column, known in zip(keys, values, strict=True):
        numbers = {value: number for number, value in enumerate(known)}
        combined = [key * len(known) + numbers[value] for key, value in zip(combined, column, strict=True)]
    return combined


def _read_key(values: "pd.Series[Any]", key: Mapping[str, Any]) -> list[Any]:
    if key["type"] == "datetime":
        moments = pd.to_datetime(values, format="ISO8601")
        if moments.dt.tz is not None:
            moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
        if key.get("floor") is None and (moments.dt.floor("us") != moments).any():
            raise NotCompilableError("A lookup compares moments finer than a microsecond.")
        return [floor_moment(moment, key.get("floor")) for moment in moments.dt.to_pydatetime()]
    if key["type"] == "category":
        return [str(value) for value in values]
    return [float(value) for value in values]


def _read_values(values: "pd.Series[Any]", slot: LookupSlot) -> list[float | None]:
    """The slot's number for each row; None where the model would refuse."""
    if slot.codes is None:
        numbers = [float(value) for value in pd.to_numeric(values).astype("float64")]
        return [slot.missing if np.isnan(number) else number for number in numbers]
    return [slot.missing if pd.isna(value) else slot.codes.get(str(value), slot.unknown) for value in values]
