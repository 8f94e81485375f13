"""Predictions of one version, gathered for one file: rows that are read one by one, and blocks of columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .blocks import Block, turn_predictions
from .rows import Rows, read_predictions

__all__ = ["Sheet"]

MAX_COLUMNS: Final = 4096
"""In one file; whoever sends ever new names does not make it grow without end, the first ones are kept."""
MAX_CELLS: Final = 1_000_000
"""Rows times columns of one file, beyond which requests that share few columns do not share it."""
EXACT: Final = 2.0**53
"""Below, integers are doubles without loss."""
_NUMBERS: Final = frozenset({float, int, type(None)})

_Column = Sequence[Any] | NDArray[np.float64]


class _Stack:
    """Rows under each other that have the same columns."""

    def __init__(self) -> None:
        self._rows: list[Sequence[Any]] = []
        self._parts: list[Sequence[_Column]] = []

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows += rows

    def add_columns(self, columns: Sequence[_Column]) -> None:
        self._close()
        self._parts.append(columns)

    def list_columns(self) -> list[_Column]:
        self._close()
        if len(self._parts) == 1:
            return list(self._parts[0])
        return [_join(pieces) for pieces in zip(*self._parts, strict=True)]

    def _close(self) -> None:
        if self._rows:
            self._parts.append(_turn(self._rows))
            self._rows = []


class _Group:
    """Requests that one path answered, whose inputs and outputs have the same columns."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self.times_us: list[int] = []
        self.counts: list[int] = []
        self.inputs = _Stack()
        self.outputs = _Stack()

    def list_ids(self) -> pa.Array:
        """One for each row: the request's, and which of its rows it is if it has several."""
        ids = pa.array(self.request_ids, pa.string())
        counts = np.array(self.counts)
        if (counts == 1).all():
            return ids
        places = np.repeat(np.arange(len(counts)), counts)
        rows = np.arange(len(places)) - np.repeat(counts.cumsum() - counts, counts)
        several = pc.binary_join_element_wise(
            ids.take(pa.array(places)), pa.array(rows).cast(pa.string()), "/"
        )
        return pc.if_else(pa.array(counts[places] == 1), ids.take(pa.array(places)), several)


_Key = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Of a group: the path, and the names of inputs and outputs."""


class Sheet:
    """Predictions of one version, gathered for one file.

    Args:
        redacted: Columns, of inputs and outputs, that nobody may keep.
    """

    def __init__(self, redacted: Iterable[str] = ()) -> None:
        self._redacted = frozenset(redacted)
        self._groups: dict[_Key, _Group] = {}

    def add(self, request_id: str, time_us: int, path: str, inputs: Rows, outputs: Rows) -> None:
        """Adds a request's rows; inputs that are not as many as the outputs are left out."""
        count = len(outputs.values)
        if not count:
            return
        if len(inputs.values) != count:
            inputs = Rows((), [()] * count)
        group = self._find(path, inputs.names, outputs.names)
        group.request_ids.append(request_id)
        group.times_us.append(time_us)
        group.counts.append(count)
        group.inputs.add_rows(inputs.values)
        group.outputs.add_rows(outputs.values)

    def add_block(self, block: Block, path: str) -> None:
        """Adds requests that share their columns."""
        names, columns = block.inputs
        outputs = turn_predictions(list(chain.from_iterable(block.answers)))
        if outputs is None:
            for request_id, time_us, rows, answers in _take_apart(block):
                self.add(request_id, time_us, path, Rows(names, rows), read_predictions(answers))
            return
        group = self._find(path, names, outputs[0])
        group.request_ids += block.ids
        group.times_us += block.times_us
        group.counts += block.counts
        group.inputs.add_columns(columns)
        group.outputs.add_columns([_shrink(column) for column in outputs[1]])

    def _find(self, path: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> _Group:
        key = (path, inputs, outputs)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
        return group

    def list_parts(self) -> list[dict[str, Any]]:
        """All groups under each other, as :meth:`registry.PredictionWriter.encode_predictions` takes them.

        Several where one would be mostly gaps.
        """
        parts: list[dict[_Key, _Group]] = [{}]
        names: set[str] = set()
        rows = 0
        for key, group in self._groups.items():
            count = sum(group.counts)
            together = names.union(key[1], key[2])
            if parts[-1] and len(together) * (rows + count) > MAX_CELLS:
                parts.append({})
                together, rows = {*key[1], *key[2]}, 0
            parts[-1][key] = group
            names, rows = together, rows + count
        return [self._list_columns(part) for part in parts if part]

    def _list_columns(self, groups: Mapping[_Key, _Group]) -> dict[str, Any]:
        times = [np.repeat(np.array(group.times_us), group.counts) for group in groups.values()]
        paths = [pa.repeat(path, sum(group.counts)) for (path, *_), group in groups.items()]
        return {
            "ids": pa.concat_arrays([group.list_ids() for group in groups.values()]),
            "times_us": np.concatenate(times),
            "paths": pa.concat_arrays(paths),
            "inputs": self._join([(names, group.inputs, group) for (_, names, _), group in groups.items()]),
            "outputs": self._join([(names, group.outputs, group) for (*_, names), group in groups.items()]),
        }

    def _join(self, parts: Sequence[tuple[tuple[str, ...], _Stack, _Group]]) -> dict[str, _Column]:
        pieces: dict[str, list[_Column]] = {}
        rows = 0
        for names, stack, group in parts:
            for name, column in islice(zip(names, stack.list_columns(), strict=True), MAX_COLUMNS):
                is_known = name in pieces or len(pieces) < MAX_COLUMNS
                if is_known and name not in self._redacted:
                    have = pieces.setdefault(name, [])
                    _fill(have, rows)
                    have.append(column)
            rows += sum(group.counts)
        for have in pieces.values():
            _fill(have, rows)
        return {name: have[0] if len(have) == 1 else _join(have) for name, have in pieces.items()}


def _fill(pieces: list[_Column], rows: int) -> None:
    """Missing values, up to so many rows."""
    missing = rows - sum(map(len, pieces))
    if missing:
        pieces.append([None] * missing)


def _join(pieces: Sequence[_Column]) -> _Column:
    if all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return list(chain.from_iterable(_list_values(piece) for piece in pieces))


def _list_values(piece: _Column) -> Sequence[Any]:
    """Values as they may stand beside texts: what is missing is None, and no number."""
    if not isinstance(piece, np.ndarray):
        return piece
    values = piece.astype(object)
    values[np.isnan(piece)] = None
    found: list[Any] = values.tolist()
    return found


def _shrink(column: Sequence[Any]) -> _Column:
    """Numbers as an array."""
    numbers = _make_numbers(column) if set(map(type, column)) <= _NUMBERS else None
    return column if numbers is None else numbers


def _make_numbers(values: Sequence[Any]) -> NDArray[np.float64] | None:
    """An array, unless an integer may be one that no double holds."""
    with suppress(OverflowError):
        numbers = np.array(values, dtype=np.float64)
        if not (np.abs(numbers) >= EXACT).any():
            return numbers
    return None


def _turn(rows: Sequence[Sequence[Any]]) -> Any:
    """Rows as columns; all at once where there are nothing but numbers, which is four times as fast."""
    width = len(rows[0]) if rows else 0
    if width > 1:
        values = list(chain.from_iterable(rows))
        if set(map(type, values)) <= _NUMBERS:
            numbers = _make_numbers(values)
            if numbers is not None:
                return numbers.reshape(-1, width).T
    return list(zip(*rows, strict=True))


def _take_apart(block: Block) -> Iterator[tuple[str, int, list[Sequence[Any]], list[Any]]]:
    """Its requests one by one: id, time, rows sent, and predictions."""
    rows = zip(*map(_list_values, block.inputs[1]), strict=True)
    for request_id, time_us, count, answers in zip(
        block.ids, block.times_us, block.counts, block.answers, strict=True
    ):
        yield request_id, time_us, list(islice(rows, count)), answers
