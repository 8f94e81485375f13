"""Predictions of one version, gathered for one file: rows that are read one by one, and blocks of columns."""

from collections.abc import Iterable, Iterator, Sequence
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


class Sheet:
    """Predictions of one version, gathered for one file.

    Args:
        redacted: Columns, of inputs and outputs, that nobody may keep.
    """

    def __init__(self, redacted: Iterable[str] = ()) -> None:
        self._redacted = frozenset(redacted)
        self._groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], _Group] = {}

    def add(self, request_id: str, time_us: int, path: str, inputs: Rows, outputs: Rows) -> None:
        """Adds a request's rows; inputs that are not as many as the outputs are left out."""
        count = len(outputs.values)
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

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to write."""
        return any(any(group.counts) for group in self._groups.values())

    def list_columns(self) -> dict[str, Any]:
        """All groups under each other, as :meth:`registry.PredictionWriter.encode_predictions` takes them."""
        groups = self._groups
        times = [np.repeat(np.array(group.times_us), group.counts) for group in groups.values()]
        return {
            "ids": pa.concat_arrays([group.list_ids() for group in groups.values()]),
            "times_us": np.concatenate(times),
            "paths": pa.concat_arrays(
                [pa.repeat(path, sum(one.counts)) for (path, *_), one in groups.items()]
            ),
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
    return piece.tolist() if isinstance(piece, np.ndarray) else piece


def _shrink(column: Sequence[Any]) -> _Column:
    """Numbers as an array."""
    if set(map(type, column)) <= _NUMBERS:
        with suppress(OverflowError):  # an integer that no double holds
            return np.array(column, dtype=np.float64)
    return column


def _turn(rows: Sequence[Sequence[Any]]) -> Any:
    """Rows as columns; all at once where there are nothing but numbers, which is four times as fast."""
    width = len(rows[0]) if rows else 0
    if width > 1:
        values = list(chain.from_iterable(rows))
        if set(map(type, values)) <= _NUMBERS:
            with suppress(OverflowError):  # an integer that no double holds
                return np.array(values, dtype=np.float64).reshape(-1, width).T
    return list(zip(*rows, strict=True))


def _take_apart(block: Block) -> Iterator[tuple[str, int, list[Sequence[Any]], list[Any]]]:
    """Its requests one by one: id, time, rows sent, and predictions."""
    rows = zip(*map(_list_values, block.inputs[1]), strict=True)
    for request_id, time_us, count, answers in zip(
        block.ids, block.times_us, block.counts, block.answers, strict=True
    ):
        yield request_id, time_us, list(islice(rows, count)), answers
