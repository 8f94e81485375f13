"""Reads the prediction log, in four frames, with the truth joined.

Memory: what matches ``since``, ``until`` and ``versions``, and one file at a time. Files of other versions
and days are not opened.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from registry.errors import DataError

from .columns import Piece, join_pieces, read_piece
from .joining import FIRST_ROW, join_truth
from .parts import INPUT, MOMENT, OUTPUT, VERSION_KEY
from .places import feedback_folder, list_parts, parse_version, predictions_folder, quote_name
from .storage import Storage, open_storage
from .table import PredictionTable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["count_unknown", "read_predictions"]

TRIES: Final = 5
"""Looks at a folder in which files are being put together; a writer does that every few minutes."""


def read_predictions(
    log: str,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    versions: Collection[str] | None = None,
) -> PredictionTable:
    """Reads predictions and what is known about them by now; empty frames if there are none.

    A writer may write meanwhile: what was there at the beginning is read.

    Args:
        log: The folder, or ``s3://bucket/prefix``.
        model: Name of the registered model.
        since: Predictions answered at this time or later; without an offset it means UTC.
        until: Predictions answered before this time.
        versions: Of these versions only.

    Raises:
        UsageError: ``log`` is no address of a log.
        AccessDeniedError: It may not be read, or the bucket does not exist.
        UnreachableError: No answer.
        DataError: A file of the log cannot be read.
    """
    storage = open_storage(log)
    gathered = _Gathered()
    for version, day in _find_days(storage, model, since, until, versions):
        for table in _read_day(storage, day, lambda table: _select(table, since, until)):
            gathered.add(version, table)
    meta = gathered.make_meta()
    order = meta["time"].argsort(kind="stable").to_numpy()
    meta = meta.iloc[order].reset_index(drop=True)
    inputs, outputs = (
        gathered.make_frame(prefix).iloc[order].reset_index(drop=True) for prefix in (INPUT, OUTPUT)
    )
    truth = join_truth(meta["id"], _read_feedback(storage, model, set(meta["id"])))
    return PredictionTable(meta, inputs, outputs, truth)


def count_unknown(log: str, model: str, ids: Iterable[str]) -> int:
    """How many of these ids stand for no prediction in the log, by now; reads ids only.

    Raises:
        GreenroomError: As :func:`read_predictions`.
    """
    unknown = set(ids)
    storage = open_storage(log)
    for _, day in _find_days(storage, model, None, None, None):
        if not unknown:
            break
        for table in _read_day(storage, day, columns=["id"]):
            found = table.column("id").to_pylist()
            unknown.difference_update(found, [f"{one}{FIRST_ROW}" for one in found])
    return len(unknown)


@dataclass(slots=True)
class _Gathered:
    """What was read so far, file by file."""

    rows: int = 0
    versions: list[tuple[str, int]] = field(default_factory=list)
    tables: list["pa.Table"] = field(default_factory=list)
    pieces: dict[str, list[Piece]] = field(default_factory=dict)

    def add(self, version: str, table: "pa.Table") -> None:
        if not table.num_rows:
            return
        for name in table.column_names:
            if name.startswith((INPUT, OUTPUT)):
                pieces = self.pieces.setdefault(name, [self.rows] if self.rows else [])
                missing = self.rows - sum(map(_count, pieces))
                pieces.extend([missing] if missing else [])
                pieces.append(read_piece(table, name))
        self.rows += table.num_rows
        written = (table.schema.metadata or {}).get(VERSION_KEY)  # a folder's name may be cut
        self.versions.append((written.decode() if written else version, table.num_rows))
        self.tables.append(table.select(["id", "time", "path"]))

    def make_meta(self) -> "pd.DataFrame":
        import pandas as pd  # noqa: PLC0415 - heavy

        columns = ("id", "time", "path")
        parts = {name: [table.column(name).to_pandas() for table in self.tables] for name in columns}
        version = [text for text, rows in self.versions for _ in range(rows)]
        return pd.DataFrame(
            {
                "id": _concat(parts["id"], "str"),
                "time": _concat(parts["time"], "datetime64[us, UTC]"),
                "version": pd.Series(version, dtype="str"),
                "path": _concat(parts["path"], "str"),
            }
        )

    def make_frame(self, prefix: str) -> "pd.DataFrame":
        import pandas as pd  # noqa: PLC0415 - heavy

        columns = {}
        for name in [name for name in self.pieces if name.startswith(prefix)]:
            pieces = self.pieces.pop(name)
            missing = self.rows - sum(map(_count, pieces))
            columns[name.removeprefix(prefix)] = join_pieces([*pieces, missing] if missing else pieces)
        return pd.DataFrame(columns, index=pd.RangeIndex(self.rows))


def _count(piece: Piece) -> int:
    return piece if isinstance(piece, int) else len(piece[0])


def _concat(parts: Sequence[Any], dtype: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.concat(parts, ignore_index=True).astype(dtype) if parts else pd.Series(dtype=dtype)


def _find_days(
    storage: Storage,
    model: str,
    since: datetime | None,
    until: datetime | None,
    versions: Collection[str] | None,
) -> Iterator[tuple[str, str]]:
    """Versions, and folders of days, that may hold such predictions."""
    folder = predictions_folder(model)
    wanted = None if versions is None else {f"version={quote_name(version)}": version for version in versions}
    for name in storage.list_folders(folder):
        version = parse_version(name) if wanted is None else wanted.get(name)
        if version is None:
            continue
        first = f"date={_utc(since).date().isoformat()}" if since else ""
        last = f"date={_utc(until).date().isoformat()}" if until else "\uffff"
        for day in storage.list_folders(f"{folder}/{name}"):
            if first <= day <= last:
                yield version, f"{folder}/{name}/{day}"


def _read_day(
    storage: Storage,
    folder: str,
    select: "Callable[[pa.Table], pa.Table]" = lambda table: table,
    columns: list[str] | None = None,
) -> "list[pa.Table]":
    """All files of one folder; looks again if some were put together, or removed, since it was listed."""
    tables: list[pa.Table] = []
    for _ in range(TRIES):
        names = list_parts(storage.list_files(folder))
        found = [_read_part(storage, f"{folder}/{name}", select, columns) for name in names]
        tables = [table for table in found if table is not None]
        if len(tables) == len(names):
            break
    return tables


def _read_part(
    storage: Storage, name: str, select: "Callable[[pa.Table], pa.Table]", columns: list[str] | None
) -> "pa.Table | None":
    """What is wanted of a file; None if it is gone."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    content = storage.read(name)
    if content is None:
        return None
    try:
        return select(pq.ParquetFile(pa.BufferReader(content)).read(columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{name} in the prediction log {storage.text} cannot be read as Parquet.",
            hint="Greenroom writes whole files only; restore this one, or remove it.",
        ) from error


def _select(table: "pa.Table", since: datetime | None, until: datetime | None) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - heavy
    import pyarrow.compute as pc  # noqa: PLC0415 - heavy

    if since is not None:
        table = table.filter(pc.greater_equal(table.column("time"), pa.scalar(_utc(since), MOMENT)))
    if until is not None:
        table = table.filter(pc.less(table.column("time"), pa.scalar(_utc(until), MOMENT)))
    return table


def _read_feedback(storage: Storage, model: str, ids: Collection[str]) -> "pd.DataFrame":
    """All feedback about these ids, in the order in which it was written."""
    import pandas as pd  # noqa: PLC0415 - heavy

    def select(table: "pa.Table") -> "pa.Table":
        told = table.column("id").to_pylist()
        return table.filter([one in ids or one.removesuffix(FIRST_ROW) in ids for one in told])

    folder = feedback_folder(model)
    days = storage.list_folders(folder) if ids else []
    tables = [table for day in days for table in _read_day(storage, f"{folder}/{day}", select)]
    tables = [table for table in tables if table.num_rows]
    moments = {
        name: _concat([table.column(name).to_pandas() for table in tables], "datetime64[us, UTC]")
        for name in ("time", "arrived")
    }
    return pd.DataFrame(
        {
            "id": _concat([table.column("id").to_pandas() for table in tables], "str"),
            "truth": join_pieces([read_piece(table, "truth") for table in tables]),
            **moments,
        }
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
