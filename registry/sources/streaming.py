"""Tables too large to be read at once: their files, cut into pieces, and each piece read batch by batch.

The same files are always cut in the same way: Parquet between row groups, CSV files between records. A CSV
that is compressed, or lies on S3, is one piece: nothing in it can be found without reading what is before.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from registry.errors import DataError, UsageError

from .location import Source
from .pieces import Piece, RowBatch, SourceFile, translating_unreadable

__all__ = ["cut_source", "list_source", "read_piece"]

PIECE_ROWS: Final = 500_000
"""Row groups are put together up to here; a larger one is a piece by itself."""
PIECE_BYTES: Final = 64 << 20
PARQUET_BUFFER: Final = 1 << 20
LISTERS: Final = 8
"""Files that are looked into at the same time."""


def list_source(source: Source) -> list[SourceFile]:
    """The files of a table, in the order of their names.

    Raises:
        UsageError: The source is no files.
        DataError: There are none.
        AccessDeniedError: S3 refused.
        UnreachableError: S3 gives no answer.
    """
    if source.kind == "files":
        return _list_folder(source)
    if source.kind == "s3":
        from .s3_streaming import list_objects  # noqa: PLC0415 - boto3

        return list_objects(source)
    raise UsageError(
        f"{source.text} cannot be read piece by piece.", hint="Name a file, a folder, a pattern or s3://…"
    )


def cut_source(
    files: Sequence[SourceFile], *, piece_rows: int = PIECE_ROWS, piece_bytes: int = PIECE_BYTES
) -> list[Piece]:
    """Cuts files into pieces, without reading Parquet's rows; the same pieces for the same files.

    Args:
        files: As they were listed.
        piece_rows: Row groups of a Parquet file are put together up to so many rows.
        piece_bytes: Pieces of a CSV file are at least so large, but for the last.

    Raises:
        DataError: A file cannot be read, has a column twice, or the files' columns differ.
    """
    with ThreadPoolExecutor(LISTERS) as pool:
        cut = list(pool.map(lambda file: _cut(file, piece_rows, piece_bytes), files))
    pieces = [piece for found in cut for piece in found]
    _check_columns(pieces)
    return pieces


def read_piece(piece: Piece, columns: Sequence[str], batch_rows: int) -> Iterator[RowBatch]:
    """Reads a piece, some rows at a time.

    Args:
        piece: As it was cut.
        columns: Which ones, in this order; all of them are in the file.
        batch_rows: At most so many rows per batch.

    Raises:
        DataError: The file is not as it was when it was cut, or cannot be read.
    """
    file = piece.file
    with _open(file) as stream:
        if file.is_parquet:
            yield from _read_parquet(piece, stream, columns, batch_rows)
        else:
            from .csv_streaming import read_csv  # noqa: PLC0415 - pyarrow

            yield from read_csv(piece, stream, columns, batch_rows)


def _list_folder(source: Source) -> list[SourceFile]:
    from .files import find_files  # noqa: PLC0415 - pandas

    root = Path(source.address)
    found = []
    for path in find_files(source):
        about = path.stat()
        name = path.relative_to(root).as_posix() if root.is_dir() else path.name
        found.append(SourceFile(name, str(path), about.st_size, str(about.st_mtime_ns)))
    if len({file.name for file in found}) < len(found):  # a pattern across folders
        return [replace(file, name=file.address) for file in found]
    return found


@contextmanager
def _open(file: SourceFile) -> Iterator[BinaryIO]:
    """Opens a file, and looks before and afterwards whether it is the one that was listed."""
    if file.address.startswith("s3://"):
        from .s3_streaming import open_object  # noqa: PLC0415 - boto3

        with open_object(file) as stream:
            yield stream
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(file.address).open("rb"))
        except OSError as error:
            raise DataError(f"{file.name} cannot be opened: {error.strerror}.") from error
        _check_unchanged(file)
        yield stream
        _check_unchanged(file)


def _check_unchanged(file: SourceFile) -> None:
    try:
        about = Path(file.address).stat()
    except OSError as error:
        raise DataError(f"{file.name} is gone: {error.strerror}.") from error
    if (about.st_size, str(about.st_mtime_ns)) != (file.size, file.stamp):
        raise DataError(f"{file.name} has changed since the job began.", hint="Begin again with --restart.")


def _cut(file: SourceFile, piece_rows: int, piece_bytes: int) -> list[Piece]:
    with _open(file) as stream:
        if file.is_parquet:
            return _cut_parquet(file, stream, piece_rows)
        from .csv_streaming import cut_csv  # noqa: PLC0415 - pyarrow

        return cut_csv(file, stream, piece_bytes)


def _cut_parquet(file: SourceFile, stream: BinaryIO, piece_rows: int) -> list[Piece]:
    with translating_unreadable(file), _open_parquet(stream) as parquet:
        described = parquet.metadata
        known = replace(file, columns=tuple(parquet.schema_arrow.names))
        sizes = [described.row_group(number).num_rows for number in range(described.num_row_groups)]
    pieces: list[Piece] = []
    start, first_row, rows = 0, 1, 0
    for number, size in enumerate(sizes):
        if rows and rows + size > piece_rows:
            pieces.append(Piece(known, start, number, first_row, rows))
            start, first_row, rows = number, first_row + rows, 0
        rows += size
    return [*pieces, Piece(known, start, len(sizes), first_row, rows)]


def _read_parquet(
    piece: Piece, stream: BinaryIO, columns: Sequence[str], batch_rows: int
) -> Iterator[RowBatch]:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    row = piece.first_row
    with translating_unreadable(piece.file), _open_parquet(stream) as parquet:
        batches = parquet.iter_batches(
            batch_size=batch_rows,
            row_groups=list(range(piece.start, piece.stop)),
            columns=list(columns),
            use_threads=False,
        )
        for batch in batches:
            table = pa.Table.from_batches([batch]).select(list(columns))
            yield RowBatch(table, range(row, row + len(table)))
            row += len(table)


def _open_parquet(stream: BinaryIO) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    return pq.ParquetFile(stream, buffer_size=PARQUET_BUFFER, pre_buffer=False)


def _check_columns(pieces: Sequence[Piece]) -> None:
    first = pieces[0].file
    for piece in pieces:
        names = piece.file.columns
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{piece.file.name} has the column {twice!r} twice.")
        if set(names) != set(first.columns):
            odd = min(set(names) ^ set(first.columns))
            where = f"{first.name} and {piece.file.name}"
            raise DataError(f"The files have different columns: {odd!r} is not in both {where}.")
