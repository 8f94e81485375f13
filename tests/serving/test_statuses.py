import pytest
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS

from registry import GreenroomError, UnreachableError
from serving import errors
from serving.errors import BusyError, ForwardedError, ModelRefusedError, RequestError, WrongMethodError
from serving.statuses import STATUSES, UNEXPECTED, describe_error


def test_every_reason_a_request_gets_no_prediction_for_has_a_status() -> None:
    named: set[type[GreenroomError]] = {getattr(errors, name) for name in errors.__all__}
    brings_its_own: set[type[GreenroomError]] = {RequestError, ModelRefusedError, ForwardedError}
    assert named - brings_its_own == set(STATUSES)


def test_every_error_code_is_one_of_mlflows() -> None:
    from mlflow.protos.databricks_pb2 import ErrorCode

    assert {code for _, code in STATUSES.values()} <= set(ErrorCode.keys())


@pytest.mark.parametrize(("code", "status"), sorted(ERROR_CODE_TO_HTTP_STATUS.items()))
def test_a_refusal_of_mlflow_keeps_its_code_and_status(code: str, status: int) -> None:
    answer = describe_error(ModelRefusedError("No.", error_code=code))
    assert (answer.status, answer.error_code, answer.message) == (status, code, "No.")


def test_a_busy_server_says_when_to_come_back() -> None:
    assert describe_error(BusyError(3)).headers == {"retry-after": "3"}


def test_a_wrong_method_names_the_right_one() -> None:
    assert describe_error(WrongMethodError("POST")).headers == {"allow": "POST"}


def test_what_the_native_process_answered_is_passed_on_as_it_is() -> None:
    answer = describe_error(ForwardedError(503, "TEMPORARILY_UNAVAILABLE", "Wait.", {"retry-after": "1"}))
    assert (answer.status, answer.message, answer.headers) == (503, "Wait.", {"retry-after": "1"})


def test_an_error_of_the_inside_says_nothing_of_it() -> None:
    assert describe_error(UnreachableError("the database at db.internal is down")) is UNEXPECTED
