"""Lays the columns of a reference and of a window side by side, each as numbers or as categories.

The reference says what a column is: numbers stay numbers whatever the callers sent, and what cannot be read
as one counts as missing. Moments are left out, for time itself always moves on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Paired", "PairedColumn", "pair_columns"]

MISSING: Final = "(missing)"
"""How a missing category is called in what people read."""

MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$")
"""ISO 8601: a date, or a date with a time."""

SEEN: Final = 100
"""Values looked at to know a moment."""


@dataclass(frozen=True, slots=True)
class PairedColumn:
    """One column of both sides.

    Attributes:
        name: The column.
        kind: ``number``: float64 with NaN for missing. ``category``: texts, ``(missing)`` for missing.
        reference: Values of the reference, shape (m,).
        window: Values of the window, shape (n,).
    """

    name: str
    kind: Literal["number", "category"]
    reference: NDArray[Any]
    window: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Paired:
    """What can be compared, and what cannot.

    Attributes:
        columns: In the reference's order.
        skipped: Column → why it is not compared, in words.
    """

    columns: tuple[PairedColumn, ...]
    skipped: dict[str, str]


def pair_columns(reference: pd.DataFrame, window: pd.DataFrame, ignore: Iterable[str] = ()) -> Paired:
    """Pairs the columns that both sides have.

    Args:
        reference: What the model is used to; m rows.
        window: What it was sent; n rows.
        ignore: Columns that nobody wants compared.

    >>> at = pd.to_datetime(["2026", "2026"])
    >>> before = pd.DataFrame({"size": [1.0, 2.0], "kind": ["a", None], "at": at})
    >>> found = pair_columns(before, pd.DataFrame({"size": ["3", "x"], "kind": ["a", "b"], "at": [1, 2]}))
    >>> [(column.name, column.kind, column.window.tolist()) for column in found.columns]
    [('size', 'number', [3.0, nan]), ('kind', 'category', ['a', 'b'])]
    >>> found.skipped
    {'at': 'moments always move on'}
    """
    columns: list[PairedColumn] = []
    skipped: dict[str, str] = {}
    left_out = set(ignore)
    for name in map(str, reference.columns):
        if name in left_out:
            skipped[name] = "the policy ignores it"
        elif name not in window.columns:
            skipped[name] = "the log does not have it"
        elif _is_moment(reference[name]):
            skipped[name] = "moments always move on"
        elif not reference[name].count():
            skipped[name] = "the reference has no value"
        else:
            columns.append(_pair(name, reference[name], window[name]))
    return Paired(tuple(columns), skipped)


def _pair(name: str, reference: "pd.Series[Any]", window: "pd.Series[Any]") -> PairedColumn:
    if _is_number(reference):
        return PairedColumn(name, "number", _to_numbers(reference), _to_numbers(window))
    return PairedColumn(name, "category", _to_texts(reference), _to_texts(window))


def _is_moment(values: "pd.Series[Any]") -> bool:
    """Also as a log has them: texts as they were sent."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return True
    if pd.api.types.is_numeric_dtype(values.dtype):
        return False
    some = values.dropna().head(SEEN)
    return bool(len(some)) and all(isinstance(one, str) and MOMENT.match(one) for one in some)


def _is_number(values: "pd.Series[Any]") -> bool:
    if pd.api.types.is_bool_dtype(values.dtype):
        return False
    return pd.api.types.is_numeric_dtype(values.dtype)


def _to_numbers(values: "pd.Series[Any]") -> NDArray[np.float64]:
    plain = values if values.dtype == np.float64 else pd.to_numeric(values, errors="coerce")
    numbers = plain.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _to_texts(values: "pd.Series[Any]") -> NDArray[Any]:
    """One spelling for 1, 1.0 and True: a log's columns may have become floats where a value is missing."""
    codes, found = pd.factorize(values.astype(object), use_na_sentinel=True)
    texts = np.array([_spell(value) for value in found] + [MISSING], dtype=object)
    return texts[codes]


def _spell(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
