import json
from typing import Any

import pytest

from serving.errors import BadFeedbackError, UnsupportedMediaError
from serving.predictions.feedback import read_feedback


def read(document: Any) -> Any:
    return read_feedback(json.dumps(document).encode(), "application/json; charset=utf-8")


def test_one_truth_or_many_are_taken_with_the_ids_of_their_rows() -> None:
    assert read({"request_id": "r", "truth": 1}) == [("r", 1, None)]
    given = [
        {"request_id": "a", "row": 0, "truth": "yes", "time": "1970-01-01T00:00:01.000005+00:00"},
        {"request_id": "b", "truth": False, "time": None, "row": None},
    ]
    assert read(given) == [("a/0", "yes", 1_000_005), ("b", False, None)]
    assert read([]) == []


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (5, "Item 1 is no JSON object."),
        ({"truth": 1}, "Item 1: request_id must be"),
        ({"request_id": "", "truth": 1}, "Item 1: request_id must be"),
        ({"request_id": "x" * 200, "truth": 1}, "Item 1: request_id must be"),
        ({"request_id": "r"}, "Item 1: truth must be"),
        ({"request_id": "r", "truth": [1]}, "Item 1: truth must be"),
        ({"request_id": "r", "truth": "x" * 5000}, "Item 1: truth must be"),
        ({"request_id": "r", "truth": 1, "row": -1}, "Item 1: row must be"),
        ({"request_id": "r", "truth": 1, "row": 1.5}, "Item 1: row must be"),
        ({"request_id": "r", "truth": 1, "row": True}, "Item 1: row must be"),
        ({"request_id": "r", "truth": 1, "time": "yesterday"}, "Item 1: time must be"),
        ({"request_id": "r", "truth": 1, "time": 5}, "Item 1: time must be"),
        ({"request_id": "r", "truth": 1, "rwo": 5}, "Item 1: a field of it is none of"),
    ],
)
def test_a_wrong_item_is_named_with_its_field_and_without_its_values(item: Any, sentence: str) -> None:
    with pytest.raises(BadFeedbackError) as caught:
        read([{"request_id": "fine", "truth": 1}, item])
    assert str(caught.value).startswith(sentence)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(BadFeedbackError, match="no JSON"):
        read_feedback(b"{", None)
    with pytest.raises(UnsupportedMediaError):
        read_feedback(b"{}", "text/csv")
