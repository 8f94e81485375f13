"""A lookup's table as a dictionary from keys to finished slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .errors import NotCompilableError
from .features import floor_moment

__all__ = ["CompiledLookup", "LookupSlot", "compile_lookup"]


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
    """A lookup as parts of a plan: the maker, and the slots' values, one row per key and one for none."""

    maker: dict[str, Any]
    rows: Any


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
    index = [_read_key(table[key["right"]], key) for key in lookup["keys"]]
    if len(set(zip(*index, strict=True))) != len(table):
        raise NotCompilableError("A lookup has a key twice.")
    filled = [_read_values(table[slot.name], slot) for slot in slots]
    doubtful = {place for column in filled for place, value in enumerate(column) if value is None}
    nothing = [slot.missing for slot in slots]
    rows = [
        *([0.0 if value is None else value for value in row] for row in zip(*filled, strict=True)),
        [0.0 if value is None else value for value in nothing],
    ]
    maker = {
        "make": "lookup",
        "columns": [columns[key["left"]] for key in lookup["keys"]],
        "keys": [{"moment": key["type"] == "datetime", "floor": key.get("floor")} for key in lookup["keys"]],
        "slots": [slot.slot for slot in slots],
        "index": index,
        "doubtful": sorted(doubtful),
        "nothing": None if None in nothing else len(table),
    }
    return CompiledLookup(maker, np.array(rows, dtype=np.float64).reshape(len(table) + 1, len(slots)))


def _read_key(values: "pd.Series[Any]", key: Mapping[str, Any]) -> list[Any]:
    if key["type"] == "datetime":
        moments = pd.to_datetime(values, format="ISO8601")
        if moments.dt.tz is not None:
            moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
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
