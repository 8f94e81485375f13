"""What MLflow's library raises becomes one of Greenroom's errors, worded for the deed."""

from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from sqlalchemy.exc import IntegrityError, OperationalError

from registry.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ArtifactError,
    GreenroomError,
    NotFoundError,
    StoreError,
    UnreachableError,
)
from registry.stores.translation import translating


def _make_rest_error(document: dict[str, str]) -> Exception:
    untyped: Any = RestException
    error: Exception = untyped(document)
    return error


def _raise_chained(outer: Exception, inner: Exception) -> None:
    raise outer from inner


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MlflowException("no such model", RESOURCE_DOES_NOT_EXIST), NotFoundError),
        (MlflowException("taken", RESOURCE_ALREADY_EXISTS), AlreadyExistsError),
        (MlflowException("bad", INVALID_PARAMETER_VALUE), StoreError),
        (MlflowException("no", PERMISSION_DENIED), AccessDeniedError),
        (MlflowException("database is locked", TEMPORARILY_UNAVAILABLE), UnreachableError),
        (MlflowException("said nothing exact", INTERNAL_ERROR), StoreError),
        (MlflowException("API request to http://x failed with error code 502"), UnreachableError),
        (_make_rest_error({"error_code": "INTERNAL_ERROR", "message": "oops"}), UnreachableError),
        (_make_rest_error({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}), NotFoundError),
        (requests.ConnectionError("refused"), UnreachableError),
        (requests.ReadTimeout("late"), UnreachableError),
        (OperationalError("SELECT 1", {}, Exception("server closed the connection")), UnreachableError),
        (IntegrityError("INSERT", {}, Exception("UNIQUE")), StoreError),
        (NoCredentialsError(), AccessDeniedError),
        (EndpointConnectionError(endpoint_url="http://s3"), UnreachableError),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject"), AccessDeniedError),
        (PermissionError(13, "Permission denied"), StoreError),
        (ModuleNotFoundError("No module named 'google.cloud'"), StoreError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value)[:60],
)
def test_every_foreign_error_has_its_class(error: Exception, kind: type[GreenroomError]) -> None:
    with (
        pytest.raises(GreenroomError, match=r"find model m|package") as caught,
        translating("find model m"),
    ):
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_a_silence_deep_in_the_chain_is_a_silence() -> None:
    with pytest.raises(UnreachableError, match="refused"), translating("list the models"):
        _raise_chained(MlflowException("gave up"), requests.ConnectionError("refused"))


def test_an_s3_refusal_deep_in_the_chain_is_worded_for_s3() -> None:
    inner = ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "ListObjectsV2")
    with pytest.raises(AccessDeniedError, match="InvalidAccessKeyId"), translating("read s3://b/x"):
        _raise_chained(MlflowException("download failed"), inner)


def test_the_message_is_the_first_line_without_the_code_and_without_sql() -> None:
    error = _make_rest_error(
        {"error_code": "INVALID_PARAMETER_VALUE", "message": "Bad alias.\n[SQL: INSERT secret]"}
    )
    with pytest.raises(StoreError) as caught, translating("set alias x"):
        raise error
    assert caught.value.what == "MLflow refused to set alias x: Bad alias."


def test_a_refusal_that_says_nothing_exact_has_the_class_that_was_asked_for() -> None:
    with pytest.raises(ArtifactError), translating("read the artifacts", ArtifactError):
        raise MlflowException("No such artifact")


def test_our_own_errors_and_bugs_pass_as_they_are() -> None:
    with pytest.raises(ValueError, match="a bug"), translating("do something"):
        raise ValueError("a bug")
    ours = NotFoundError("ours")
    with pytest.raises(NotFoundError) as caught, translating("do something"):
        raise ours
    assert caught.value is ours
