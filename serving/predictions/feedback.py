"""``POST /feedback``: reads what turned out to be true, from a JSON object or a list of them."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from registry import parse_time
from serving.errors import BadFeedbackError, UnsupportedMediaError

__all__ = ["Truth", "read_feedback"]

Truth = tuple[str, Any, int | None]
"""The prediction's id, what is true, and since when (microseconds since 1970 UTC; None: now)."""

FIELDS: Final = frozenset({"request_id", "row", "truth", "time"})
MAX_TEXT: Final = 4096
MAX_ID: Final = 128
"""As long as a request id that is kept."""
MAX_ROW: Final = 2**31
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_feedback(body: bytes, content_type: str | None) -> list[Truth]:
    """The truths of a request; of none is taken if one is wrong.

    >>> read_feedback(b'{"request_id": "r1", "row": 2, "truth": 1.5, "time": "1970-01-02"}', None)
    [('r1/2', 1.5, 86400000000)]

    Raises:
        UnsupportedMediaError: It is not JSON by its media type.
        BadFeedbackError: It is no such JSON; names the item, counted from 0, and the field.
    """
    if content_type and content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaError
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadFeedbackError("The body is no JSON.") from None
    items = document if type(document) is list else [document]
    return [_read_item(item, place) for place, item in enumerate(items)]


def _read_item(item: Any, place: int) -> Truth:
    if type(item) is not dict:
        raise BadFeedbackError(f"Item {place} is no JSON object.")
    for name in item:
        if name not in FIELDS:
            raise _refuse(place, "a field of it", f"is none of {', '.join(sorted(FIELDS))}")
    request_id, row = item.get("request_id"), item.get("row")
    if type(request_id) is not str or not 0 < len(request_id) <= MAX_ID + len("/2147483647"):
        raise _refuse(place, "request_id", "must be the text that came as X-Request-Id")
    if row is not None and (type(row) is not int or not 0 <= row < MAX_ROW):
        raise _refuse(place, "row", "must be a whole number from 0")
    name = request_id if row is None else f"{request_id}/{row}"
    return name, _read_truth(item.get("truth"), place), _read_time(item.get("time"), place)


def _read_truth(truth: Any, place: int) -> Any:
    if type(truth) in {bool, float, int} or (type(truth) is str and len(truth) <= MAX_TEXT):
        return truth
    raise _refuse(place, "truth", f"must be a number, true, false or a text of at most {MAX_TEXT} characters")


def _read_time(text: Any, place: int) -> int | None:
    if text is None:
        return None
    try:
        moment = parse_time(text)
    except (ValueError, TypeError):
        raise _refuse(place, "time", "must be a time such as 2026-03-01T12:00:00Z") from None
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _refuse(place: int, name: str, why: str) -> BadFeedbackError:
    return BadFeedbackError(f"Item {place}: {name} {why}.")
