"""The same job on the real stores: MLflow on PostgreSQL, data and artifacts on S3; and when they fail."""

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from registry.server import Server
from tests.fixtures.s3 import S3Server
from tests.training.conftest import Traces
from training.cli import main


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def rows_on_s3(s3_environment: S3Server, rows: pd.DataFrame, model_name: str) -> str:
    """Two Parquet objects under a prefix of their own."""
    client = s3_environment.connect()
    for number, part in enumerate((rows.iloc[:150], rows.iloc[150:])):
        body = io.BytesIO()
        part.to_parquet(body, index=False)
        key = f"{model_name}/part-{number}.parquet"
        client.put_object(Bucket=s3_environment.bucket, Key=key, Body=body.getvalue())
    return f"s3://{s3_environment.bucket}/{model_name}/"


def test_a_job_on_postgres_with_data_and_artifacts_on_s3(
    job_file: Path,
    rows_on_s3: str,
    s3_environment: S3Server,
    postgres_uri: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = postgres_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client: Any = MlflowClient(uri)
    client.create_experiment("small", f"s3://{s3_environment.bucket}/artifacts")
    assert main([str(job_file), "--set", f"data.source={rows_on_s3}"]) == 0
    (version,) = client.search_model_versions()
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.artifact_location.startswith("s3://")
    run = client.get_run(version.run_id)
    assert run.inputs.dataset_inputs[0].dataset.source_type == "s3"
    assert Path(client.download_artifacts(version.run_id, "evaluation/rows.parquet")).stat().st_size > 0


def test_a_job_over_rest_on_a_real_server(
    job_file: Path, mlflow_server_postgres: Server, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server_postgres.uri)
    assert main([str(job_file), "--set", f"job.name={model_name}"]) == 0
    client: Any = MlflowClient(mlflow_server_postgres.uri)
    (version,) = client.search_model_versions(f"name='{model_name}'")
    assert client.get_run(version.run_id).info.status == "FINISHED"


def test_a_wrong_secret_of_the_data_is_one_line_and_leaves_nothing(
    job_file: Path,
    rows_on_s3: str,
    traces: Traces,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert main([str(job_file), "--set", f"data.source={rows_on_s3}"]) == 1
    said = capsys.readouterr().err
    assert f"{rows_on_s3}: S3 refused" in said
    assert "AWS_SECRET_ACCESS_KEY" in said
    assert len(said.splitlines()) == 1
    assert traces.are_none()


def test_a_missing_bucket_is_one_line_and_leaves_nothing(
    job_file: Path, s3_environment: S3Server, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(job_file), "--set", "data.source=s3://no-such-bucket/rows.csv"]) == 1
    assert "s3://no-such-bucket/rows.csv: the bucket does not exist." in capsys.readouterr().err
    assert traces.are_none()


def test_an_s3_server_that_is_not_there_is_exit_4(
    job_file: Path,
    s3_environment: S3Server,
    traces: Traces,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    assert main([str(job_file), "--set", "data.source=s3://models/rows.csv"]) == 4
    assert "the S3 server gives no answer." in capsys.readouterr().err
    assert traces.are_none()


def test_a_tracking_server_that_is_not_there_is_exit_4_within_seconds(
    job_file: Path, free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
    start = time.monotonic()
    assert main([str(job_file)]) == 4
    assert time.monotonic() - start < 30
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_artifacts_that_cannot_be_stored_leave_a_failed_run_and_no_version(
    job_file: Path, s3_environment: S3Server, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces.client.create_experiment("small", f"s3://{s3_environment.bucket}/artifacts")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    command = [str(Path(sys.executable).with_name("train-model")), str(job_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # MLflow keeps S3 clients
    assert done.returncode == 1
    assert "S3 refused" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (run,) = traces.runs
    assert run.info.status == "FAILED"
    assert "S3 refused" in run.data.tags["greenroom.reason"]
    assert not traces.versions
    assert not traces.client.search_registered_models()


def test_a_deleted_experiment_says_how_to_restore_it(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    number = traces.client.create_experiment("small")
    traces.client.delete_experiment(number)
    assert main([str(job_file)]) == 1
    assert f"mlflow experiments restore --experiment-id {number}" in capsys.readouterr().err
    assert not traces.versions


def test_a_query_on_a_database_is_a_source(
    job_file: Path, rows: pd.DataFrame, traces: Traces, postgres_uri: Callable[[], str]
) -> None:
    import sqlalchemy

    uri = postgres_uri()
    engine = sqlalchemy.create_engine(uri)
    rows.to_sql("flights", engine, index=False)
    engine.dispose()
    source = ["--set", f"data.source={uri}", "--set", "data.query=SELECT * FROM flights ORDER BY day, size"]
    assert main([str(job_file), *source]) == 0
    assert traces.runs[0].inputs.dataset_inputs[0].dataset.source_type == "sql"
