"""Values of one column, as Arrow keeps them and as pandas shows them.

A column of numbers is double, of texts string, of booleans bool; anything else is the JSON text of each
value, and its field says so. What a column is may differ from file to file: requests decide.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Piece", "join_pieces", "make_column", "make_field", "read_piece"]

JSON_ENCODING: Final = {b"encoding": b"json"}

Piece = tuple[pa.Array, bool] | int
"""A column in one file: its values and whether they are JSON texts; or so many missing ones."""


def make_column(values: Sequence[Any] | NDArray[np.float64]) -> tuple[pa.Array, bool]:
    """Values as an Arrow array, and whether they became JSON texts; None and NaN are missing.

    >>> make_column([1, 2.5, None])[0].to_pylist(), make_column(["a", 1])[0].to_pylist()
    ([1.0, 2.5, None], ['"a"', '1'])
    """
    if isinstance(values, np.ndarray):
        array = pa.array(values, pa.float64(), from_pandas=True)
        return pa.nulls(len(array)) if array.null_count == len(array) else array, False
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values)), False  # of any kind: another file says which
    if kinds <= {float, int}:
        try:
            numbers = values if int not in kinds else [None if v is None else float(v) for v in values]
            return pa.array(numbers, pa.float64(), from_pandas=True), False
        except OverflowError:
            pass  # an integer that no double holds
    if kinds == {str}:
        return pa.array(values, pa.string()), False
    if kinds == {bool}:
        return pa.array(values, pa.bool_()), False
    return pa.array([None if _is_missing(value) else _write(value) for value in values], pa.string()), True


def make_field(name: str, array: pa.Array, *, is_json: bool) -> pa.Field:
    """The schema's line for a column."""
    return pa.field(name, array.type, metadata=JSON_ENCODING if is_json else None)


def read_piece(table: pa.Table, name: str) -> Piece:
    """A column out of one file; a number of missing values where there is nothing else in it."""
    column = table.column(name).combine_chunks()
    if column.null_count == len(column):
        return len(column)
    metadata = table.schema.field(name).metadata or {}
    return column, metadata.get(b"encoding") == b"json"


def join_pieces(pieces: Sequence[Piece]) -> "pd.Series[Any]":
    """A column over all files: float64 if every file holds numbers, else object."""
    import pandas as pd  # noqa: PLC0415 - heavy, and not for those who only write

    whole = [piece for piece in pieces if not isinstance(piece, int)]
    if all(pa.types.is_floating(array.type) for array, _ in whole):
        numbers = [
            np.full(piece, np.nan) if isinstance(piece, int) else _read_numbers(piece[0]) for piece in pieces
        ]
        return pd.Series(np.concatenate([np.empty(0), *numbers]), dtype="float64")
    objects = [
        np.full(piece, None, dtype=object) if isinstance(piece, int) else _read_objects(*piece)
        for piece in pieces
    ]
    return pd.Series(np.concatenate(objects), dtype=object)


def _read_numbers(array: pa.Array) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _read_objects(array: pa.Array, is_json: bool) -> Any:
    """Equal texts become one object: a million rows of ten carriers hold ten texts."""
    if not pa.types.is_string(array.type):
        return np.array(array.to_pylist(), dtype=object)
    encoded = array.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    values = np.empty(len(texts) + 1, dtype=object)
    for place, text in enumerate(texts):
        values[place] = orjson.loads(text) if is_json else text
    return values[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)]


def _is_missing(value: Any) -> bool:
    return value is None or (type(value) is float and value != value)  # noqa: PLR0124 - NaN


def _write(value: Any) -> str | None:
    """JSON; what JSON does not hold as text, what is too deep for that as missing."""
    with suppress(orjson.JSONEncodeError, TypeError):  # over 64 bits, or more than 254 deep
        return orjson.dumps(value, default=str).decode()
    with suppress(RecursionError):
        return orjson.dumps(str(value)).decode()
    return None
