"""A URI is shown, and compared, without what it keeps secret."""

import pytest

from registry.stores.address import parse_address


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://ann:se%40cret@MLflow.Example/team/", "https://mlflow.example/team"),
        ("postgresql+psycopg://ann:secret@db:5432/mlflow", "postgresql+psycopg://db:5432/mlflow"),
        (
            "postgresql://ann@db/mlflow?password=secret&sslmode=require",
            "postgresql://db/mlflow?sslmode=require",
        ),
        ("postgresql+psycopg://postgres:@/m?host=/tmp/pg", "postgresql+psycopg:///m?host=/tmp/pg"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("databricks://profile", "databricks://profile"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_secrets(uri: str, text: str) -> None:
    address = parse_address(uri)
    assert address.text == text
    assert "secret" not in repr(address)


def test_what_stands_before_the_host_is_decoded() -> None:
    address = parse_address("https://ann%40corp:se%3Acret@mlflow.example")
    assert (address.username, address.password) == ("ann@corp", "se:cret")
    assert parse_address("http://host").username is None


def test_only_http_speaks_rest() -> None:
    assert [parse_address(uri).is_http for uri in ("HTTP://a", "https://a", "sqlite:///a", "databricks")] == [
        True,
        True,
        False,
        False,
    ]
