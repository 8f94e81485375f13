"""Every error MLflow can name has a place in Greenroom's tree."""

import pytest
from mlflow.protos.databricks_pb2 import ErrorCode

from registry.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    GreenroomError,
    NotFoundError,
    StoreError,
    UnreachableError,
)
from registry.stores.mapping import ERRORS_BY_CODE, classify, is_unique_race


def test_every_error_code_of_mlflow_is_mapped() -> None:
    assert set(ERRORS_BY_CODE) == set(ErrorCode.keys())


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RESOURCE_DOES_NOT_EXIST", 404, NotFoundError),
        ("RESOURCE_ALREADY_EXISTS", 400, AlreadyExistsError),
        ("INVALID_PARAMETER_VALUE", 400, StoreError),
        ("INVALID_STATE", 500, StoreError),
        ("PERMISSION_DENIED", 403, AccessDeniedError),
        ("REQUEST_LIMIT_EXCEEDED", 429, UnreachableError),
        ("INTERNAL_ERROR", 500, UnreachableError),
        ("A_CODE_OF_TOMORROW", 503, UnreachableError),
        ("A_CODE_OF_TOMORROW", 400, StoreError),
        (None, 401, AccessDeniedError),
        (None, 403, AccessDeniedError),
        (None, 404, StoreError),
        (None, 408, UnreachableError),
        (None, 429, UnreachableError),
        (None, 502, UnreachableError),
        (None, None, StoreError),
    ],
)
def test_the_code_decides_before_the_status(
    code: str | None, status: int | None, kind: type[GreenroomError]
) -> None:
    assert classify(code, status, "") is kind


def test_an_exhausted_pool_is_worth_another_try_although_mlflow_calls_it_a_bad_request() -> None:
    message = "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"
    assert classify("BAD_REQUEST", 400, message) is UnreachableError


@pytest.mark.parametrize(
    "message",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name",
        '(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint "alias_pk"',
        "(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'a-b' for key 'PRIMARY'\")",
    ],
)
def test_a_lost_race_to_insert_is_recognised_on_every_database(message: str) -> None:
    assert is_unique_race(message)
    assert not is_unique_race("Invalid alias name")
