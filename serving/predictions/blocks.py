"""Answered requests whose rows are read already: columns of numbers instead of JSON, many requests at once.

What a worker has read to answer it, nobody reads a second time for the log. A block holds requests of one
version and one output, either of one row each or of several.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

if TYPE_CHECKING:
    from serving.compiled.values import Sent

__all__ = ["Block", "BlockKey", "OpenBlock", "name_block", "read_block", "turn_predictions"]


class BlockKey(NamedTuple):
    """What the requests of a block have in common.

    Attributes:
        version: MLflow's version, a number as text.
        output: Which of the model's outputs was asked for.
        names: Of the columns.
        is_single: Whether each request is one row.
    """

    version: str
    output: str
    names: tuple[str, ...]
    is_single: bool


def name_block(version: str, output: str, sent: "Sent") -> BlockKey:
    """To which block a request belongs."""
    return BlockKey(version, output, sent.names, sent.row is not None)


class OpenBlock:
    """A block to which a worker adds requests.

    Args:
        key: What they have in common.
        are_numbers: Whether each column is one of numbers.

    Attributes:
        held_bytes: What its requests are counted for, while they are in it.
    """

    def __init__(self, key: BlockKey, are_numbers: Sequence[bool]) -> None:
        self._key = key
        self._are_numbers = are_numbers
        self.held_bytes = 0
        self._ids: list[str] = []
        self._times_us: list[int] = []
        self._counts: list[int] = []
        self._sent: list[Any] = []
        self._answers: list[bytes] = []

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def time_us(self) -> int:
        """When the first of them was answered."""
        return self._times_us[0]

    def add(self, request_id: str, time_us: int, rows: int, sent: "Sent", answer: bytes) -> None:
        """Adds an answered request of so many rows."""
        self._ids.append(request_id)
        self._times_us.append(time_us)
        self._counts.append(rows)
        self._sent.append(sent.row if self._key.is_single else sent.columns)
        self._answers.append(answer)

    def write(self) -> tuple[bytes, bytes]:
        """The requests' ids, times and rows; and their answers."""
        numbers, others = self._split_columns()
        head = {
            "ids": self._ids,
            "times": self._times_us,
            "counts": self._counts,
            "names": self._key.names,
            "numbers": self._are_numbers,
            "others": others,
        }
        return b"".join((orjson.dumps(head), b"\n", numbers.tobytes())), b",".join(self._answers)

    def _split_columns(self) -> tuple[NDArray[np.float64], list[Any]]:
        """Columns of numbers, shape (columns, rows), and the others."""
        if all(self._are_numbers):  # the common case, all at once
            if self._key.is_single:
                values = list(chain.from_iterable(self._sent))
                return np.array(values, dtype=np.float64).reshape(len(self._sent), -1).T, []
            if all(type(columns) is np.ndarray for columns in self._sent):
                return np.concatenate(self._sent, axis=1), []
        numbers: list[Any] = []
        others: list[Any] = []
        for is_number, parts in zip(self._are_numbers, zip(*self._sent, strict=True), strict=True):
            if self._key.is_single:
                column: Any = parts
            elif is_number:
                column = np.concatenate(parts)
            else:
                column = list(chain.from_iterable(parts))
            (numbers if is_number else others).append(column)
        return np.array(numbers, dtype=np.float64), others


class Block(NamedTuple):
    """A block as the clerk reads it.

    Attributes:
        ids: Of the requests.
        times_us: When each was answered, microseconds since 1970 UTC.
        counts: Rows of each.
        inputs: Names and columns of what was sent, all requests under each other.
        answers: The predictions of each.
    """

    ids: list[str]
    times_us: list[int]
    counts: list[int]
    inputs: tuple[tuple[str, ...], list[Sequence[Any] | NDArray[np.float64]]]
    answers: list[list[Any]]


def read_block(body: bytes, answers: bytes) -> Block:
    """Reads what :meth:`OpenBlock.write` wrote.

    Raises:
        ValueError: An answer is none of the scoring protocol's.
    """
    line, _, rest = body.partition(b"\n")
    head = orjson.loads(line)
    counts = head["counts"]
    numbers = np.frombuffer(rest, dtype=np.float64)
    matrix = iter(numbers.reshape(-1, sum(counts)))
    others = iter(head["others"])
    columns = [next(matrix) if is_number else next(others) for is_number in head["numbers"]]
    documents = orjson.loads(b"[%b]" % answers)
    said = [document["predictions"] for document in documents]
    if [*map(len, said)] != counts:
        raise ValueError("answers that do not fit their rows")
    return Block(head["ids"], head["times"], counts, (tuple(head["names"]), columns), said)


def turn_predictions(predictions: Sequence[Any]) -> tuple[tuple[str, ...], list[Any]] | None:
    """Predictions of many requests as columns; None if they are not all alike.

    >>> turn_predictions([{"answer": "yes", "p": 0.75}, {"answer": "no", "p": 0.5}])
    (('answer', 'p'), [('yes', 'no'), (0.75, 0.5)])
    """
    kinds = set(map(type, predictions))
    if kinds == {dict}:
        keys = set(map(tuple, predictions))
        if len(keys) > 1:
            return None
        return keys.pop(), list(zip(*map(dict.values, predictions), strict=True))
    if kinds == {list} and len(set(map(len, predictions))) == 1:
        columns = list(zip(*predictions, strict=True))
        return tuple(f"prediction_{place}" for place in range(len(columns))), columns
    if kinds & {dict, list}:
        return None
    return ("prediction",), [predictions]
