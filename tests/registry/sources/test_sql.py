import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import DataError, UnreachableError, read_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "shop.db")
    with connection:
        connection.execute("CREATE TABLE items (name TEXT, price REAL)")
        connection.executemany("INSERT INTO items VALUES (?, ?)", [("a", 1.5), ("b", None)])
    connection.close()
    return tmp_path


def test_a_query_is_a_table(folder: Path) -> None:
    frame = read_table("sqlite:///shop.db", folder=folder, query="SELECT * FROM items ORDER BY name")
    assert frame["name"].tolist() == ["a", "b"]
    assert frame["price"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("source", "query", "sentence"),
    [
        ("sqlite:///gone.db", "SELECT 1", "The database file sqlite:///gone.db does not exist."),
        ("sqlite:///shop.db", "SELECT * FROM sales", "no such table: sales."),
        ("sqlite:///shop.db", "SELECT cost FROM items", "no such column: cost."),
        ("sqlite:///shop.db", "SELEC 1", "syntax error"),
        ("sqlite:///shop.db", "SELECT 1 AS a, 2 AS a", "has the column 'a' twice."),
        ("mysql+nodriver://db/shop", "SELECT 1", "is not a database URL SQLAlchemy understands."),
    ],
)
def test_what_gives_no_table_is_refused(folder: Path, source: str, query: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(source, folder=folder, query=query)
    assert sentence in str(caught.value)
    assert not (folder / "gone.db").exists()


def test_a_missing_table_on_postgres_is_refused(postgres_uri: Callable[[], str]) -> None:
    with pytest.raises(DataError, match='relation "sales" does not exist'):
        read_table(postgres_uri(), query="SELECT * FROM sales")


def test_a_missing_database_is_refused(postgres_uri: Callable[[], str]) -> None:
    uri = re.sub(r"/test_\w+", "/no_such_database", postgres_uri())
    with pytest.raises(DataError, match='database "no_such_database" does not exist'):
        read_table(uri, query="SELECT 1")


def test_a_database_that_is_not_there_is_unreachable_and_its_password_unsaid(free_port: int) -> None:
    with pytest.raises(UnreachableError) as caught:
        read_table(f"postgresql+psycopg://ann:secret@127.0.0.1:{free_port}/shop", query="SELECT 1")
    assert "gives no answer" in str(caught.value)
    assert "secret" not in str(caught.value)
