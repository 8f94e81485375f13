"""What a large table is cut into: files, pieces of files, batches of rows."""

import lzma
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Piece", "RowBatch", "SourceFile", "translating_unreadable"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a table.

    Attributes:
        name: Relative to the folder or prefix that was named; what people are shown.
        address: Absolute path or ``s3://…``.
        size: Bytes.
        stamp: Changes when the file does: time of modification in ns, or S3's ETag.
        columns: Names, in the file's order; known once it was cut.
    """

    name: str
    address: str
    size: int
    stamp: str
    columns: tuple[str, ...] = ()

    @property
    def is_parquet(self) -> bool:
        """Parquet by its name, else CSV."""
        return self.name.lower().endswith((".parquet", ".pq"))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that can be read by itself.

    Attributes:
        file: The file.
        start: First row group of a Parquet file; first byte of a CSV file.
        stop: The row group, or byte, behind the last; -1: to the end.
        first_row: The file's row that it begins with, from 1; empty lines of a CSV do not count.
        rows: How many; None where only reading tells.
    """

    file: SourceFile
    start: int
    stop: int
    first_row: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows of a piece.

    Attributes:
        table: Their columns; of a CSV, all texts.
        rows: Their numbers in the file, from 1: ascending, with gaps where ``broken`` is.
        broken: Rows between them whose number of fields is not the header's: number, fields, text.
    """

    table: "pa.Table"
    rows: Sequence[int]
    broken: tuple[tuple[int, int, str], ...] = ()


@contextmanager
def translating_unreadable(file: SourceFile) -> Iterator[None]:
    """Words what pyarrow and the decompressors raise on a file that is not what its name says.

    Raises:
        DataError: That.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        kind = "Parquet" if file.is_parquet else "CSV"
        raise DataError(f"{file.name} cannot be read as {kind}: {reason}.") from error
