"""One part: its rows answered and put into files that appear whole. The same part gives the same files.

A part's quarantine is published first and its answers last: where the answers are, all of it is. So a part
may be done twice, also at the same time, and is there once.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from registry import DataError, RowBatch, read_piece

from .answers import ROW, dump_schema, parse_schema
from .order import Part, PartReport, ScoreOrder
from .scorer import QUARANTINE, BatchScorer
from .storage import OutputStorage

__all__ = ["find_schema", "read_report", "score_part"]

GROUP_ROWS: Final = 262_144
"""Rows per row group of the output."""
REPORT: Final = b"greenroom_part"
"""Key of a part's Parquet metadata: the job, and what became of the rows."""
PROBES: Final = 20
"""Batches that are looked at for the output's types, while a column has nothing but nulls."""


def score_part(
    order: ScoreOrder,
    scorer: BatchScorer,
    part: Part,
    storage: OutputStorage,
    tell: Callable[[int], None],
) -> PartReport:
    """Scores a part and publishes its files.

    Args:
        order: How; with the output's schema.
        scorer: Made of the same order; the schema may be new.
        part: The part.
        storage: The output.
        tell: Told the rows read so far, batch after batch.

    Raises:
        DataError: The input has changed, a row is bad and may not be, or the model fails; or no room.
        AccessDeniedError: The output may not be written.
        UnreachableError: S3 gives no answer.
    """
    schema = parse_schema(order.schema)
    assert schema is not None
    report = PartReport()
    with storage.drafting() as answers, storage.drafting() as quarantine, ExitStack() as stack:
        writer = _GroupWriter(stack, answers, schema)
        bad = _GroupWriter(stack, quarantine, QUARANTINE)
        for batch in _read(order, part):
            scored = scorer.score(batch, part.piece.file.name, schema)
            if order.refuse_bad and len(scored.bad):
                raise _refuse(scored.bad)
            writer.add(scored.table)
            bad.add(scored.bad)
            report += scored.report
            tell(report.read)
        writer.close({REPORT: json.dumps({"job": order.job, **asdict(report)}).encode()})
        if bad.close({}):
            storage.publish(quarantine, part.quarantine)
        storage.publish(answers, part.name)
    return report


def find_schema(order: ScoreOrder, scorer: BatchScorer, parts: Iterator[Part]) -> str:
    """Answers the first rows, to learn what columns the output has; returns their schema as text.

    A column of nothing but nulls in all of them becomes text, as which everything can be written.
    """
    found: pa.Schema | None = None
    number = -1
    for number, batch in enumerate(batch for part in parts for batch in _read(order, part)):
        table = scorer.score(batch, "", None).table
        if len(table) and (found is None or len(table.schema) == len(found)):
            found = table.schema if found is None else _merge(found, table.schema)
        if number + 1 >= PROBES or (found and not any(pa.types.is_null(kind) for kind in found.types)):
            break
    if number < 0:
        raise DataError("The input has no rows.")
    if found is None:
        raise DataError(
            "None of the first rows can be scored, so it is not known what answers look like.",
            hint="--dry-run --json names what is wrong with them; are these the right columns?",
        )
    fields = [
        field if not pa.types.is_null(field.type) else pa.field(field.name, pa.string()) for field in found
    ]
    return dump_schema(pa.schema(fields))


def _merge(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    pairs = zip(one, other, strict=True)
    return pa.schema([second if pa.types.is_null(first.type) else first for first, second in pairs])


def _read(order: ScoreOrder, part: Part) -> Iterator[RowBatch]:
    names = [column.name for column in order.columns]
    columns = [*names, *(name for name in order.keep if name not in names)]
    return read_piece(part.piece, columns, order.batch_rows)


def read_report(storage: OutputStorage, part: Part, job: str) -> PartReport | None:
    """What became of a part that an earlier process finished; None if none did, or for another job."""
    metadata = storage.read_metadata(part.name)
    kept = (metadata.metadata or {}).get(REPORT) if metadata is not None else None
    if kept is None:
        return None
    found: dict[str, Any] = json.loads(kept)
    return PartReport(**found) if found.pop("job") == job else None


def _refuse(bad: pa.Table) -> DataError:
    line = bad.slice(0, 1).to_pylist()[0]
    where = f", column {line['column']!r}" if line["column"] else ""
    return DataError(
        f"{line['file']}, row {line['row']}{where}: {line['found']}, where {line['rule']} is asked for.",
        hint="Repair it, or let such rows be set aside: --bad-rows quarantine.",
    )


class _GroupWriter:
    """A Parquet file that is written in row groups of one size; opened with the first row.

    Args:
        stack: Closes it whatever happens.
        path: Where to.
        schema: What every table has.
    """

    def __init__(self, stack: ExitStack, path: Path, schema: pa.Schema) -> None:
        self._stack = stack
        self._path = path
        self._schema = schema
        self._writer: Any = None
        self._waiting: list[pa.Table] = []
        self._count = 0

    def add(self, table: pa.Table) -> None:
        """Takes rows, in this order."""
        if len(table):
            self._waiting.append(table)
            self._count += len(table)
        if self._count >= GROUP_ROWS:
            self._write()

    def close(self, metadata: Mapping[bytes, bytes]) -> bool:
        """Writes the rest; returns whether there is a file: only if there are rows, or metadata."""
        if self._count:
            self._write()
        if metadata:
            self._open().add_key_value_metadata(metadata)
        if self._writer is not None:
            self._writer.close()
        return self._writer is not None

    def _write(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._open().write_table(table, row_group_size=len(table))
        self._waiting, self._count = [], 0

    def _open(self) -> Any:
        if self._writer is None:
            plain = {ROW} | {field.name for field in self._schema if pa.types.is_floating(field.type)}
            self._writer = self._stack.enter_context(
                pq.ParquetWriter(
                    self._path,
                    self._schema,
                    use_dictionary=[name for name in self._schema.names if name not in plain],
                    column_encoding={ROW: "DELTA_BINARY_PACKED"} if ROW in self._schema.names else None,
                )
            )
        return self._writer
