import json

import pytest
from hypothesis import given, strategies as st

from registry import DataError, EvaluationRows, format_evaluation, parse_evaluation

ROWS = st.builds(
    EvaluationRows,
    path=st.text(min_size=1),
    target=st.text(min_size=1),
    task=st.sampled_from(["binary", "multiclass", "regression"]),
    group=st.none() | st.text(min_size=1),
    features=st.lists(st.text()).map(tuple),
    classes=st.lists(st.integers() | st.text() | st.booleans()).map(tuple),
    rows=st.integers(min_value=0),
    sha256=st.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
)


@given(ROWS)
def test_what_is_written_is_read(rows: EvaluationRows) -> None:
    assert parse_evaluation(format_evaluation(rows)) == rows


def test_a_newer_key_is_left_aside() -> None:
    rows = EvaluationRows("p", "y", "binary", None, ("a",), (0, 1), 1, "ab")
    newer = json.dumps(json.loads(format_evaluation(rows)) | {"weights": "w"})
    assert parse_evaluation(newer) == rows
    assert rows.probabilities == ("greenroom.probability.0", "greenroom.probability.1")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 1}', "null"])
def test_what_describes_no_rows_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"greenroom\.evaluation does not describe evaluation rows"):
        parse_evaluation(text)


def test_an_unknown_task_is_refused() -> None:
    text = format_evaluation(EvaluationRows("p", "y", "ranking", None, (), (), 1, "ab"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="unknown task, 'ranking'"):
        parse_evaluation(text)
