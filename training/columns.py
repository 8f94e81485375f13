"""Types of columns: what one is, and turning it into exactly that, or saying which row is not."""

import datetime as dt
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError

from .jobfile import guess

__all__ = ["ColumnType", "RawColumn", "check_columns", "convert_column", "find_row", "infer_type"]

ColumnType = Literal["number", "category", "datetime", "boolean"]

_EXPECTED: Final[dict[ColumnType, str]] = {
    "number": "a number",
    "category": "text",
    "datetime": "a moment such as 2013-01-31 or 2013-01-31T14:00:00",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class RawColumn:
    """A column as callers of the model send it. ``required``: training saw no missing value."""

    name: str
    type: ColumnType
    required: bool


def check_columns(names: Iterable[str], frame: pd.DataFrame, text: str, role: str) -> None:
    """Refuses a name that the table does not have.

    Raises:
        DataError: Names the column, what it is for, and the closest one there is.
    """
    for name in names:
        if name not in frame.columns:
            known = [str(column) for column in frame.columns]
            hint = guess(name, known) or f"It has: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}."  # noqa: PLR2004
            raise DataError(f"{text} has no column {name!r} ({role}).", hint=hint)


def infer_type(values: "pd.Series[Any]") -> ColumnType:
    """What a column is by what it holds; anything that is neither number, moment nor truth is a category."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return "boolean"
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    return _infer_from_values(values) if values.dtype == object else "category"


def _infer_from_values(values: "pd.Series[Any]") -> ColumnType:
    """Python objects: all of one kind, or a category."""
    kinds = {type(value) for value in values.dropna().head(1000)}
    families: tuple[tuple[Any, ColumnType], ...] = (
        (bool | np.bool_, "boolean"),
        (dt.date, "datetime"),
        (numbers.Number, "number"),
    )
    for family, name in families:
        if kinds and all(issubclass(kind, family) for kind in kinds):
            return name
    return "category"


def convert_column(values: "pd.Series[Any]", kind: ColumnType, text: str) -> "pd.Series[Any]":
    """Returns the column as float64, text (object), datetime64[ns] without a zone (UTC), or bool.

    A boolean column with missing values becomes text-free objects: True, False, None.

    Raises:
        DataError: Names the column, the row (counted from 1, the header not) and what stands there.
    """
    if kind == "category":
        return _to_text(values)
    if kind == "boolean":
        return _to_boolean(values, text)
    converted = _to_number(values) if kind == "number" else _to_moment(values)
    wrong = (converted.isna() & values.notna()).to_numpy()
    if wrong.any():
        raise _wrong(values, wrong, kind, text)
    if kind == "number":
        _check_finite(converted, text)
    return converted


def _to_text(values: "pd.Series[Any]") -> "pd.Series[Any]":
    plain = values.astype(object)
    if pd.api.types.infer_dtype(values, skipna=True) == "string":  # the usual case: nothing to convert
        return plain.where(values.notna(), None)
    missing = plain.isna()
    return plain.where(missing, plain.map(str)).where(~missing, None).astype(object)


def _to_number(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        return pd.Series(np.nan, index=values.index)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    return pd.Series(pd.to_numeric(values, errors="coerce")).astype("float64")


def _to_moment(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(values.dtype):
        return pd.Series(pd.NaT, index=values.index).astype("datetime64[ns]")
    moments = pd.Series(pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True))
    return moments.dt.tz_localize(None).astype("datetime64[ns]")


def _to_boolean(values: "pd.Series[Any]", text: str) -> "pd.Series[Any]":
    truths = {True: True, False: False, "true": True, "false": False}
    plain = values.astype(object)
    keys = plain.map(lambda value: value.lower() if isinstance(value, str) else value)
    converted = keys.map(
        lambda value: truths.get(value) if isinstance(value, str | int | float | np.bool_) else None
    )
    wrong = (converted.isna() & plain.notna()).to_numpy()
    if wrong.any():
        raise _wrong(values, wrong, "boolean", text)
    return converted.astype(object if converted.isna().any() else bool)


def _check_finite(values: "pd.Series[Any]", text: str) -> None:
    infinite = np.isinf(values.to_numpy())
    if infinite.any():
        row = find_row(values, infinite)
        raise DataError(
            f"Column {values.name!r}, row {row} of {text}: an infinite number.",
            hint="Leave it empty if it is unknown.",
        )


def find_row(values: "pd.Series[Any]", marked: NDArray[np.bool_]) -> int:
    """The number, from 1, of the first marked row in the table as it was read: its index label says it."""
    return int(values.index[int(np.argmax(marked))]) + 1


def _wrong(values: "pd.Series[Any]", wrong: NDArray[np.bool_], kind: ColumnType, text: str) -> DataError:
    value = values.iloc[int(np.argmax(wrong))]
    return DataError(
        f"Column {values.name!r}, row {find_row(values, wrong)} of {text}: {_name_class(value)} "
        f"where {_EXPECTED[kind]} is expected.",
        hint="Correct the row, or name the column's type in [data.types].",
    )


def _name_class(value: object) -> str:
    """What a value is, without showing it: rows may be private."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "a truth value"
    if isinstance(value, dt.date | np.datetime64):
        return "a moment"
    if isinstance(value, numbers.Number):
        return "a number"
    return f"a {type(value).__name__}"
