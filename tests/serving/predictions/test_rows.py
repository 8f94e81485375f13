import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import PredictionWriter
from serving.compiled.values import MAX_UNNAMED
from serving.predictions.rows import Rows, read_answer, read_body
from serving.predictions.sheet import MAX_CELLS, MAX_COLUMNS, Sheet
from tests.serving.hostile_bodies import make_bodies

NOTHING = Rows((), [])


def read(document: Any) -> tuple[tuple[str, ...], list[list[Any]]]:
    names, rows = read_body("application/json; charset=utf-8", json.dumps(document).encode())
    return names, [list(row) for row in rows]


@pytest.mark.parametrize(
    ("document", "names", "rows"),
    [
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"]]}}, ("a", "b"), [[1, "x"]]),
        ({"dataframe_split": {"columns": ["a"], "index": [7, 8], "data": [[1], [2]]}}, ("a",), [[1], [2]]),
        ({"dataframe_split": {"data": [[1, 2]]}, "params": {"output": "full"}}, ("0", "1"), [[1, 2]]),
        ({"dataframe_records": [{"a": 1}, {"b": 2, "a": 3}]}, ("a", "b"), [[1, None], [3, 2]]),
        ({"inputs": {"a": [1, 2], "b": ["x", "y"]}}, ("a", "b"), [[1, "x"], [2, "y"]]),
        ({"inputs": {"a": 1, "b": "x"}}, ("a", "b"), [[1, "x"]]),
        ({"inputs": [{"a": 1}]}, ("a",), [[1]]),
        ({"instances": [[1, 2], [3, 4]]}, ("0", "1"), [[1, 2], [3, 4]]),
        ({"instances": [5, 6]}, ("0",), [[5], [6]]),
        ({"instances": [[0] * (MAX_UNNAMED + 1)]}, ("0",), [[[0] * (MAX_UNNAMED + 1)]]),
    ],
)
def test_every_form_of_the_protocol_is_read_as_rows(
    document: Any, names: tuple[str, ...], rows: list[list[Any]]
) -> None:
    assert read(document) == (names, rows)


def test_csv_and_parquet_are_read_as_rows() -> None:
    sent = pd.DataFrame({"a": [1.5, 2.0], "day": pd.to_datetime(["2026-03-01", "2026-03-02"])})
    csv = read_body("text/csv", b"a,day,b\n1.5,2026-03-01,x\n2,2026-03-02,\n")
    assert csv == Rows(("a", "day", "b"), [(1.5, "2026-03-01", "x"), (2.0, "2026-03-02", None)])
    body = io.BytesIO()
    sent.to_parquet(body)
    parquet = read_body("application/vnd.apache.parquet", body.getvalue())
    assert parquet == Rows(("a", "day"), [(1.5, "2026-03-01T00:00:00"), (2.0, "2026-03-02T00:00:00")])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"{"),
        ("", b"[]"),
        ("", b'{"inputs": []}'),
        ("", b'{"inputs": 5}'),
        ("", b'{"something": [1]}'),
        ("", b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}'),
        ("", b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}'),
        ("", b'{"inputs": {"a": [1, 2], "b": [3]}}'),
        ("text/csv", b"a,b\n1\n"),
        ("application/vnd.apache.parquet", b"PAR1"),
        ("image/png", b"\x89PNG"),
    ],
)
def test_what_cannot_be_told_is_no_rows(content_type: str, body: bytes) -> None:
    assert read_body(content_type, body) == NOTHING


@pytest.mark.parametrize(
    ("answer", "names", "rows"),
    [
        ({"predictions": [1, 2.5]}, ("prediction",), [[1], [2.5]]),
        ({"predictions": [{"a": "x", "p": 1}, {"a": "y", "p": 5}]}, ("a", "p"), [["x", 1], ["y", 5]]),
        ({"predictions": [[0.25, 0.75]]}, ("prediction_0", "prediction_1"), [[0.25, 0.75]]),
        ({"predictions": {"mean": 2}}, ("prediction",), [[{"mean": 2}]]),
        ([3], ("prediction",), [[3]]),
    ],
)
def test_answers_are_read_as_rows(answer: Any, names: tuple[str, ...], rows: list[list[Any]]) -> None:
    got_names, got_rows = read_answer(json.dumps(answer).encode())
    assert (got_names, [list(row) for row in got_rows]) == (names, rows)


def test_requests_of_all_kinds_share_one_table_and_leave_gaps_where_they_differ() -> None:
    sheet = Sheet(redacted=["secret"])
    sheet.add("r1", 10, "compiled", Rows(("a", "secret"), [(1.0, "x")]), Rows(("prediction",), [(5,)]))
    sheet.add(
        "r2", 11, "native", Rows(("b",), [(2,), (3,)]), Rows(("prediction", "secret"), [(6, 7), (8, 9)])
    )
    sheet.add("r3", 12, "native", Rows(("b",), [(2,)]), Rows(("prediction",), [(6,), (8,)]))
    (columns,) = sheet.list_parts()
    assert columns["ids"].to_pylist() == ["r1", "r2/0", "r2/1", "r3/0", "r3/1"]
    assert columns["times_us"].tolist() == [10, 11, 11, 12, 12]
    assert columns["paths"].to_pylist() == ["compiled", *["native"] * 4]
    assert columns["inputs"] == {"a": [1.0, None, None, None, None], "b": [None, 2, 3, None, None]}
    assert columns["outputs"] == {"prediction": [5, 6, 8, 6, 8]}


@pytest.mark.parametrize("extra", [0, 1])
def test_whoever_sends_ever_new_columns_does_not_make_a_file_grow_without_end(extra: int) -> None:
    sheet = Sheet()
    for number in range(1 + extra):
        names = tuple(f"{number}.{place}" for place in range(MAX_COLUMNS + 5))
        sheet.add("r", 1, "native", Rows(names, [(0,) * len(names)]), Rows(("prediction",), [(1,)]))
    (columns,) = sheet.list_parts()
    assert len(columns["inputs"]) == MAX_COLUMNS


@pytest.mark.parametrize("depth", [0, 300, 1000])
def test_hostile_bodies_can_be_logged_or_not_but_break_nothing(tmp_path: Path, depth: int) -> None:
    """A model may have answered them: what it does not need is not looked at."""
    writer = PredictionWriter(str(tmp_path), "m")
    deep = b'{"dataframe_records":[{"a":1,"more":' + b"[" * depth + b"]" * depth + b"}]}"
    bodies = [("", deep)] if depth else [(kind, body) for _, kind, body in make_bodies(200)]
    for content_type, body in bodies:
        sheet, sent = Sheet(), read_body(content_type, body)
        sheet.add("r", 1, "native", sent, Rows(("prediction",), [(1,)] * max(1, len(sent[1]))))
        (columns,) = sheet.list_parts()
        assert writer.encode_predictions("1", **columns)


def test_a_request_without_rows_takes_nobody_elses_along() -> None:
    sheet = Sheet()
    sheet.add("none", 1, "native", Rows(("a",), []), Rows(("prediction",), []))
    assert sheet.list_parts() == []
    sheet.add("one", 1, "native", Rows(("b",), [(1,)]), Rows(("prediction",), [(1,)]))
    (columns,) = sheet.list_parts()
    assert columns["ids"].to_pylist() == ["one"]


def test_a_date_that_python_does_not_know_is_logged_without_its_inputs() -> None:
    body = io.BytesIO()
    pq.write_table(pa.table({"day": pa.array([10**15]).cast(pa.timestamp("ms"))}), body)
    assert read_body("application/vnd.apache.parquet", body.getvalue()) == NOTHING


def test_requests_that_share_few_columns_do_not_fill_a_file_with_gaps() -> None:
    sheet = Sheet()
    for number in range(3000):
        names = ("shared", f"own {number}")
        sheet.add(f"r{number}", 1, "native", Rows(names, [(1, 2)]), Rows(("prediction",), [(3,)]))
    parts = sheet.list_parts()
    assert [one for part in parts for one in part["ids"].to_pylist()] == [f"r{n}" for n in range(3000)]
    cells = [len(part["ids"]) * len(part["inputs"]) for part in parts]
    assert max(cells) <= MAX_CELLS < sum(cells)


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        (["yes", None], "string", ["yes", None]),
        ([None, True], "bool", [None, True]),
        ([None, None], "null", [None, None]),
        ([0.5, None], "double", [0.5, None]),
        (["x", 2**60 + 1], "string", ['"x"', str(2**60 + 1)]),
    ],
    ids=str,
)
def test_missing_values_leave_a_column_what_it_is(tmp_path: Path, values: Any, kind: str, kept: Any) -> None:
    """Whoever sends them in rows of their own, other columns of which are numbers."""
    sheet = Sheet()
    for place, value in enumerate(values):
        inputs = Rows(("a", "b"), [(1.5, value), (2.5, value)])
        sheet.add(f"r{place}", 1, ("native", "compiled")[place], inputs, Rows(("p",), [(1,), (2,)]))
    (columns,) = sheet.list_parts()
    (part,) = PredictionWriter(str(tmp_path), "m").encode_predictions("1", **columns)
    column = pq.read_table(io.BytesIO(part.content)).column("input.b")
    assert (str(column.type), column.to_pylist()[::2]) == (kind, kept)
