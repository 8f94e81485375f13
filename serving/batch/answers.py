"""What a model answered, as columns of the output: always the same ones, of the same types."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from registry import DataError, UsageError

__all__ = ["FILE", "ROW", "dump_schema", "fit_table", "locate_rows", "make_columns", "parse_schema"]

FILE = "_file"
ROW = "_row"
"""Where an output's row comes from: the file's name, and the row's number in it, from 1."""


def make_columns(raw: Any, rows: int, answer: str) -> dict[str, pa.Array]:
    """Takes apart what ``predict`` gave for n rows.

    Args:
        raw: Array, list, Series, DataFrame, or a dictionary of columns.
        rows: n.
        answer: The column's name where there is one value per row; of several, with ``_0``, ``_1`` ….

    Raises:
        DataError: It is not one answer per row.
    """
    found = _split(raw, answer)
    made = {name: _to_arrow(values) for name, values in found.items()}
    for values in made.values():
        if len(values) != rows:
            raise DataError(f"The model answers {len(values)} times to {rows} rows.")
    return made


def _split(raw: Any, answer: str) -> Mapping[str, Any]:
    if isinstance(raw, pd.DataFrame):
        if all(isinstance(name, str) for name in raw.columns):
            return {name: raw[name].to_numpy() for name in raw.columns}
        raw = raw.to_numpy()
    if isinstance(raw, Mapping):
        return {str(name): np.asarray(values) for name, values in raw.items()}
    if isinstance(raw, list) and raw and isinstance(raw[0], Mapping):
        return {str(name): [one.get(name) for one in raw] for name in raw[0]}
    values = np.asarray(raw)
    if values.ndim == 2 and values.shape[1] != 1:  # noqa: PLR2004 - rows and columns
        return {f"{answer}_{place}": values[:, place] for place in range(values.shape[1])}
    if values.ndim > 2:  # noqa: PLR2004 - as above
        return {answer: values.tolist()}
    return {answer: values.ravel()}


def _to_arrow(values: Any) -> pa.Array:
    """Numbers bit by bit (NaN stays NaN); what is missing among other things becomes null."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return pa.array(np.ascontiguousarray(values))
    try:
        made = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        made = pa.array([None if one is None else str(one) for one in values], pa.string())
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def fit_table(
    kept: Mapping[str, pa.Array], answers: Mapping[str, pa.Array], schema: pa.Schema | None
) -> pa.Table:
    """Puts kept and answered columns side by side, in the types of the job's first batch.

    Args:
        kept: Columns of the input.
        answers: Columns of the model.
        schema: The job's; None: these are the first.

    Raises:
        UsageError: A kept column has the name of an answer.
        DataError: The model answers with other columns or types than before.
    """
    double = sorted(kept.keys() & answers.keys())
    if double:
        raise UsageError(f"--keep {double[0]}: the model's answer has this name.")
    made = pa.table({**kept, **answers})
    if schema is None:
        return made
    if made.schema.names != schema.names:
        raise DataError(
            f"The model answered with the columns {', '.join(schema.names)} first, and now with "
            f"{', '.join(made.schema.names)}."
        )
    columns = [_fit(made[field.name], field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _fit(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if values.type == field.type:
        return values
    try:
        if pa.types.is_floating(values.type) and pa.types.is_integer(field.type):
            values = pa.chunked_array([pa.array(values.to_numpy(), from_pandas=True)])
        return values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"Column {field.name!r} of the output was of type {field.type} first, and is {values.type} now.",
            hint="A model whose answers change their type cannot be put into one table.",
        ) from error


def dump_schema(schema: pa.Schema) -> str:
    """As text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def parse_schema(text: str) -> pa.Schema | None:
    """From text; None if it is empty."""
    return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(text))) if text else None


def locate_rows(file: str, rows: Sequence[int]) -> dict[str, pa.Array]:
    """The two columns that say where rows come from."""
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([file]))
    numbers = np.arange(rows.start, rows.stop) if isinstance(rows, range) else np.asarray(rows)
    return {FILE: names, ROW: pa.array(numbers.astype(np.int64))}
