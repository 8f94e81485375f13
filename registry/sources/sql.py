"""The database's door for tables: one query through SQLAlchemy."""

import pandas as pd
import sqlalchemy
from sqlalchemy import exc

from registry.errors import AccessDeniedError, DataError, UnreachableError

from .location import Source

__all__ = ["read_sql"]

_DENIED = ("password", "authentication", "permission denied", "access denied", "no pg_hba.conf", "role ")
_MISSING = (
    "does not exist",
    "no such table",
    "no such column",
    "unknown database",
    "unable to open database file",
)


def read_sql(source: Source) -> pd.DataFrame:
    """Runs the query and returns its rows, in the order the database gives them.

    Raises:
        DataError: The database, a table or column is missing, or the query is wrong.
        AccessDeniedError: User, password or permission.
        UnreachableError: No answer.
    """
    engine = _create_engine(source)
    try:
        with engine.connect() as connection:
            return pd.read_sql_query(sqlalchemy.text(source.query or ""), connection)
    except (exc.SQLAlchemyError, pd.errors.DatabaseError) as error:  # pandas wraps what a query raises
        raise _word(_unwrap(error), source) from error
    finally:
        engine.dispose()


def _create_engine(source: Source) -> sqlalchemy.Engine:
    if source.address.startswith("sqlite:////"):
        _check_sqlite_file(source)
    try:
        return sqlalchemy.create_engine(source.address, poolclass=sqlalchemy.NullPool)
    except exc.ArgumentError as error:
        raise DataError(f"{source.text} is not a database URL SQLAlchemy understands.") from error
    except ModuleNotFoundError as error:
        raise DataError(
            f"{source.text} needs the driver {error.name!r}, which is not installed.",
            hint="For PostgreSQL: install greenroom[postgres] and write postgresql+psycopg://.",
        ) from error


def _check_sqlite_file(source: Source) -> None:
    """SQLite makes a file that is missing; a source must not."""
    from pathlib import Path  # noqa: PLC0415 - only here

    path = Path(source.address.removeprefix("sqlite:///").partition("?")[0])
    if not path.is_file():
        raise DataError(f"The database file {source.text} does not exist.", hint=f"Looked for {path}.")


def _unwrap(error: Exception) -> Exception:
    cause = error.__cause__
    return cause if isinstance(error, pd.errors.DatabaseError) and isinstance(cause, Exception) else error


def _word(error: Exception, source: Source) -> DataError | AccessDeniedError | UnreachableError:
    reason = str(getattr(error, "orig", None) or error).strip()
    line = (reason.splitlines() or ["no reason given"])[0].rstrip(".")
    lowered = reason.lower()
    if any(word in lowered for word in _DENIED) and "relation" not in lowered:
        return AccessDeniedError(
            f"The database {source.text} refused: {line}.", hint="Check user and password."
        )
    remote = not source.address.startswith("sqlite")  # SQLite calls a syntax error operational
    silent = remote and isinstance(error, exc.OperationalError | exc.InterfaceError)
    if not silent or any(word in lowered for word in _MISSING):
        return DataError(f"The query on {source.text} failed: {line}.")
    return UnreachableError(f"The database {source.text} gives no answer: {line}.", hint="Is it running?")
