"""Writes the log's files. Needs Arrow alone, so that a scoring server's own process for it stays small."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .columns import make_column, make_field
from .merging import Merger, remove_merged
from .places import (
    feedback_folder,
    locate_feedback,
    locate_predictions,
    name_part,
    predictions_folder,
)
from .storage import Storage, open_storage

__all__ = ["INPUT", "MOMENT", "OUTPUT", "VERSION_KEY", "Encoded", "PredictionWriter", "encode_table"]

MOMENT: Final = pa.timestamp("us", tz="UTC")
MODEL_KEY: Final = b"greenroom:model"
VERSION_KEY: Final = b"greenroom:version"
INPUT: Final = "input."
OUTPUT: Final = "output."
COMPRESSION: Final = "zstd"
RECENT_DAYS: Final = 2
"""Of a version: the only ones in which a writer may have been killed lately."""


class Encoded(NamedTuple):
    """A file that is not written yet: its name below the log, its content, and the rows in it."""

    name: str
    content: bytes
    rows: int


class PredictionWriter:
    """Adds files to one model's log. Not safe for several threads.

    Args:
        log: A folder, or ``s3://bucket/prefix``.
        model: Name of the registered model.

    Raises:
        UsageError: ``log`` is neither.
    """

    def __init__(self, log: str, model: str) -> None:
        self._storage: Storage = open_storage(log)
        self._model = model
        self._writer = os.urandom(4).hex()
        self._numbers = count(1)
        self._merger = Merger(self._storage)

    def encode_predictions(
        self,
        version: str,
        *,
        ids: Sequence[str] | pa.Array,
        times_us: "Sequence[int] | NDArray[np.int64]",
        paths: Sequence[str] | pa.Array,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Mapping[str, Sequence[Any]],
    ) -> list[Encoded]:
        """Predictions of one version, as files: one for each day (UTC).

        Args:
            version: MLflow's version, a number as text.
            ids: One for each prediction.
            times_us: When each was answered, microseconds since 1970 UTC.
            paths: ``compiled`` or ``native`` for each.
            inputs: What was sent, by column; None where a row did not have it.
            outputs: What was answered, by column.
        """
        columns: list[tuple[pa.Field, Any]] = [
            (pa.field("id", pa.string()), _list_texts(ids)),
            (pa.field("time", MOMENT), pa.array(times_us, pa.int64()).cast(MOMENT)),
            (pa.field("path", pa.string()), _list_texts(paths)),
        ]
        for prefix, values in ((INPUT, inputs), (OUTPUT, outputs)):
            for name, column in values.items():
                array, is_json = make_column(column)
                columns.append((make_field(f"{prefix}{name}", array, is_json=is_json), array))
        table = _make_table(columns, {MODEL_KEY: self._model, VERSION_KEY: version})
        return [
            Encoded(
                locate_predictions(self._model, version, day, self._name_part()),
                encode_table(part),
                part.num_rows,
            )
            for day, part in _split_by_day(table, times_us)
        ]

    def encode_feedback(
        self,
        *,
        ids: Sequence[str],
        truths: Sequence[Any],
        times_us: "Sequence[int] | NDArray[np.int64]",
        arrived_us: Sequence[int],
    ) -> list[Encoded]:
        """Feedback, as files: one for each day (UTC) on which it arrived.

        Args:
            ids: Of the predictions.
            truths: What turned out to be true: numbers, texts or booleans.
            times_us: Since when each is known, microseconds since 1970 UTC.
            arrived_us: When each arrived here.
        """
        array, is_json = make_column(truths)
        table = _make_table(
            [
                (pa.field("id", pa.string()), pa.array(ids, pa.string())),
                (make_field("truth", array, is_json=is_json), array),
                (pa.field("time", MOMENT), pa.array(times_us, pa.int64()).cast(MOMENT)),
                (pa.field("arrived", MOMENT), pa.array(arrived_us, pa.int64()).cast(MOMENT)),
            ],
            {MODEL_KEY: self._model},
        )
        return [
            Encoded(locate_feedback(self._model, day, self._name_part()), encode_table(part), part.num_rows)
            for day, part in _split_by_day(table, arrived_us)
        ]

    def write(self, encoded: Encoded) -> None:
        """Makes a file appear; the same one again is fine.

        Raises:
            AccessDeniedError: No permission, or no such bucket.
            UnreachableError: No room or no answer; trying again may help.
        """
        self._storage.write(encoded.name, encoded.content)
        self._merger.note(encoded.name, encoded.rows)

    def merge(self) -> None:
        """Puts its own small files together, if there are many by now; for writers that write on and on.

        Raises:
            GreenroomError: The storage cannot be read, written or deleted from; all rows are still there.
        """
        self._merger.merge()

    def sweep(self) -> None:
        """Removes what writers that are gone left half-written.

        Raises:
            GreenroomError: The storage cannot be looked at.
        """
        predictions, feedback = predictions_folder(self._model), feedback_folder(self._model)
        versions = [f"{predictions}/{name}" for name in self._storage.list_folders(predictions)]
        for folder in (*versions, feedback):
            self._storage.sweep(folder)
            for day in self._storage.list_folders(folder)[-RECENT_DAYS:]:
                remove_merged(self._storage, f"{folder}/{day}")

    def _name_part(self) -> str:
        return name_part(datetime.now(UTC), self._writer, next(self._numbers))


def _list_texts(texts: Sequence[str] | pa.Array) -> pa.Array:
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())


def _make_table(columns: Sequence[tuple[pa.Field, Any]], metadata: Mapping[bytes, str]) -> pa.Table:
    return pa.table(
        [array for _, array in columns], schema=pa.schema([field for field, _ in columns], dict(metadata))
    )


def _split_by_day(
    table: pa.Table, times_us: "Sequence[int] | NDArray[np.int64]"
) -> list[tuple[date, pa.Table]]:
    day_us = 86_400_000_000
    days = np.asarray(times_us, dtype=np.int64) // day_us
    first, last = int(days.min()), int(days.max())
    if first == last:
        return [(date.fromordinal(_EPOCH + first), table)]
    found = np.unique(days).tolist()
    return [(date.fromordinal(_EPOCH + day), table.filter(pa.array(days == day))) for day in found]


_EPOCH: Final = date(1970, 1, 1).toordinal()


def encode_table(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    texts = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name != "id"]
    pq.write_table(table, sink, compression=COMPRESSION, use_dictionary=texts)
    content: bytes = sink.getvalue().to_pybytes()
    return content
