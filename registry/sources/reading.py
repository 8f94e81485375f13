"""Reads a source into a frame, whichever door it is behind."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .location import Source, parse_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_source", "read_table"]


def read_table(
    text: str,
    *,
    folder: Path | None = None,
    query: str | None = None,
    args: Mapping[str, Any] | None = None,
) -> "pd.DataFrame":
    """Reads the table at a data address: :func:`parse_source`, then :func:`read_source`."""
    return read_source(parse_source(text, folder=folder, query=query, args=args))


def read_source(source: Source) -> "pd.DataFrame":
    """Reads the whole table; its index is 0, 1, 2 … and its column names are unique text.

    Raises:
        DataError: It is missing, cannot be read as a table, or has no columns.
        AccessDeniedError: A secret or permission is missing or wrong, or the bucket does not exist.
        UnreachableError: The server gives no answer.
    """
    from .shape import check_shape  # noqa: PLC0415 - pandas

    return check_shape(_read(source), source.text)


def _read(source: Source) -> "pd.DataFrame":
    if source.kind == "files":
        from .files import read_files  # noqa: PLC0415 - pandas

        return read_files(source)
    if source.kind == "s3":
        from .s3 import read_s3  # noqa: PLC0415 - boto3

        return read_s3(source)
    if source.kind == "sql":
        from .sql import read_sql  # noqa: PLC0415 - SQLAlchemy

        return read_sql(source)
    from .function import call_function  # noqa: PLC0415 - runs the user's code

    return call_function(source)
