"""The disk's door for tables: one file, a folder, or a pattern; CSV (also compressed) and Parquet."""

import csv
from collections import Counter
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO, Final, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from registry.errors import DataError

from .location import Source

__all__ = [
    "CSV_ENDINGS",
    "PARQUET_ENDINGS",
    "find_files",
    "is_table",
    "join_parts",
    "read_files",
    "read_part",
]

CSV_ENDINGS: Final = (".csv", ".csv.gz", ".csv.zip", ".csv.bz2", ".csv.xz", ".csv.zst")
PARQUET_ENDINGS: Final = (".parquet", ".pq")

Compression = Literal["gzip", "zip", "bz2", "xz", "zstd"]
_COMPRESSIONS: Final[dict[str, Compression]] = {
    "gz": "gzip",
    "zip": "zip",
    "bz2": "bz2",
    "xz": "xz",
    "zst": "zstd",
}


def read_files(source: Source) -> pd.DataFrame:
    """Reads the file, or all files of the folder or pattern in the order of their names.

    Raises:
        DataError: Nothing there, a file that is no table, or files whose columns differ.
    """
    paths = find_files(source)
    parts = []
    for path in paths:
        name = path.name if len(paths) > 1 else source.text
        with _open(path, source.text) as stream:
            parts.append((name, read_part(stream, path.name, name)))
    return join_parts(parts, source.text)


def is_table(name: str) -> bool:
    """Whether a file's name says CSV or Parquet; hidden and ``_`` files (markers) are none."""
    return name.lower().endswith((*CSV_ENDINGS, *PARQUET_ENDINGS)) and not name.startswith((".", "_"))


def read_part(stream: BinaryIO, file_name: str, text: str) -> pd.DataFrame:
    """Reads one open file; ``file_name`` decides the format, ``text`` is what messages call it.

    Raises:
        DataError: It is empty, cut short, or no such format.
    """
    try:
        if file_name.lower().endswith(PARQUET_ENDINGS):
            return pd.DataFrame(pq.read_table(stream).to_pandas())
        _check_header(stream, file_name, text)
        return pd.read_csv(stream, compression=_compression(file_name), low_memory=False)
    except pd.errors.EmptyDataError as error:
        raise DataError(
            f"{text} is empty.", hint="A CSV file needs a first line with column names."
        ) from error
    except (
        pd.errors.ParserError,
        UnicodeDecodeError,
        pa.ArrowException,
        OSError,
        EOFError,
        ValueError,
    ) as error:
        kind = "Parquet" if file_name.lower().endswith(PARQUET_ENDINGS) else "CSV"
        raise DataError(f"{text} cannot be read as {kind}: {_first_line(error)}.") from error


def join_parts(parts: list[tuple[str, pd.DataFrame]], text: str) -> pd.DataFrame:
    """Puts the files of one table under each other.

    Raises:
        DataError: A file's columns differ from the first one's.
    """
    first_name, first = parts[0]
    for name, part in parts[1:]:
        if set(part.columns) != set(first.columns):
            odd = min(set(part.columns) ^ set(first.columns), key=str)
            raise DataError(
                f"The files of {text} have different columns: {odd!r} is not in both {first_name} and {name}."
            )
    if len(parts) == 1:
        return first
    return pd.concat([part for _, part in parts], ignore_index=True)


def find_files(source: Source) -> list[Path]:
    """The table's files: the one, or those of the folder or pattern in the order of their names.

    Raises:
        DataError: Nothing there, or a file that is no table by its name.
    """
    path = Path(source.address)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and is_table(file.name))
    elif has_magic(source.address) and not path.exists():
        files = sorted(Path(name) for name in glob(source.address, recursive=True))  # noqa: PTH207 - absolute patterns
    elif path.is_file():
        if not is_table(path.name):
            raise DataError(
                f"{source.text} is neither CSV nor Parquet by its name.",
                hint=f"Known endings: {', '.join((*CSV_ENDINGS, *PARQUET_ENDINGS))}.",
            )
        files = [path]
    else:
        raise DataError(f"The data file {source.text} does not exist.", hint=f"Looked for {path}.")
    if not files:
        raise DataError(f"{source.text} matches no CSV or Parquet file.", hint=f"Looked in {path}.")
    return files


def _open(path: Path, text: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{text} cannot be opened: {error.strerror}.") from error


def _check_header(stream: BinaryIO, file_name: str, text: str) -> None:
    """Refuses a name that stands twice: pandas would rename the second one silently."""
    if not file_name.lower().endswith(".csv"):
        return
    line = stream.readline().decode("utf-8-sig", "replace")
    stream.seek(0)
    names = next(csv.reader([line]), [])
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{text} has the column {twice[0]!r} twice.", hint="Rename or remove one of them.")


def _compression(file_name: str) -> Compression | None:
    return _COMPRESSIONS.get(file_name.lower().rpartition(".")[2])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
