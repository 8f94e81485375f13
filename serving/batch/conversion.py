"""A batch's columns as the types that the model names, and the rows that cannot be had so.

Values are never changed on the way: a text becomes the number that it writes (as Python's ``float`` reads
it), a whole number the same number with a fraction, a moment the same moment in UTC. Whatever else a file
holds where the model names a type is the row's fault.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .order import Column

__all__ = ["Fault", "convert_columns"]

EXACT: Final = 2**53
"""Whole numbers up to here are float64 without loss (IEEE 754 binary64)."""
INTEGERS: Final = {"long": "int64", "integer": "int32"}
FLOATS: Final = {"double": "float64", "float": "float32"}
TRUTHS: Final = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
"""Source: pandas.read_csv."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows of a batch (positions, ascending) that are bad in the same way."""

    rows: NDArray[np.int64]
    column: str
    found: str
    rule: str


_Findings = list[tuple[NDArray[np.bool_], str, str]]


def convert_columns(table: pa.Table, columns: Sequence[Column]) -> tuple[pd.DataFrame, list[Fault]]:
    """Makes the frame that the model is given.

    Args:
        table: n rows with all these columns.
        columns: What the model takes.

    Returns:
        n rows, index 0, 1, 2 …; and which of them are bad. What stands in a bad row is of no meaning.
    """
    made: dict[str, Any] = {}
    faults = []
    for column in columns:
        values, findings = _convert(_combine(table[column.name]), column.kind)
        made[column.name] = values
        for marked, found, rule in findings:
            if marked.any():
                faults.append(Fault(np.flatnonzero(marked), column.name, found, rule))
    return pd.DataFrame(made, index=pd.RangeIndex(len(table))), faults


def _combine(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _convert(values: pa.Array, kind: str) -> tuple[Any, _Findings]:
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if kind in FLOATS:
        return _to_floats(values, FLOATS[kind], is_text=is_text)
    if kind in INTEGERS:
        return _to_integers(values, INTEGERS[kind], is_text=is_text)
    if kind == "boolean" and is_text:
        return _read_each(values, TRUTHS.get, "true or false", object)
    if kind == "datetime":
        return _to_moments(values, is_text=is_text)
    return values.to_pandas(), []


def _to_floats(values: pa.Array, kind: str, *, is_text: bool) -> tuple[Any, _Findings]:
    if is_text:
        try:
            return _to_numpy(pc.cast(values, pa.float64())).astype(kind), []
        except pa.ArrowInvalid:
            return _read_each(values, _read_float, "a number", kind)
    if pa.types.is_decimal(values.type):
        return np.array([math.nan if one is None else float(one) for one in values.to_pylist()]), []
    if pa.types.is_integer(values.type) and kind == "float64":
        numbers = _to_numpy(pc.cast(values, pa.float64(), safe=False))
        beyond = np.abs(numbers) > EXACT
        return numbers, [(beyond, "a whole number of more than 53 bits", "a number that float64 holds")]
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan, dtype=kind), []
    return values.to_pandas(), []


def _to_numpy(values: pa.Array) -> NDArray[Any]:
    """Missing becomes NaN."""
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _to_integers(values: pa.Array, kind: str, *, is_text: bool) -> tuple[Any, _Findings]:
    """MLflow takes no missing integers."""
    findings: _Findings = []
    if is_text:
        try:
            values = pc.cast(values, pa.int64())
        except pa.ArrowInvalid:
            read, findings = _read_each(values, _read_integer, "a whole number", object)
            values = pa.array(read, pa.int64(), from_pandas=True)
    if not (pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        return values.to_pandas(), []  # for MLflow to refuse, in its own words
    missing = _mark_missing(values)
    for marked, _, _ in findings:
        missing &= ~marked
    wide = pc.cast(values, pa.int64(), safe=False)
    numbers = np.asarray(pc.fill_null(wide, 0).to_numpy(zero_copy_only=False))
    limits = np.iinfo(kind)
    beyond = (numbers < limits.min) | (numbers > limits.max)
    findings += [
        (missing, "missing", "a whole number"),
        (beyond, "a whole number beyond its type", f"a whole number of {limits.bits} bits"),
    ]
    return np.where(beyond, 0, numbers).astype(kind), findings


def _to_moments(values: pa.Array, *, is_text: bool) -> tuple[Any, _Findings]:
    if is_text:
        texts = pd.Series(values.to_pandas())
        moments = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
        strange = moments.isna().to_numpy() & ~_mark_missing(values)
        return _to_nanoseconds(moments, [(strange, "a text that is no moment", "a moment")])
    if pa.types.is_date(values.type):
        values = pc.cast(values, pa.timestamp("ms"))
    if not pa.types.is_timestamp(values.type):
        return values.to_pandas(), []
    return _to_nanoseconds(pd.Series(pc.cast(values, pa.timestamp(values.type.unit)).to_pandas()), [])


def _to_nanoseconds(moments: "pd.Series[Any]", findings: _Findings) -> tuple[Any, _Findings]:
    """What MLflow hands to models; from 1677 to 2262."""
    beyond = ((moments < pd.Timestamp.min) | (moments > pd.Timestamp.max)).to_numpy()
    fit = moments.mask(pd.Series(beyond)) if beyond.any() else moments
    rule = "a moment between 1678 and 2262"
    return fit.astype("datetime64[ns]"), [*findings, (beyond, "a moment too far away", rule)]


def _read_each(
    values: pa.Array, read: Callable[[str], Any], rule: str, kind: Any
) -> tuple[NDArray[Any], _Findings]:
    """Text by text: the way of a batch in which something is strange."""
    found = [None if text is None else read(text) for text in values.to_pylist()]
    strange = np.fromiter(_mark_strange(values, found), bool, len(found))
    if kind is object:
        made = np.empty(len(found), dtype=object)
        made[:] = found
    else:
        made = np.array([math.nan if one is None else one for one in found], dtype=kind)
    return made, [(strange, "a text", rule)]


def _mark_strange(values: pa.Array, found: Sequence[Any]) -> Iterator[bool]:
    for missing, one in zip(_mark_missing(values), found, strict=True):
        yield one is None and not missing


def _mark_missing(values: pa.Array) -> NDArray[np.bool_]:
    return np.array(pc.is_null(values).to_numpy(zero_copy_only=False), dtype=bool)


def _read_float(text: str) -> float | None:
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _read_integer(text: str) -> int | None:
    number = _read_float(text)
    if number is None or not number.is_integer():
        return None
    if abs(number) <= EXACT:
        return int(number)
    try:
        exact = int(text)
    except ValueError:
        return None
    return exact if -(2**63) <= exact < 2**63 else None
