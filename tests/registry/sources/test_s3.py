import io
import time

import pandas as pd
import pytest

from registry import AccessDeniedError, DataError, UnreachableError, compute_table_digest, read_table
from tests.fixtures.s3 import S3Server

ROWS = pd.DataFrame({"name": ["a", "b", "c"], "size": [1.0, 2.0, None]})


@pytest.fixture
def moto(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with a CSV, and a folder of two Parquet files and a marker."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", moto_server)
    client = boto3.client("s3", endpoint_url=moto_server, region_name="us-east-1")
    client.create_bucket(Bucket="data")
    client.put_object(Bucket="data", Key="rows.csv", Body=ROWS.to_csv(index=False).encode())
    for number in range(2):
        body = io.BytesIO()
        ROWS.assign(part=number).to_parquet(body)
        client.put_object(Bucket="data", Key=f"parts/p{number}.parquet", Body=body.getvalue())
    client.put_object(Bucket="data", Key="parts/_SUCCESS", Body=b"")
    client.put_object(Bucket="data", Key="partsother/p9.csv", Body=b"z\n1\n")
    return moto_server


def test_one_object_is_a_table_by_mlflows_endpoint_variable(moto: str) -> None:
    pd.testing.assert_frame_equal(read_table("s3://data/rows.csv"), ROWS)


@pytest.mark.parametrize("address", ["s3://data/parts/", "s3://data/parts"])
def test_a_prefix_is_one_table_and_ends_at_its_slash(moto: str, address: str) -> None:
    assert read_table(address)["part"].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_aws_variable_goes_before_mlflows(
    moto: str, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    with pytest.raises(UnreachableError):
        read_table("s3://data/rows.csv")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("s3://data/gone.csv", "s3://data/gone.csv does not exist."),
        ("s3://data/gone/", "s3://data/gone/ holds no CSV or Parquet object."),
    ],
)
def test_objects_that_are_not_there_are_refused(moto: str, address: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(address)
    assert sentence in str(caught.value)


def test_a_missing_bucket_is_refused(moto: str) -> None:
    with pytest.raises(AccessDeniedError, match="the bucket does not exist"):
        read_table("s3://gone/rows.csv")


def test_no_credentials_are_said_so(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDeniedError, match="no S3 credentials were found"):
        read_table("s3://data/rows.csv")


def test_a_server_that_is_not_there_is_unreachable_within_seconds(
    moto: str, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="the S3 server gives no answer"):
        read_table("s3://data/rows.csv")
    assert time.monotonic() - start < 20


def test_a_real_server_reads_equally_and_refuses_a_wrong_secret(
    s3_server: S3Server, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    body = ROWS.to_csv(index=False).encode()
    s3_server.connect().put_object(Bucket=s3_server.bucket, Key=f"{model_name}.csv", Body=body)
    address = f"s3://{s3_server.bucket}/{model_name}.csv"
    assert compute_table_digest(read_table(address)) == compute_table_digest(ROWS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessDeniedError, match=r"S3 refused \(SignatureDoesNotMatch\)"):
        read_table(address)
