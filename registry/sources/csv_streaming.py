"""CSV files that are cut between records and read batch by batch, every field as text.

What a field means is for whoever knows the column's type: a text that is no number is that row's fault, and
no reason to fail. Missing is what pandas takes for missing. A record may hold line breaks between quotes.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.csv as pacsv

from registry.errors import DataError

from .pieces import Piece, RowBatch, SourceFile, translating_unreadable

__all__ = ["cut_csv", "read_csv"]

BLOCK_BYTES: Final = 8 << 20
MAX_RECORD_BYTES: Final = 128 << 20
"""A record that is longer is a quote that nobody closed."""
MISSING: Final = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Source: ``na_values`` of pandas.read_csv, which training reads by."""

_QUOTED: Final = re.compile(rb'(?<![^,\n\r])"[^"]*(?:""[^"]*)*(?:"|\Z)')
"""A field between quotes, or the beginning of one; a quote inside a field means nothing (as in RFC 4180)."""
_EMPTY_LINE: Final = re.compile(rb"(?:\A|\n)(?=\n)")


def cut_csv(
    file: SourceFile, stream: BinaryIO, piece_bytes: int, *, block_bytes: int = BLOCK_BYTES
) -> list[Piece]:
    """Cuts an open file.

    Args:
        file: The file.
        stream: At its beginning.
        piece_bytes: Pieces are at least so large, but for the last.
        block_bytes: So much is read at once.

    Raises:
        DataError: It is empty, or no such file.
    """
    with translating_unreadable(file), _decompress(file, stream) as plain:
        known = replace(file, columns=_read_header(plain, file))
        if plain is not stream or file.address.startswith("s3://"):
            return [Piece(known, 0, -1, 1, None)]
        start = plain.tell()
        marks = [(start, 1), *_find_cuts(plain, file, piece_bytes, block_bytes)]
    pairs = pairwise(marks)
    return [Piece(known, one, two, row, next_row - row) for (one, row), (two, next_row) in pairs] or [
        Piece(known, start, start, 1, 0)
    ]


def read_csv(piece: Piece, stream: BinaryIO, columns: Sequence[str], batch_rows: int) -> Iterator[RowBatch]:
    """Reads a piece of an open file.

    Raises:
        DataError: It is cut short, or no such file.
    """
    with translating_unreadable(piece.file), _decompress(piece.file, stream) as plain:
        if piece.stop < 0:
            _read_header(plain, piece.file)
            yield from _parse(piece, plain, columns, batch_rows)
            return
        plain.seek(piece.start)
        if piece.stop > piece.start:
            part = io.BufferedReader(_Section(plain, piece.stop - piece.start), BLOCK_BYTES)
            yield from _parse(piece, part, columns, batch_rows)


class _Section(io.RawIOBase):
    """So many bytes from where a stream is."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)


def _parse(piece: Piece, stream: Any, columns: Sequence[str], batch_rows: int) -> Iterator[RowBatch]:
    broken: list[tuple[int, int, str]] = []

    def skip(row: Any) -> str:
        broken.append((piece.first_row + row.number - 1, row.actual_columns, row.text))
        return "skip"

    names = list(piece.file.columns)
    reader = pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(columns) or names[:1],
            null_values=list(MISSING),
            strings_can_be_null=True,
        ),
    )
    row = piece.first_row
    for table in _gather(reader, batch_rows):
        past = [number for number, _, _ in broken]
        rows, row = _count_on(row, len(table), past)
        told, broken[:] = (
            tuple(one for one in broken if one[0] < row),
            [one for one in broken if one[0] >= row],
        )
        yield RowBatch(table.select(list(columns)), rows, told)
    if broken:
        yield RowBatch(pa.table({name: pa.array([], pa.string()) for name in columns}), (), tuple(broken))


def _count_on(row: int, count: int, skipped: Sequence[int]) -> tuple[Sequence[int], int]:
    """Numbers for the next rows, those left out that are skipped; and the number behind the last."""
    gaps = {number for number in skipped if number >= row}
    if not gaps:
        return range(row, row + count), row + count
    numbers: list[int] = []
    while len(numbers) < count:
        if row not in gaps:
            numbers.append(row)
        row += 1
    return numbers, row


def _gather(reader: Any, batch_rows: int) -> Iterator[pa.Table]:
    """The parser's batches, whose sizes are its own, as tables of ``batch_rows`` rows."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        waiting.append(batch)
        count += len(batch)
        if count >= batch_rows:
            table = pa.Table.from_batches(waiting)
            whole = count - count % batch_rows
            for at in range(0, whole, batch_rows):
                yield table.slice(at, batch_rows).combine_chunks()
            waiting, count = table.slice(whole).combine_chunks().to_batches(), count - whole
    if count:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _find_cuts(
    stream: BinaryIO, file: SourceFile, piece_bytes: int, block_bytes: int
) -> Iterator[tuple[int, int]]:
    """Where pieces end: the byte behind a record, and the number of the row that begins there."""
    offset = begun = stream.tell()
    row, carried = 1, b""
    while block := stream.read(block_bytes):
        text = carried + block
        masked = _mask(text)
        end = masked.rfind(b"\n") + 1
        if not end and len(text) > MAX_RECORD_BYTES:
            raise DataError(
                f"{file.name}: row {row} does not end within {MAX_RECORD_BYTES >> 20} MB.",
                hint="Most likely a quote is not closed.",
            )
        row += _count_records(masked[:end])
        offset, carried = offset + end, text[end:]
        if offset - begun >= piece_bytes:
            yield offset, row
            begun = offset
    if carried:
        row += _count_records(_mask(carried) + b"\n")
        offset += len(carried)
    if offset > begun:
        yield offset, row


def _mask(text: bytes) -> bytes:
    """The same length, with what stands between quotes blotted out."""
    if b'"' not in text:
        return text
    return _QUOTED.sub(lambda found: b"x" * len(found[0]), text)


def _count_records(masked: bytes) -> int:
    r"""Lines that are not empty.

    >>> _count_records(b"a\n\n\nb\r\n\r\nc\n")
    3
    """
    lines = masked.replace(b"\r\n", b"\n") if b"\r" in masked else masked
    return lines.count(b"\n") - len(_EMPTY_LINE.findall(lines))


def _read_header(stream: Any, file: SourceFile) -> tuple[str, ...]:
    """Reads the first record, and leaves the stream behind it."""
    record = b""
    while line := stream.readline():
        record += line
        if (record.strip() and _mask(record).endswith((b"\n", b"\r"))) or len(record) > MAX_RECORD_BYTES:
            break
        if not record.strip():
            record = b""
    names = next(csv.reader([record.decode("utf-8-sig").strip("\r\n")]), [])
    if not names or not all(name.strip() for name in names):
        raise DataError(
            f"{file.name} has a column without a name." if names else f"{file.name} is empty.",
            hint="A CSV file needs a first line with column names.",
        )
    return tuple(names)


@contextmanager
def _decompress(file: SourceFile, stream: BinaryIO) -> Iterator[Any]:
    ending = file.name.lower().rpartition(".")[2]
    openers: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    if ending in openers:
        with openers[ending](stream) as plain:
            yield plain
    elif ending == "zst":
        yield io.BufferedReader(pa.CompressedInputStream(stream, "zstd"))
    elif ending == "zip":
        with zipfile.ZipFile(stream) as archive, archive.open(_find_member(archive, file)) as plain:
            yield plain
    else:
        yield stream


def _find_member(archive: zipfile.ZipFile, file: SourceFile) -> str:
    names = archive.namelist()
    if len(names) != 1:
        raise DataError(f"{file.name} holds {len(names)} files.", hint="Put one CSV file into it.")
    return names[0]
