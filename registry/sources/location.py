"""What a data address means; reading it is ``reading``'s.

Addresses: a file (``flights.csv``, ``flights.parquet``), a folder, a pattern (``days/*.csv``),
``s3://bucket/key`` or ``s3://bucket/prefix/``, a database URL with a query, ``python:FILE.py:FUNCTION`` or
``python:MODULE:FUNCTION``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from registry.errors import UsageError

__all__ = ["Source", "SourceKind", "parse_source"]

SourceKind = Literal["files", "s3", "sql", "python"]


@dataclass(frozen=True, slots=True)
class Source:
    """One place a table can be read from.

    Attributes:
        kind: Which door reads it.
        text: The address as the user wrote it, without a password: what messages and logs show.
        address: The address as it is opened: absolute path or pattern, URL, ``s3://…`` or
            ``FILE_OR_MODULE:FUNCTION``.
        query: SQL only.
        args: Keyword arguments of a Python function.
    """

    kind: SourceKind
    text: str
    address: str = field(repr=False)
    query: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)


def parse_source(
    text: str,
    *,
    folder: Path | None = None,
    query: str | None = None,
    args: Mapping[str, Any] | None = None,
) -> Source:
    """Understands a data address; touches nothing.

    Args:
        text: The address.
        folder: What relative paths are relative to; the working directory if None.
        query: Needed for a database, and only there.
        args: Keyword arguments, only for a Python function.

    Raises:
        UsageError: It is no address, or query or args do not go with it.

    >>> parse_source("s3://flights/2013/").kind
    's3'
    >>> parse_source("sqlite:///shop.db", query="SELECT 1").kind
    'sql'
    """
    if not text.strip():
        raise UsageError("The data source is empty.", hint="Name a file, folder, s3:// or database URL.")
    base = (folder or Path()).absolute()
    source = _parse(text, base, query)
    if query is not None and source.kind != "sql":
        raise UsageError(f"A query goes with a database URL, and {source.text!r} is none.")
    if args and source.kind != "python":
        raise UsageError(f"Arguments go with a python: source, and {source.text!r} is none.")
    return Source(source.kind, source.text, source.address, query, dict(args or {}))


def _parse(text: str, base: Path, query: str | None) -> Source:
    if text.startswith("python:"):
        return Source("python", text, _parse_python(text, base))
    if text.startswith("s3://"):
        if not text.removeprefix("s3://").partition("/")[0]:
            raise UsageError(
                f"{text!r} names no bucket.", hint="Write s3://BUCKET/KEY or s3://BUCKET/PREFIX/."
            )
        return Source("s3", text, text)
    if text.startswith("file://"):
        return Source("files", text, text.removeprefix("file://"))
    if "://" in text:
        return _parse_sql(text, base, query)
    return Source("files", text, str(base / Path(text).expanduser()))


def _parse_python(text: str, base: Path) -> str:
    home, _, function = text.removeprefix("python:").rpartition(":")
    if not home or not function.isidentifier():
        raise UsageError(
            f"{text!r} names no function.", hint="Write python:FILE.py:FUNCTION or python:MODULE:FUNCTION."
        )
    return f"{base / home}:{function}" if home.endswith(".py") else f"{home}:{function}"


def _parse_sql(text: str, base: Path, query: str | None) -> Source:
    scheme, _, rest = text.partition("://")
    dialect = scheme.partition("+")[0]
    if dialect not in {"sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle", "duckdb", "snowflake"}:
        raise UsageError(
            f"The data source {_without_password(text)!r} has an unknown scheme, {scheme}://.",
            hint="Known are s3://, file:// and database URLs such as postgresql+psycopg:// and sqlite:///.",
        )
    if not query:
        raise UsageError(
            f"The database {_without_password(text)!r} needs a query.", hint="Add query = 'SELECT …'."
        )
    if dialect == "sqlite" and rest.startswith("/") and not rest.startswith("//") and rest != "/:memory:":
        return Source("sql", text, f"{scheme}:///{base / rest.removeprefix('/')}")
    return Source("sql", _without_password(text), text)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, at, path = rest.rpartition("@")
    user = authority.partition(":")[0]
    return f"{scheme}://{user}@{path}" if at else url
