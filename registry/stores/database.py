"""Knocks at a tracking database before MLflow does: MLflow would knock ten times, for minutes."""

from pathlib import Path
from typing import Any, Final

from registry.errors import AccessDeniedError, GreenroomError, NotFoundError, StoreError, UnreachableError

from .address import parse_address
from .schema import check_schema

__all__ = ["check_database", "is_database"]

_SCHEMES: Final = ("sqlite", "postgresql", "mysql", "mssql")
_DRIVERS: Final = {
    "postgresql": 'pip install "greenroom[postgres]" and write postgresql+psycopg://',
    "mysql": "pip install pymysql and write mysql+pymysql://",
    "mssql": "pip install pymssql and write mssql+pymssql://",
}

_DENIED_SIGNS: Final = ("password", "authentication", "Access denied", "no pg_hba.conf entry", "Login failed")
_MISSING_SIGNS: Final = ("does not exist", "Unknown database")


def is_database(uri: str) -> bool:
    """True for a URI that MLflow gives to SQLAlchemy."""
    return parse_address(uri).scheme.partition("+")[0] in _SCHEMES


def check_database(uri: str, timeout_s: float, *, variable: str, may_create: bool = False) -> None:
    """Returns if the database answers.

    Args:
        uri: SQLAlchemy's address of it.
        timeout_s: How long to wait for an answer.
        variable: The environment variable the URI came from, for the hint.
        may_create: True if a missing SQLite file is welcome: MLflow then creates it.

    Raises:
        NotFoundError: There is no such file or database.
        AccessDeniedError: It does not accept the user or the password.
        StoreError: Its driver is missing, it is no such database, or its tables are another MLflow's.
        UnreachableError: No answer.
    """
    shown, hint = parse_address(uri).text, f"Check {variable}."
    if uri.startswith("sqlite") and not _check_file(uri, shown, hint, may_create=may_create):
        return  # knocking would create it
    from sqlalchemy import exc  # noqa: PLC0415 - slow import

    try:
        _knock(uri, timeout_s, shown)
    except (ImportError, exc.NoSuchModuleError) as error:
        raise _word_driver(uri, shown, error) from error
    except exc.ArgumentError as error:
        raise StoreError(f"{shown} is no database address.", hint=hint) from error
    except exc.SQLAlchemyError as error:
        raise _word(shown, hint, str(error.__cause__ or error)) from error


def _check_file(uri: str, shown: str, hint: str, *, may_create: bool) -> bool:
    """False if there is no file yet, and that is welcome."""
    name = uri.partition("?")[0].partition(":///")[2]
    if not name or name == ":memory:" or name.startswith("file:"):
        return True
    file = Path(name)
    if file.is_dir():
        raise StoreError(f"{shown} is a folder, not a database file.", hint=hint)
    if file.exists():
        return True
    if not file.parent.is_dir():
        raise NotFoundError(f"There is no folder {file.parent} for {shown}.", hint=hint)
    if not may_create:
        raise NotFoundError(
            f"There is no MLflow database at {shown}.",
            hint=f"{hint} Train a model here first, or start: greenroom server",
        )
    return False


def _knock(uri: str, timeout_s: float, shown: str) -> None:
    from sqlalchemy import create_engine, make_url, pool, text  # noqa: PLC0415 - slow import

    family = make_url(uri).get_backend_name()
    limits: dict[str, Any] = {}
    if family in {"postgresql", "mysql"}:
        limits = {"connect_timeout": max(1, round(timeout_s))}
    engine = create_engine(uri, connect_args=limits, poolclass=pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM sqlite_master" if family == "sqlite" else "SELECT 1"))
            check_schema(connection, shown)
    finally:
        engine.dispose()


def _word_driver(uri: str, shown: str, error: Exception) -> GreenroomError:
    family = parse_address(uri).scheme.partition("+")[0]
    return StoreError(
        f"{shown} needs a database driver that is not installed ({error}).",
        hint=f"For instance: {_DRIVERS.get(family, 'pip install sqlalchemy')}",
    )


def _word(shown: str, hint: str, message: str) -> GreenroomError:
    line = (message.strip().splitlines() or [""])[-1].strip().rstrip(".?")
    if any(sign in message for sign in _DENIED_SIGNS):
        return AccessDeniedError(f"The database {shown} does not let you in: {line}.", hint=hint)
    if any(sign in message for sign in _MISSING_SIGNS):
        return NotFoundError(f"The database {shown} is not there: {line}.", hint=hint)
    if "not a database" in message:
        return StoreError(f"{shown} is a file, but no SQLite database.", hint=hint)
    return UnreachableError(f"No answer from the database {shown}: {line}.", hint=f"Is it running? {hint}")
