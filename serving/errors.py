"""Why a request gets no prediction. What HTTP makes of it stands in ``statuses``.

The tree, under :class:`~registry.GreenroomError`::

    RequestError
    ├── ModelRefusedError      MLflow or the model refused the input, with MLflow's error code
    ├── BrokenContractError    a row breaks the model's data contract, which refuses such rows
    ├── UnsupportedMediaError  a body in a format that the scoring protocol does not have
    ├── BodyTooLargeError      more bytes than the server takes
    ├── BadFeedbackError       what turned out to be true is told wrongly
    ├── NoLogError             feedback for a server that logs nothing
    ├── NoRouteError           no such path
    ├── WrongMethodError       the path exists, for another method
    ├── NoModelError           nothing is loaded yet
    ├── BusyError              too many predictions are waiting
    ├── TooLateError           it took longer than the server may wait
    ├── TooManyRowsError       more rows than the server takes
    ├── NotAllowedError        the bearer token is missing or wrong
    ├── LostProcessError       the process that was answering ended
    └── ForwardedError         what the native process answered instead of a prediction

None of them ever holds any of the caller's rows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from registry import GreenroomError

if TYPE_CHECKING:
    from registry import Finding

__all__ = [
    "BadFeedbackError",
    "BodyTooLargeError",
    "BrokenContractError",
    "BusyError",
    "ForwardedError",
    "LostProcessError",
    "ModelRefusedError",
    "NoLogError",
    "NoModelError",
    "NoRouteError",
    "NotAllowedError",
    "RequestError",
    "TooLateError",
    "TooManyRowsError",
    "UnsupportedMediaError",
    "WrongMethodError",
]


class RequestError(GreenroomError):
    """Root of everything that stands between a request and its prediction."""

    code: ClassVar[str] = "request"


class ModelRefusedError(RequestError):
    """MLflow or the model refused the input.

    Args:
        what: One sentence, free of the caller's rows.
        error_code: MLflow's name for it, e.g. ``BAD_REQUEST``.
    """

    code = "model_refused"

    def __init__(self, what: str, *, error_code: str) -> None:
        self.error_code = error_code
        super().__init__(what)


class BrokenContractError(RequestError):
    """A row breaks the model's data contract, as a compiled plan found; MLflow's code says the same.

    Args:
        what: The sentence, free of the caller's rows.
        findings: What was found, for the counts.
    """

    code = "broken_contract"

    def __init__(self, what: str, findings: Sequence["Finding"]) -> None:
        self.findings = findings
        super().__init__(what)


class UnsupportedMediaError(RequestError):
    """The body's media type or its parameters are none that the scoring protocol knows."""

    code = "unsupported_media"

    def __init__(self) -> None:
        super().__init__(
            "This server reads application/json, text/csv and application/vnd.apache.parquet, each in UTF-8, "
            "with no other parameter than charset."
        )


class BodyTooLargeError(RequestError):
    """The body holds more bytes than the server takes."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The body is larger than {limit} bytes.", hint="Send fewer rows, or score them in a batch."
        )


class BadFeedbackError(RequestError):
    """What turned out to be true is told in a way that cannot be understood; nothing of it was taken."""

    code = "bad_feedback"

    def __init__(self, what: str) -> None:
        super().__init__(
            what, hint='Send {"request_id": "…", "truth": …} or a list of such; nothing was taken.'
        )


class NoLogError(RequestError):
    """Feedback belongs to logged predictions, and this server logs none."""

    code = "no_log"

    def __init__(self) -> None:
        super().__init__(
            "This server logs no predictions, so that there is nothing to say the truth about.",
            hint="Start it with --log-predictions, or use greenroom feedback.",
        )


class NoRouteError(RequestError):
    """No such path."""

    code = "no_route"

    def __init__(self) -> None:
        super().__init__("There is nothing at this path.", hint="Predictions are at POST /invocations.")


class WrongMethodError(RequestError):
    """The path exists, for another method."""

    code = "wrong_method"

    def __init__(self, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(f"This path answers {allowed} only.")


class NoModelError(RequestError):
    """No version is loaded, so nothing can be predicted yet."""

    code = "no_model"

    def __init__(self, model: str, stage: str) -> None:
        super().__init__(f"No {stage} version of {model} is loaded yet.", hint="GET /info says why.")


class BusyError(RequestError):
    """Too many predictions are waiting; trying again shortly may help."""

    code = "busy"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("Too many predictions are waiting.", hint="Try again shortly.")


class TooLateError(RequestError):
    """It took longer than the server may wait."""

    code = "too_late"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The request took longer than {timeout_s:g} s.", hint="Send fewer rows at a time.")


class TooManyRowsError(RequestError):
    """The body holds more rows than the server takes."""

    code = "too_many_rows"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The body holds more than {limit} rows.", hint="Send fewer rows, or score them in a batch."
        )


class NotAllowedError(RequestError):
    """The caller did not show the token that this server asks for."""

    code = "not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "This server asks for a bearer token.", hint="Send it as Authorization: Bearer TOKEN."
        )


class LostProcessError(RequestError):
    """The process that was answering ended in the middle of it; another one is on its way."""

    code = "lost_process"

    def __init__(self) -> None:
        super().__init__("The process that was answering this request ended.", hint="Try again shortly.")


class ForwardedError(RequestError):
    """What the native process answered instead of a prediction, worded there.

    Args:
        status: HTTP's.
        error_code: MLflow's name for it.
        message: Free of the caller's rows.
        headers: Sent along.
    """

    code = "forwarded"

    def __init__(self, status: int, error_code: str, message: str, headers: Mapping[str, str]) -> None:
        self.status = status
        self.error_code = error_code
        self.headers = headers
        super().__init__(message)
