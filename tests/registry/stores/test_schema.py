"""A database whose tables are another MLflow's is told at once, and what to do about it."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, pool, text

from registry import Settings, StoreError, open_store
from registry.stores.schema import find_head, read_migrations


def execute(uri: str, statement: str) -> None:
    engine = create_engine(uri, poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def make_older(uri: str) -> None:
    """The tables as the migration before the newest left them, by MLflow's own migrations."""
    import alembic.command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    migrations = read_migrations()
    head = find_head(migrations)
    assert head is not None
    engine = create_engine(uri, poolclass=pool.NullPool)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(uri)  # type: ignore[no-untyped-call]
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, migrations[head] or "")
    engine.dispose()


def test_the_newest_migration_is_the_one_that_mlflow_asks_for(tracking_uri: str) -> None:
    engine = create_engine(tracking_uri, poolclass=pool.NullPool)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    engine.dispose()
    assert find_head(read_migrations()) == found


def test_older_tables_are_told_with_the_command_that_upgrades_them_which_works(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    make_older(uri)
    settings = Settings(tracking_uri=uri, registry_uri=uri)
    with pytest.raises(StoreError, match="older MLflow") as caught:
        open_store(settings)
    command = caught.value.hint.rpartition("then: ")[2].split()
    assert command[:3] == ["mlflow", "db", "upgrade"]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    assert open_store(settings).find_experiment("none of this name") is None


def test_tables_of_an_unknown_mlflow_are_not_touched(tracking_uri: str) -> None:
    execute(tracking_uri, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(StoreError, match="not known here") as caught:
        open_store(Settings(tracking_uri=tracking_uri, registry_uri=tracking_uri))
    assert "install the MLflow" in caught.value.hint


def test_no_single_newest_migration_is_no_reason_to_refuse() -> None:
    assert find_head({}) is None
    assert find_head({"a": None, "b": "a", "c": "a"}) is None
