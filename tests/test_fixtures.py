"""The outside parts that other tests rest on are real, and isolated from this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from registry.server import Server
from tests.fixtures.s3 import S3Server


def test_a_test_starts_in_an_empty_folder_without_this_machines_settings(tmp_path: Path) -> None:
    assert Path.cwd() == tmp_path
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_sqlite_store_has_one_experiment_with_artifacts_in_the_tests_folder(
    tracking_uri: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    experiments = MlflowClient(tracking_uri).search_experiments()
    assert [one.artifact_location for one in experiments] == [str(tmp_path / "mlruns" / "0")]


def test_the_server_on_sqlite_answers(mlflow_server: Server) -> None:
    with urlopen(f"{mlflow_server.uri}/version") as answer:
        assert answer.read().decode().startswith("3.")


def test_the_server_on_postgres_answers(mlflow_server_postgres: Server) -> None:
    with urlopen(f"{mlflow_server_postgres.uri}/version") as answer:
        assert answer.read().decode().startswith("3.")


def test_every_postgres_database_is_a_fresh_one(postgres_uri: Callable[[], str]) -> None:
    assert postgres_uri().startswith("postgresql+psycopg://")
    assert postgres_uri() != postgres_uri()


def test_the_s3_server_refuses_a_wrong_secret(s3_server: S3Server) -> None:
    import boto3
    from botocore.exceptions import ClientError

    s3_server.connect().put_object(Bucket=s3_server.bucket, Key="a", Body=b"1")
    wrong = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key="wrong",
        region_name="us-east-1",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.put_object(Bucket=s3_server.bucket, Key="a", Body=b"1")


def test_moto_answers(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=moto_server,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="models")
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["models"]


@pytest.mark.xdist_group("together")
def test_what_belongs_together_stays_on_one_worker(request: pytest.FixtureRequest) -> None:
    """A pytest newer than xdist knows breaks this without a word; the suite takes half as long again."""
    is_shared_out = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@together") is is_shared_out
