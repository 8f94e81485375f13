"""The one table from an error to what HTTP says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from registry import GreenroomError

from .errors import (
    BadFeedbackError,
    BodyTooLargeError,
    BrokenContractError,
    BusyError,
    ForwardedError,
    LostProcessError,
    ModelRefusedError,
    NoLogError,
    NoModelError,
    NoRouteError,
    NotAllowedError,
    TooLateError,
    TooManyRowsError,
    UnsupportedMediaError,
    WrongMethodError,
)

__all__ = ["STATUSES", "UNEXPECTED", "ErrorAnswer", "describe_error"]

STATUSES: Final[Mapping[type[GreenroomError], tuple[int, str]]] = {
    BadFeedbackError: (400, "INVALID_PARAMETER_VALUE"),
    BodyTooLargeError: (413, "BAD_REQUEST"),
    BrokenContractError: (400, "INVALID_PARAMETER_VALUE"),
    BusyError: (503, "TEMPORARILY_UNAVAILABLE"),
    LostProcessError: (503, "TEMPORARILY_UNAVAILABLE"),
    NoLogError: (409, "INVALID_STATE"),
    NoModelError: (503, "TEMPORARILY_UNAVAILABLE"),
    NoRouteError: (404, "ENDPOINT_NOT_FOUND"),
    NotAllowedError: (401, "UNAUTHENTICATED"),
    TooLateError: (504, "DEADLINE_EXCEEDED"),
    TooManyRowsError: (413, "BAD_REQUEST"),
    UnsupportedMediaError: (415, "BAD_REQUEST"),
    WrongMethodError: (405, "BAD_REQUEST"),
}
"""Status and MLflow's error code by class; ModelRefusedError brings its own code, and MLflow its status."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What HTTP says about an error."""

    status: int
    error_code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


UNEXPECTED: Final = ErrorAnswer(
    500, "INTERNAL_ERROR", "The server failed to answer; its log says more under this request id."
)
"""For what nobody foresaw: the caller learns nothing of the inside."""


def describe_error(error: GreenroomError) -> ErrorAnswer:
    """Looks an error up; one that is not in the table is a failure of the server's own."""
    if isinstance(error, ForwardedError):
        return ErrorAnswer(error.status, error.error_code, str(error), error.headers)
    if isinstance(error, ModelRefusedError):
        return ErrorAnswer(_find_mlflow_status(error.error_code), error.error_code, str(error))
    if type(error) not in STATUSES:
        return UNEXPECTED
    status, error_code = STATUSES[type(error)]
    return ErrorAnswer(status, error_code, str(error), _list_headers(error))


def _list_headers(error: GreenroomError) -> Mapping[str, str]:
    match error:
        case WrongMethodError():
            return {"allow": error.allowed}
        case BusyError():
            return {"retry-after": str(error.retry_after_s)}
        case NoModelError() | LostProcessError():
            return {"retry-after": "1"}
        case NotAllowedError():
            return {"www-authenticate": "Bearer"}
        case BodyTooLargeError():
            return {"connection": "close"}  # the rest of the body is still on its way
        case _:
            return {}


def _find_mlflow_status(error_code: str) -> int:
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS  # noqa: PLC0415 - loaded since a model answered

    status: int = ERROR_CODE_TO_HTTP_STATUS.get(error_code, 500)
    return status
