"""Raw bodies and answers as columns of a log: what was sent, what was answered, nothing interpreted.

What the scoring protocol knows: JSON in its four forms, CSV, Parquet. What cannot be read as so many rows as
were answered is logged without its inputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from serving.compiled.values import MAX_UNNAMED

__all__ = ["Rows", "read_answer", "read_body", "read_predictions"]

JSON: Final = "application/json"
_PLAIN: Final = frozenset({"", JSON})


class Rows(NamedTuple):
    """Rows that share their columns."""

    names: tuple[str, ...]
    values: list[Sequence[Any]]


def read_answer(answer: bytes) -> Rows:
    """What a model answered, one row for each of its predictions; several columns if it named them.

    >>> read_answer(b'{"predictions": [{"answer": "yes", "probability_yes": 0.75}]}')
    Rows(names=('answer', 'probability_yes'), values=[('yes', 0.75)])
    >>> read_answer(b'{"predictions": [1.5, 2]}')
    Rows(names=('prediction',), values=[(1.5,), (2,)])

    Raises:
        ValueError: It is no answer of the scoring protocol.
    """
    document = orjson.loads(answer)
    predictions = (
        document["predictions"] if type(document) is dict and "predictions" in document else document
    )
    return read_predictions(predictions)


def read_predictions(predictions: Any) -> Rows:
    """The predictions of one request's answer, one row for each."""
    if type(predictions) is not list:
        return Rows(("prediction",), [(predictions,)])
    kinds = set(map(type, predictions))
    if kinds == {dict}:
        return _read_records(predictions)
    if kinds == {list} and len(set(map(len, predictions))) == 1:
        return Rows(tuple(f"prediction_{place}" for place in range(len(predictions[0]))), predictions)
    return Rows(("prediction",), [(one,) for one in predictions])


def read_body(content_type: str, body: bytes) -> Rows:
    """What was sent, one row for each of the request's; none if it cannot be told.

    >>> read_body("", b'{"dataframe_split": {"columns": ["x"], "data": [[1], [2]]}}')
    Rows(names=('x',), values=[[1], [2]])
    """
    media = content_type.partition(";")[0].strip().lower() if content_type not in _PLAIN else JSON
    try:
        if media == JSON:
            return _read_json(orjson.loads(body))
        if media == "text/csv":
            return _read_csv(body)
        if media == "application/vnd.apache.parquet":
            return _read_parquet(body)
    except (ValueError, TypeError, KeyError):
        pass
    except (
        OSError,
        NotImplementedError,
        OverflowError,
    ):  # Arrow's; the last one of a date that Python has not
        pass
    return Rows((), [])


def _read_json(document: Mapping[str, Any]) -> Rows:
    if "dataframe_split" in document:
        data = document["dataframe_split"]
        return _read_lists(data["data"], data.get("columns"))
    for form in ("dataframe_records", "inputs", "instances"):
        if form in document:
            return _read_any(document[form])
    return Rows((), [])


def _read_any(data: Any) -> Rows:
    if type(data) is dict:
        return _read_columns(data)
    if type(data) is not list or not data:
        return Rows((), [])
    kinds = set(map(type, data))
    if kinds == {dict}:
        return _read_records(data)
    return _read_lists(data, None) if kinds == {list} else Rows(("0",), [(one,) for one in data])


def _read_lists(rows: list[list[Any]], columns: list[Any] | None) -> Rows:
    if len(rows) == 1 and columns and set(map(type, columns)) == {str} and len(rows[0]) == len(columns):
        return _make_rows(tuple(columns), rows)
    widths = set(map(len, rows))
    if columns is None and max(widths) > MAX_UNNAMED:
        return Rows(("0",), [(row,) for row in rows])
    names = tuple(map(str, columns)) if columns is not None else tuple(map(str, range(max(widths))))
    return _make_rows(names, rows) if widths == {len(names)} else Rows((), [])


def _make_rows(names: tuple[str, ...], rows: list[Any]) -> Rows:
    """None if a name stands twice: which value is meant cannot be told."""
    return Rows(names, rows) if len(set(names)) == len(names) else Rows((), [])


def _read_records(records: list[dict[str, Any]]) -> Rows:
    names = tuple(records[0])
    if len(records) == 1:
        return Rows(names, [tuple(records[0].values())])
    if all(tuple(record) == names for record in records[1:]):
        return Rows(names, [list(record.values()) for record in records])
    names = tuple(dict.fromkeys(name for record in records for name in record))
    return Rows(names, [[record.get(name) for name in names] for record in records])


def _read_columns(data: dict[str, Any]) -> Rows:
    if not all(type(column) is list for column in data.values()):
        return Rows(tuple(data), [list(data.values())])
    return Rows(tuple(data), list(zip(*data.values(), strict=True)))


def _read_csv(body: bytes) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and few send CSV
    from pyarrow import csv  # noqa: PLC0415 - as above

    options = csv.ConvertOptions(timestamp_parsers=[], strings_can_be_null=True)
    table = csv.read_csv(pa.BufferReader(body), convert_options=options)
    return _read_table(table)


def _read_parquet(body: bytes) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and few send Parquet
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    return _read_table(pq.ParquetFile(pa.BufferReader(body)).read())


def _read_table(table: Any) -> Rows:
    columns = [[_write_moment(value) for value in column.to_pylist()] for column in table.columns]
    return _make_rows(tuple(map(str, table.column_names)), list(zip(*columns, strict=True)))


def _write_moment(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
