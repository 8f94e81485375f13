"""Request bodies of the scoring protocol as rows of a signature, or doubt.

Source: ``mlflow.pyfunc.scoring_server`` and ``mlflow.utils.proto_json_utils`` of MLflow 3.17.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .values import ABSENT, MAX_UNNAMED, Column, Doubt, Sent, Value, make_column_reader, make_reader

__all__ = ["MatrixReader", "TableReader"]

MAX_ORDERS: Final = 64
"""Orders of columns that are remembered; callers use one or two."""
KEPT: Final = frozenset({"double", "long", "integer"})
"""Types whose numbers are read as they were sent."""


class Read(NamedTuple):
    """A request's rows: the values of one, or the columns of several.

    Attributes:
        values: Of one row.
        columns: Of several rows.
        sent: The same as it was sent; None where other columns were sent, too, or some were not.
    """

    values: Sequence[Value] | None
    columns: Sequence[Column] | None
    sent: Sent | None


class TableReader:
    """Reads rows of named columns.

    Args:
        columns: Of the plan's document: ``name``, ``type``, ``required``, ``missing`` of each.
        limit: Numbers further from zero than this are doubtful.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]], limit: float) -> None:
        self._names: list[str] = [column["name"] for column in columns]
        self._required = {column["name"] for column in columns if column["required"]}
        self._readers = [make_reader(c["type"], missing=c["missing"], limit=limit) for c in columns]
        self._column_readers = [
            make_column_reader(c["type"], missing=c["missing"], limit=limit) for c in columns
        ]
        self._strict = [make_reader(c["type"], missing=False, limit=limit) for c in columns]
        self._strict_columns = [make_column_reader(c["type"], missing=False, limit=limit) for c in columns]
        self._is_double = {column["type"] for column in columns} == {"double"}
        self._limit = limit
        self._orders: dict[tuple[str, ...], list[int]] = {}
        self._sent_names = tuple(self._names)
        self._name_set = frozenset(self._names)
        self._are_numbers = tuple(column["type"] in KEPT for column in columns)

    def read(self, form: str, data: Any) -> Read:
        """Reads rows.

        Raises:
            Doubt: Only MLflow's own code knows.
        """
        if form == "dataframe_split":
            return self._read_split(data)
        if form == "dataframe_records":
            return self._read_records(data, strict=False)
        if type(data) is list and data and type(data[0]) is dict:
            return self._read_records(data, strict=True)
        if type(data) is dict:
            return self._read_columns(data, scalars=form == "inputs")
        raise Doubt

    def _read_split(self, data: Any) -> Read:
        if type(data) is not dict:
            raise Doubt
        rows, names = data.get("data"), data.get("columns")
        if type(rows) is not list or not rows or type(names) is not list:
            raise Doubt
        if len(data) != 2:  # noqa: PLR2004 - these two
            _check_index(data, len(rows))
        if set(map(type, rows)) != {list} or set(map(len, rows)) != {len(names)}:
            raise Doubt
        order = None if names == self._names else self._order(names)
        is_whole = order is None or (len(names) == len(self._names) and -1 not in order)
        if len(rows) == 1:
            row = rows[0] if order is None else [_pick(rows[0], at) for at in order]
            return self._read_row(row, is_whole=is_whole)
        if order is None and self._is_double:
            numbers = self._read_numbers(rows)
            if numbers is not None:
                return Read(None, list(numbers), self._note(None, numbers))
        columns: Sequence[Any] = list(zip(*rows, strict=True))
        if order is not None:
            nothing = (ABSENT,) * len(rows)
            columns = [columns[at] if at >= 0 else nothing for at in order]
        return self._read_many(columns, is_whole=is_whole)

    def _read_numbers(self, rows: list[list[Any]]) -> NDArray[np.float64] | None:
        """Rows of nothing but numbers with a fraction, all at once, shape (columns, rows), or None."""
        values = list(chain.from_iterable(rows))
        if set(map(type, values)) != {float}:
            return None
        numbers = np.array(values, dtype=np.float64)
        if not -self._limit <= numbers.min() <= numbers.max() <= self._limit:
            raise Doubt
        return numbers.reshape(len(rows), -1).T

    def _order(self, names: list[Any]) -> list[int]:
        """Where each column is in the data; -1 where it was not sent."""
        try:
            key = tuple(names)
            known = self._orders.get(key)
        except TypeError:
            raise Doubt from None
        if known is None:
            places = {name: place for place, name in enumerate(names) if type(name) is str}
            if len(places) != len(names) or not places.keys() >= self._required:
                raise Doubt
            known = [places.get(name, -1) for name in self._names]
            if len(self._orders) < MAX_ORDERS and len(names) <= 2 * len(self._names):
                self._orders[key] = known
        return known

    def _read_records(self, data: Any, *, strict: bool) -> Read:
        if type(data) is not list or set(map(type, data)) != {dict}:
            raise Doubt
        names = self._names
        if strict and any(len(record) != len(names) for record in data):
            raise Doubt
        if len(data) == 1:
            get = data[0].get
            row = [get(name, ABSENT) for name in names]
            self._check_absent(row)
            return self._read_row(row, is_whole=data[0].keys() == self._name_set, strict=strict)
        columns = [[record.get(name, ABSENT) for record in data] for name in names]
        for name, column in zip(names, columns, strict=True):
            if name in self._required and ABSENT in column:
                raise Doubt
        is_whole = all(record.keys() == self._name_set for record in data)
        return self._read_many(columns, is_whole=is_whole, strict=strict)

    def _check_absent(self, row: Sequence[Any]) -> None:
        if ABSENT in row:
            for name, value in zip(self._names, row, strict=True):
                if value is ABSENT and name in self._required:
                    raise Doubt

    def _read_columns(self, data: dict[str, Any], *, scalars: bool) -> Read:
        """A column per name, or, in ``inputs`` only, one value per name."""
        if len(data) != len(self._names):
            raise Doubt
        try:
            columns = [data[name] for name in self._names]
        except KeyError:
            raise Doubt from None
        kinds = set(map(type, columns))
        if kinds == {list}:
            if len(set(map(len, columns))) != 1 or not columns[0]:
                raise Doubt
            if len(columns[0]) == 1:
                return self._read_row([column[0] for column in columns], strict=True)
            return self._read_many(columns, strict=True)
        if not scalars or list in kinds or dict in kinds:
            raise Doubt
        return self._read_row(columns, strict=True)

    def _read_row(self, row: Sequence[Any], *, is_whole: bool = True, strict: bool = False) -> Read:
        """One row. ``strict``: numpy, not pandas, makes the columns: no missing values, no NUL at an end."""
        if strict:
            _check_texts(row)
        readers = self._strict if strict else self._readers
        values = [read(value) for read, value in zip(readers, row, strict=True)]
        return Read(values, None, self._note(row, None) if is_whole else None)

    def _read_many(
        self, columns: Sequence[Sequence[Any]], *, is_whole: bool = True, strict: bool = False
    ) -> Read:
        if strict:
            for column in columns:
                _check_texts(column)
        readers = self._strict_columns if strict else self._column_readers
        values = [read(column) for read, column in zip(readers, columns, strict=True)]
        if not is_whole:
            return Read(None, values, None)
        kept = zip(self._are_numbers, values, columns, strict=True)
        return Read(
            None, values, self._note(None, [read if is_number else raw for is_number, read, raw in kept])
        )

    def _note(self, row: Sequence[Any] | None, columns: Any) -> Sent:
        return Sent(self._sent_names, self._are_numbers, row, columns)


class MatrixReader:
    """Reads rows of a fixed number of unnamed numbers.

    Args:
        matrix: Of the plan's document: ``width``, ``type`` (``double`` or ``long``), ``missing``, ``frames``
            (whether the data frame forms mean the same).
        limit: Numbers further from zero than this are doubtful.
    """

    def __init__(self, matrix: Mapping[str, Any], limit: float) -> None:
        self._width: int = matrix["width"]
        self._frames: bool = matrix["frames"]
        self._read = make_column_reader(matrix["type"], missing=matrix["missing"], limit=limit)
        self._is_kept = matrix["type"] in KEPT and self._width <= MAX_UNNAMED
        self._sent_names = tuple(map(str, range(self._width)))
        self._are_numbers = (True,) * self._width

    def read(self, form: str, data: Any) -> tuple[NDArray[np.float64], Sent | None]:
        """Returns the rows, shape (rows, width), and as they were sent if they were sent without names.

        Raises:
            Doubt: Only MLflow's own code knows.
        """
        rows = data if form in {"inputs", "instances"} else self._read_frame(form, data)
        if type(rows) is not list or not rows or set(map(type, rows)) != {list}:
            raise Doubt
        if set(map(len, rows)) != {self._width}:
            raise Doubt
        numbers = self._read(list(chain.from_iterable(rows)))
        matrix = np.asarray(numbers, dtype=np.float64).reshape(len(rows), self._width)
        if not self._is_kept or form not in {"inputs", "instances"}:
            return matrix, None
        row, columns = (rows[0], None) if len(rows) == 1 else (None, matrix.T)
        return matrix, Sent(self._sent_names, self._are_numbers, row, columns)

    def _read_frame(self, form: str, data: Any) -> Any:
        if not self._frames:
            raise Doubt
        if form == "dataframe_split":
            if type(data) is not dict or not data.keys() <= {"columns", "data", "index"}:
                raise Doubt
            rows, names = data.get("data"), data.get("columns")
            if type(rows) is not list:
                raise Doubt
            if names is not None:
                _check_names(names, self._width)
            _check_index(data, len(rows))
            return rows
        if type(data) is not list or not data or set(map(type, data)) != {dict}:
            raise Doubt
        first = list(data[0])
        if any(list(record) != first for record in data):
            raise Doubt
        return [list(record.values()) for record in data]


def _check_names(names: Any, width: int) -> None:
    if type(names) is not list or len(names) != width or set(map(type, names)) != {str}:
        raise Doubt
    if len(set(names)) != width:
        raise Doubt


def _check_index(data: Mapping[str, Any], rows: int) -> None:
    """An index of as many different integers as there are rows changes nothing; any other might."""
    if not data.keys() <= {"columns", "data", "index"}:
        raise Doubt
    index = data.get("index")
    if index is None:
        return
    if type(index) is not list or set(map(type, index)) != {int} or len(set(index)) != len(index):
        raise Doubt
    if len(index) != rows:
        raise Doubt


def _check_texts(values: Sequence[Any]) -> None:
    """NumPy's text type forgets NUL characters at the end."""
    for value in values:
        if type(value) is str and value[-1:] == "\0":
            raise Doubt


def _pick(row: Sequence[Any], place: int) -> Any:
    return row[place] if place >= 0 else ABSENT
