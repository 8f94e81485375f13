"""What an MLflow error is in Greenroom's tree: one total map, by error code first and HTTP status second.

Source: the names of ``mlflow.protos.databricks_pb2.ErrorCode`` (MLflow 3.17); a test holds the map total.
"""

from collections.abc import Mapping
from typing import Final

from registry.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    GreenroomError,
    NotFoundError,
    StoreError,
    UnreachableError,
)

__all__ = ["ERRORS_BY_CODE", "classify", "is_unique_race"]

_TEMPORARY: Final = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "IO_ERROR",
    "SERVICE_UNDER_MAINTENANCE",
    "WORKSPACE_TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "REQUEST_LIMIT_EXCEEDED",
    "UNPARSEABLE_HTTP_ERROR",
    "COULD_NOT_ACQUIRE_LOCK",
    "DEPLOYMENT_TIMEOUT",
    "GIT_REMOTE_ERROR",
    "PROJECTS_OPERATION_TIMEOUT",
)
_DENIED: Final = (
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "CUSTOMER_UNAUTHORIZED",
    "PROVIDER_SHARE_NOT_ACCESSIBLE",
)
_MISSING: Final = (
    "NOT_FOUND",
    "RESOURCE_DOES_NOT_EXIST",
    "MANAGED_RESOURCE_GROUP_DOES_NOT_EXIST",
    "GIT_UNKNOWN_REF",
    "METASTORE_DOES_NOT_EXIST",
    "DAC_DOES_NOT_EXIST",
    "CATALOG_DOES_NOT_EXIST",
    "SCHEMA_DOES_NOT_EXIST",
    "TABLE_DOES_NOT_EXIST",
    "SHARE_DOES_NOT_EXIST",
    "RECIPIENT_DOES_NOT_EXIST",
    "STORAGE_CREDENTIAL_DOES_NOT_EXIST",
    "EXTERNAL_LOCATION_DOES_NOT_EXIST",
    "PRINCIPAL_DOES_NOT_EXIST",
    "PROVIDER_DOES_NOT_EXIST",
)
_TAKEN: Final = (
    "ALREADY_EXISTS",
    "RESOURCE_ALREADY_EXISTS",
    "METASTORE_ALREADY_EXISTS",
    "DAC_ALREADY_EXISTS",
    "CATALOG_ALREADY_EXISTS",
    "SCHEMA_ALREADY_EXISTS",
    "TABLE_ALREADY_EXISTS",
    "SHARE_ALREADY_EXISTS",
    "RECIPIENT_ALREADY_EXISTS",
    "STORAGE_CREDENTIAL_ALREADY_EXISTS",
    "EXTERNAL_LOCATION_ALREADY_EXISTS",
    "PROVIDER_ALREADY_EXISTS",
)
_REFUSED: Final = (
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "ENDPOINT_NOT_FOUND",
    "MALFORMED_REQUEST",
    "INVALID_STATE",
    "FEATURE_DISABLED",
    "RESOURCE_CONFLICT",
    "NOT_IMPLEMENTED",
    "DATA_LOSS",
    "INVALID_STATE_TRANSITION",
    "QUOTA_EXCEEDED",
    "MAX_BLOCK_SIZE_EXCEEDED",
    "MAX_READ_SIZE_EXCEEDED",
    "PARTIAL_DELETE",
    "MAX_LIST_SIZE_EXCEEDED",
    "DRY_RUN_FAILED",
    "RESOURCE_LIMIT_EXCEEDED",
    "DIRECTORY_NOT_EMPTY",
    "DIRECTORY_PROTECTED",
    "MAX_NOTEBOOK_SIZE_EXCEEDED",
    "MAX_CHILD_NODE_SIZE_EXCEEDED",
    "SEARCH_QUERY_TOO_LONG",
    "SEARCH_QUERY_TOO_SHORT",
    "PERMISSION_NOT_PROPAGATED",
    "GIT_CONFLICT",
    "GIT_SENSITIVE_TOKEN_DETECTED",
    "GIT_URL_NOT_ON_ALLOW_LIST",
    "IPYNB_FILE_IN_REPO",
    "INSECURE_PARTNER_RESPONSE",
    "MALFORMED_PARTNER_RESPONSE",
    "CATALOG_NOT_EMPTY",
    "SCHEMA_NOT_EMPTY",
    "METASTORE_NOT_EMPTY",
)

ERRORS_BY_CODE: Final[Mapping[str, type[GreenroomError]]] = {
    **dict.fromkeys(_TEMPORARY, UnreachableError),
    **dict.fromkeys(_DENIED, AccessDeniedError),
    **dict.fromkeys(_MISSING, NotFoundError),
    **dict.fromkeys(_TAKEN, AlreadyExistsError),
    **dict.fromkeys(_REFUSED, StoreError),
}

_BUSY_SIGNS: Final = ("QueuePool limit", "database is locked")
"""MLflow answers 400 when its connection pool is exhausted (measured); waiting helps all the same."""


def classify(error_code: str | None, http_status: int | None, message: str) -> type[GreenroomError]:
    """The class of an error that MLflow reported.

    Args:
        error_code: MLflow's name for it, if its answer had one.
        http_status: The answer's status, if there was one.
        message: MLflow's words.

    >>> classify("RESOURCE_DOES_NOT_EXIST", 404, "").__name__
    'NotFoundError'
    >>> classify(None, 502, "Bad Gateway").__name__
    'UnreachableError'
    >>> classify("INVALID_STATE", 500, "Cannot rename a non-active experiment.").__name__
    'StoreError'
    """
    if any(sign in message for sign in _BUSY_SIGNS):
        return UnreachableError
    if error_code is not None and error_code in ERRORS_BY_CODE:
        return ERRORS_BY_CODE[error_code]
    if http_status in {401, 403}:
        return AccessDeniedError
    if http_status in {408, 425, 429} or (http_status or 0) >= 500:  # noqa: PLR2004 - RFC 9110, section 15.6
        return UnreachableError
    return StoreError


def is_unique_race(message: str) -> bool:
    """True if two writers inserted the same row at once: the loser gets the database's own words, as a 400.

    >>> is_unique_race("(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name")
    True
    """
    text = message.lower()
    return "unique constraint" in text or "duplicate entry" in text or "duplicate key" in text
