from pathlib import Path

import pytest

from registry import UsageError, parse_source


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("rows.csv", "files", "/data/rows.csv"),
        ("/else/rows.csv", "files", "/else/rows.csv"),
        ("file:///else/rows.csv", "files", "/else/rows.csv"),
        ("s3://bucket/rows/", "s3", "s3://bucket/rows/"),
        ("python:load.py:rows", "python", "/data/load.py:rows"),
        ("python:shop.tables:rows", "python", "shop.tables:rows"),
    ],
)
def test_an_address_says_which_door_and_relative_paths_belong_to_the_folder(
    text: str, kind: str, address: str
) -> None:
    source = parse_source(text, folder=Path("/data"))
    assert (source.kind, source.address, source.text) == (kind, address, text)


def test_an_sqlite_file_is_relative_to_the_folder_too() -> None:
    source = parse_source("sqlite:///shop.db", folder=Path("/data"), query="SELECT 1")
    assert source.address == "sqlite:////data/shop.db"


def test_messages_never_show_a_password() -> None:
    source = parse_source("postgresql+psycopg://ann:p@ss@db/shop", query="SELECT 1")
    assert source.text == "postgresql+psycopg://ann@db/shop"
    assert "p@ss" not in repr(source)
    assert source.address == "postgresql+psycopg://ann:p@ss@db/shop"


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (" ", {}, "The data source is empty."),
        ("s3://", {}, "names no bucket."),
        ("ftp://host/rows.csv", {}, "has an unknown scheme, ftp://."),
        ("postgresql://ann:secret@db/shop", {}, "'postgresql://ann@db/shop' needs a query."),
        ("python:load.py", {}, "names no function."),
        ("rows.csv", {"query": "SELECT 1"}, "A query goes with a database URL"),
        ("rows.csv", {"args": {"year": 2013}}, "Arguments go with a python: source"),
    ],
)
def test_what_is_no_address_is_refused(text: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_source(text, **options)  # type: ignore[arg-type]
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
