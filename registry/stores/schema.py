"""Whether a tracking database has the tables of the MLflow installed here, told without importing it.

MLflow refuses other tables too, seconds later and with a traceback. Source: the table ``alembic_version``
and the migrations that MLflow ships in ``store/db_migrations/versions``.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["check_schema", "find_head", "read_migrations"]

_MIGRATIONS: Final = Path("store", "db_migrations", "versions")
_REVISION: Final = re.compile(r"^(revision|down_revision)(?::[^=]*)? = ['\"](\w+)['\"]", re.MULTILINE)


def check_schema(connection: "Connection", shown: str) -> None:
    """Returns if the tables are those that this MLflow needs, or there are none yet.

    Args:
        connection: To the database.
        shown: What messages call it.

    Raises:
        StoreError: They are those of another MLflow.
    """
    from sqlalchemy import inspect, text  # noqa: PLC0415 - slow import

    if not inspect(connection).has_table("alembic_version"):
        return
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().first()
    migrations = read_migrations()
    head = find_head(migrations)
    if found is None or head is None or found == head:
        return
    if found in migrations:
        raise StoreError(
            f"The tables in {shown} are those of an older MLflow (schema {found}, this one needs {head}).",
            hint=f"Stop its server, back it up, then: mlflow db upgrade {shown}",
        )
    raise StoreError(
        f"The tables in {shown} are of an MLflow that is not known here (schema {found}, this one needs "
        f"{head}).",
        hint="A newer one, most likely: install the MLflow that its server runs.",
    )


def read_migrations() -> Mapping[str, str | None]:
    """Every migration that the installed MLflow knows, and the one before it; empty if they are not found."""
    spec = find_spec("mlflow")
    folders = [Path(place) / _MIGRATIONS for place in (spec.submodule_search_locations or [])] if spec else []
    made: dict[str, str | None] = {}
    for path in (path for folder in folders for path in folder.glob("*.py")):
        words = dict(_REVISION.findall(path.read_text("utf-8")))
        if "revision" in words:
            made[words["revision"]] = words.get("down_revision")
    return made


def find_head(migrations: Mapping[str, str | None]) -> str | None:
    """The migration that none comes after; None where there is not exactly one.

    >>> find_head({"a": None, "b": "a"})
    'b'
    """
    heads = migrations.keys() - set(migrations.values())
    return heads.pop() if len(heads) == 1 else None
