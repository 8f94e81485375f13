"""Answers are those of ``mlflow models serve``, except where ``docs/reference/http.md`` says so."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from tests.serving.conftest import Pair
from tests.serving.scoring_servers import Reply, ask

JSON: Final = "application/json"
PARQUET: Final = "application/vnd.apache.parquet"
SECRET: Final = "s3cr3t-row"
ROW: Final = {"a": 1.0, "b": "x", "n": 1}
SPLIT: Final = {"columns": ["a", "b", "n"], "data": [[1.0, "x", 1], [2.5, "y", 2]]}
TABLE: Final = pd.DataFrame({"a": [1.0, 2.5], "b": ["x", "y"], "n": [1, 2]})


def write_json(**document: Any) -> bytes:
    return json.dumps(document).encode()


def write_parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


REQUESTS: Final[Sequence[tuple[str, str, bytes]]] = [
    ("split", JSON, write_json(dataframe_split=SPLIT)),
    ("split with index", JSON, write_json(dataframe_split={**SPLIT, "index": [5, 6]})),
    ("split without columns", JSON, write_json(dataframe_split={"data": SPLIT["data"]})),
    ("split with a strange key", JSON, write_json(dataframe_split={**SPLIT, SECRET: 1})),
    ("split as a list", JSON, write_json(dataframe_split=[SECRET])),
    ("split, ragged", JSON, write_json(dataframe_split={"columns": ["a"], "data": [[1, SECRET]]})),
    ("split, no rows", JSON, write_json(dataframe_split={"columns": ["a", "b", "n"], "data": []})),
    ("records", JSON, write_json(dataframe_records=[ROW, ROW])),
    ("records in another order", JSON, write_json(dataframe_records=[{"n": 1, "b": "x", "a": 1.0}])),
    ("records with a column too many", JSON, write_json(dataframe_records=[{**ROW, "c": SECRET}])),
    ("records with a column missing", JSON, write_json(dataframe_records=[{"a": 1.0, "b": SECRET}])),
    ("records as one record", JSON, write_json(dataframe_records={**ROW, "b": SECRET})),
    ("no records", JSON, write_json(dataframe_records=[])),
    ("a number as text", JSON, write_json(dataframe_records=[{**ROW, "a": "1"}])),
    ("text for a number", JSON, write_json(dataframe_records=[{**ROW, "a": SECRET}])),
    ("null for text", JSON, write_json(dataframe_records=[{**ROW, "b": None}])),
    ("null for a number", JSON, write_json(dataframe_records=[{**ROW, "a": None}])),
    ("null for an integer", JSON, write_json(dataframe_records=[{**ROW, "n": None}])),
    ("a fraction for an integer", JSON, write_json(dataframe_records=[{**ROW, "n": 1.5}])),
    ("a huge integer", JSON, write_json(dataframe_records=[{**ROW, "n": 10**20}])),
    ("true for a number", JSON, write_json(dataframe_records=[{**ROW, "a": True}])),
    ("an object for a number", JSON, write_json(dataframe_records=[{**ROW, "a": {SECRET: SECRET}}])),
    ("an unseen category", JSON, write_json(dataframe_records=[{**ROW, "b": SECRET}])),
    ("NaN for a number", JSON, b'{"dataframe_records": [{"a": NaN, "b": "s3cr3t-row", "n": 1}]}'),
    ("infinity for a number", JSON, b'{"dataframe_records": [{"a": 1e400, "b": "s3cr3t-row", "n": 1}]}'),
    ("inputs as columns", JSON, write_json(inputs={"a": [1.0, 2.5], "b": ["x", "y"], "n": [1, 2]})),
    ("inputs as scalars", JSON, write_json(inputs=ROW)),
    ("inputs as records", JSON, write_json(inputs=[ROW, ROW])),
    ("inputs as rows", JSON, write_json(inputs=[[1.0, SECRET, 1]])),
    ("inputs, ragged", JSON, write_json(inputs={"a": [1.0, 2.5], "b": [SECRET], "n": [1]})),
    ("inputs with text for a number", JSON, write_json(inputs={"a": [SECRET], "b": ["x"], "n": [1]})),
    ("inputs as one number", JSON, write_json(inputs=5)),
    ("instances as records", JSON, write_json(instances=[ROW, ROW])),
    ("instances as rows", JSON, write_json(instances=[[1.0, SECRET, 1]])),
    ("instances as text", JSON, write_json(instances=SECRET)),
    ("params that the model does not have", JSON, write_json(dataframe_records=[ROW], params={SECRET: 1})),
    ("params as null", JSON, write_json(dataframe_records=[ROW], params=None)),
    ("two formats", JSON, write_json(dataframe_records=[ROW], inputs=ROW)),
    ("no format", JSON, write_json(**{SECRET: 1})),
    ("a chat", JSON, write_json(messages=[{"role": "user", "content": SECRET}])),
    ("an empty object", JSON, b"{}"),
    ("an empty body", JSON, b""),
    ("broken JSON", JSON, b'{"dataframe_records": [{"b": "s3cr3t-row"'),
    ("a list", JSON, b'["s3cr3t-row"]'),
    ("a number", JSON, b"5"),
    ("null", JSON, b"null"),
    ("bad UTF-8", JSON, b'{"dataframe_records": [{"b": "s3cr3t-row\xff"}]}'),
    ("a byte order mark", JSON, b"\xef\xbb\xbf" + write_json(dataframe_records=[ROW])),
    ("JSON with a charset", f"{JSON}; charset=UTF-8", write_json(dataframe_records=[ROW])),
    ("JSON in Latin-1", f"{JSON}; charset=latin-1", write_json(dataframe_records=[ROW])),
    ("JSON with a parameter", f"{JSON}; version=1", write_json(dataframe_records=[ROW])),
    ("JSON in capitals", "Application/JSON", write_json(dataframe_records=[ROW])),
    ("plain text", "text/plain", b"s3cr3t-row"),
    ("CSV", "text/csv", TABLE.to_csv(index=False).encode()),
    ("CSV with a charset", "text/csv; charset=utf-8", TABLE.to_csv(index=False).encode()),
    ("CSV, empty", "text/csv", b""),
    ("CSV, header only", "text/csv", b"a,b,n\n"),
    ("CSV with text for a number", "text/csv", b"a,b,n\ns3cr3t-row,x,1\n"),
    ("CSV with a column missing", "text/csv", b"a,b\n1,s3cr3t-row\n"),
    ("CSV in Latin-1", "text/csv", b"a,b,n\n1,s3cr3t-row\xff,1\n"),
    ("Parquet", PARQUET, write_parquet(TABLE)),
    ("Parquet, narrower", PARQUET, write_parquet(TABLE.astype({"a": "float32", "n": "int32"}))),
    ("Parquet with text for a number", PARQUET, write_parquet(TABLE.assign(a=SECRET))),
    ("Parquet, broken", PARQUET, b"PAR1s3cr3t-row"),
]

ROUTES: Final = [
    ("GET", "/ping"), ("GET", "/health"), ("GET", "/version"), ("GET", "/ping?x=1"),
    ("HEAD", "/ping"), ("POST", "/ping"), ("GET", "/invocations"), ("PUT", "/invocations"),
    ("OPTIONS", "/invocations"), ("GET", "/"), ("GET", "/nowhere"), ("POST", "/invocations/"),
]  # fmt: skip


def send(port: int, body: bytes, content_type: str | None = JSON) -> Reply:
    headers = {} if content_type is None else {"content-type": content_type}
    return ask(port, "POST", "/invocations", body, headers)


def test_status_and_predictions_are_those_of_mlflow(pair: Pair) -> None:
    differences: dict[str, Any] = {}
    for name, content_type, body in REQUESTS:
        theirs, ours = send(pair.mlflow, body, content_type), send(pair.ours, body, content_type)
        same = theirs.status == ours.status and (theirs.status != 200 or theirs.document == ours.document)
        if not same:
            differences[name] = (theirs, ours)
    assert differences == {}


def test_error_codes_are_those_of_mlflow(pair: Pair) -> None:
    codes = {}
    for name, content_type, body in REQUESTS:
        theirs, ours = send(pair.mlflow, body, content_type), send(pair.ours, body, content_type)
        if theirs.status == 400:
            codes[name] = (theirs.document["error_code"], ours.document["error_code"])
    assert len(codes) > 20
    assert {name: pair for name, pair in codes.items() if pair[0] != pair[1]} == {}


def test_routes_answer_with_mlflows_statuses(pair: Pair) -> None:
    def visit(port: int) -> Mapping[str, tuple[int, bytes | None, str | None]]:
        answers = {}
        for method, path in ROUTES:
            reply = ask(port, method, path, b"" if method in {"POST", "PUT"} else None)
            body = reply.body if reply.status == 200 else None
            answers[f"{method} {path}"] = (reply.status, body, reply.headers.get("allow"))
        return answers

    assert visit(pair.ours) == visit(pair.mlflow)


def test_error_without_rows(pair: Pair) -> None:
    leaks, clean = [], 0
    for name, content_type, body in REQUESTS:
        theirs, ours = send(pair.mlflow, body, content_type), send(pair.ours, body, content_type)
        clean += SECRET.encode() in theirs.body and ours.status >= 400
        if SECRET.encode() in ours.body and ours.status >= 400:
            leaks.append((name, ours.body))
    assert leaks == []
    assert clean > 10  # of these, MLflow sends the row back


def test_error_without_stack(pair: Pair) -> None:
    body = write_json(dataframe_records=[{**ROW, "a": None}])
    assert "Traceback" in send(pair.mlflow, body).document["stack_trace"]
    assert set(send(pair.ours, body).document) == {"error_code", "message"}


def test_error_as_json(pair: Pair) -> None:
    for method, path, content_type in [
        ("GET", "/nowhere", JSON),
        ("GET", "/invocations", JSON),
        ("POST", "/invocations", "text/plain"),
    ]:
        theirs, ours = (
            ask(port, method, path, b"", {"content-type": content_type}) for port in (pair.mlflow, pair.ours)
        )
        assert theirs.status == ours.status
        assert b"error_code" not in theirs.body
        assert set(ours.document) == {"error_code", "message"}


@pytest.mark.parametrize(("content_type", "theirs"), [(None, 500), ("", 415)])
def test_no_content_type(pair: Pair, content_type: str | None, theirs: int) -> None:
    body = write_json(dataframe_records=[ROW])
    assert send(pair.mlflow, body, content_type).status == theirs
    assert send(pair.ours, body, content_type).document == send(pair.mlflow, body).document


def test_quoted_charset(pair: Pair) -> None:
    body, quoted = write_json(dataframe_records=[ROW]), f'{JSON}; charset="utf-8"'
    assert send(pair.mlflow, body, quoted).status == 415
    assert send(pair.ours, body, quoted).document == send(pair.mlflow, body).document


def test_unforeseen_body(pair: Pair) -> None:
    body = b"[" * 100_000
    assert send(pair.mlflow, body).status == 500
    reply = send(pair.ours, body)
    assert (reply.status, reply.document["error_code"]) == (400, "BAD_REQUEST")


def test_body_limit(pair: Pair) -> None:
    body = write_json(dataframe_records=[ROW], padding="x" * (16 * 2**20))
    assert send(pair.mlflow, body).status == 200
    assert send(pair.ours, body).status == 413


def test_parquet_rows(pair: Pair) -> None:
    import pandas as pd

    rows = pd.concat([TABLE.head(1)] * 1_000_001, ignore_index=True)
    reply = send(pair.ours, write_parquet(rows), PARQUET)
    assert (reply.status, "1000000 rows" in reply.document["message"]) == (413, True)


def test_no_documentation_pages(pair: Pair) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (ask(pair.mlflow, "GET", path).status, ask(pair.ours, "GET", path).status) == (200, 404)


def test_every_difference_in_the_reference_has_its_test_in_this_room() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
    named = set(re.findall(r"^\| `([a-z_]+)`: ", page.read_text("utf-8"), re.MULTILINE))
    tested = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert len(named) >= 10
    assert {name for name in named if f"def test_{name}(" not in tested} == set()
