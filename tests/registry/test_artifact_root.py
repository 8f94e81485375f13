"""A place for artifacts is looked at before a server starts on it."""

from pathlib import Path

import pytest

from registry.artifact_root import check_artifact_root
from registry.errors import AccessDeniedError, UnreachableError
from tests.fixtures.s3 import S3Server


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for key, value in s3_server.environment.items():
        monkeypatch.setenv(key, value)
    return s3_server


def test_a_folder_that_is_there_or_can_be_made_will_do_and_is_not_made(tmp_path: Path) -> None:
    for place in (str(tmp_path), str(tmp_path / "a" / "b"), f"file://{tmp_path}/c", "relative/folder"):
        check_artifact_root(place)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AccessDeniedError, match="file is a file"):
        check_artifact_root(str(tmp_path / "file" / "artifacts"))


def test_a_bucket_with_the_right_secret_will_do(s3_environment: S3Server) -> None:
    check_artifact_root(f"s3://{s3_environment.bucket}/some/prefix")
    check_artifact_root(f"s3://{s3_environment.bucket}")


def test_a_missing_bucket_is_named(s3_environment: S3Server) -> None:
    with pytest.raises(AccessDeniedError, match="s3://nobucket/x: the bucket does not exist"):
        check_artifact_root("s3://nobucket/x")


def test_a_wrong_secret_is_told_without_showing_it(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed-secret")
    with pytest.raises(AccessDeniedError, match="AWS_SECRET_ACCESS_KEY") as caught:
        check_artifact_root(f"s3://{s3_environment.bucket}")
    assert "guessed-secret" not in str(caught.value)


def test_no_secret_at_all_is_told(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessDeniedError, match="no S3 credentials"):
        check_artifact_root(f"s3://{s3_environment.bucket}")


def test_an_s3_server_that_is_down_is_unreachable(
    s3_environment: S3Server, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    with pytest.raises(UnreachableError):
        check_artifact_root(f"s3://{s3_environment.bucket}")


def test_a_place_that_only_mlflow_knows_is_left_to_it() -> None:
    check_artifact_root("gs://bucket/prefix")
