"""What a plan reads, what it leaves to MLflow, and what its files must be."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from serving.compiled.artifacts import open_artifact
from serving.compiled.compiler import compile_artifact
from serving.compiled.errors import NotCompilableError, PlanError
from serving.compiled.files import FORMAT, read_plan, write_plan
from serving.compiled.parity import check_parity
from serving.compiled.plan import MEDIA_TYPE, open_plan
from tests.serving.compiled.comparison import Pair, compile_pair, save

TABLE = pd.DataFrame(
    {"a": [1.0, 2.0, 3.0, 4.5], "b": ["x", "y", "x", "y"], "n": [1, 2, 3, 5], "t": [True, False, True, True]}
)
ROW = {"a": 1.0, "b": "x", "n": 1, "t": True}
SPLIT: dict[str, Any] = {"columns": ["a", "b", "n", "t"], "data": [[1.0, "x", 1, True], [2.5, "y", 2, False]]}


def make_model() -> Any:
    encode = ColumnTransformer(
        [("b", OneHotEncoder(handle_unknown="ignore"), ["b"])], remainder="passthrough"
    )
    return make_pipeline(encode, LinearRegression()).fit(TABLE, [1.5, 4.25, 7.0, 8.125])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact ``m`` and its plan ``plan``."""
    made = tmp_path_factory.mktemp("table")
    compile_artifact(save(make_model(), made / "m", TABLE), made / "plan")
    return made


@pytest.fixture(scope="module")
def pair(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return compile_pair(folder / "m", tmp_path_factory.mktemp("again") / "plan")


READ: dict[str, Any] = {
    "split": {"dataframe_split": SPLIT},
    "split with an index": {"dataframe_split": {**SPLIT, "index": [7, 3]}},
    "split in another order": {
        "dataframe_split": {"columns": ["t", "n", "b", "a"], "data": [[True, 1, "x", 1.0]]}
    },
    "split with a column too many": {
        "dataframe_split": {"columns": ["z", "a", "b", "n", "t"], "data": [[[1], 1.0, "x", 1, True]] * 2}
    },
    "no params": {"dataframe_split": SPLIT, "params": None},
    "empty params": {"dataframe_split": SPLIT, "params": {}},
    "records": {"dataframe_records": [ROW, {**ROW, "b": "never seen"}]},
    "records with a column too many": {"dataframe_records": [{**ROW, "z": {"y": 1}}]},
    "integers for a number": {"dataframe_records": [{**ROW, "a": 7}]},
    "inputs as columns": {"inputs": {"a": [1.0, 2], "b": ["x", "y"], "n": [1, 2], "t": [True, False]}},
    "inputs as values": {"inputs": ROW},
    "inputs as records": {"inputs": [ROW, ROW]},
    "instances": {"instances": [ROW, ROW]},
    "instances as columns": {"instances": {"a": [1.0], "b": ["x"], "n": [1], "t": [True]}},
}
READ |= {
    "null for text, which is as good as unknown": {"dataframe_records": [{**ROW, "b": None}]},
    "null for some texts": {"dataframe_records": [ROW, {**ROW, "b": None}]},
}
LEFT: dict[str, Any] = {
    "no rows": {"dataframe_split": {"columns": ["a", "b", "n", "t"], "data": []}},
    "ragged": {"dataframe_split": {**SPLIT, "data": [[1.0, "x", 1, True], [1.0]]}},
    "one index twice": {"dataframe_split": {**SPLIT, "index": [1, 1]}},
    "index too short": {"dataframe_split": {**SPLIT, "index": [1]}},
    "a name twice": {
        "dataframe_split": {"columns": ["a", "b", "n", "t", "a"], "data": [[1.0, "x", 1, True, 2.0]]}
    },
    "no names": {"dataframe_split": {"data": SPLIT["data"]}},
    "names that are no text": {"dataframe_split": {"columns": [["a"], "b", "n", "t"], "data": SPLIT["data"]}},
    "a strange key": {"dataframe_split": {**SPLIT, "dtype": 1}},
    "two formats": {"dataframe_split": SPLIT, "inputs": {}},
    "another key": {"dataframe_split": SPLIT, "verbose": True},
    "params": {"dataframe_split": SPLIT, "params": {"output": "full"}},
    "a missing column": {"dataframe_records": [{"a": 1.0, "b": "x", "n": 1}]},
    "missing in one record": {"dataframe_records": [ROW, {"a": 1.0, "b": "x", "n": 1}]},
    "null for a number": {"dataframe_records": [{**ROW, "a": None}]},
    "null for a truth value": {"dataframe_records": [{**ROW, "t": None}]},
    "text for a number": {"dataframe_records": [{**ROW, "a": "1"}]},
    "true for a number": {"dataframe_records": [{**ROW, "a": True}]},
    "a fraction for an integer": {"dataframe_records": [{**ROW, "n": 1.0}]},
    "true for an integer": {"dataframe_records": [{**ROW, "n": True}]},
    "1 for true": {"dataframe_records": [{**ROW, "t": 1}]},
    "a number for text": {"dataframe_records": [{**ROW, "b": 1}]},
    "a huge number": {"dataframe_records": [{**ROW, "a": 1e300}]},
    "a huge integer": {"dataframe_records": [{**ROW, "n": 2**53 + 1}]},
    "a list for a number": {"dataframe_records": [{**ROW, "a": [1.0]}]},
    "text with NUL at its end": {"inputs": [{**ROW, "b": "x\0"}]},
    "null in inputs": {"inputs": [{**ROW, "a": None}]},
    "columns of two lengths": {"inputs": {"a": [1.0, 2], "b": ["x"], "n": [1, 2], "t": [True, False]}},
    "values and columns": {"inputs": {**ROW, "a": [1.0]}},
    "instances as values": {"instances": ROW},
    "a list": [1],
    "text": "dataframe_split",
    "rows as text": {"dataframe_records": "abc"},
    "split as a list": {"dataframe_split": [1]},
    "chat": {"messages": []},
}


@pytest.mark.parametrize("name", READ)
def test_a_plan_reads_what_is_beyond_doubt(pair: Pair, name: str) -> None:
    assert pair.check(json.dumps(READ[name]).encode())


@pytest.mark.parametrize("name", LEFT)
def test_a_plan_leaves_every_doubt_to_mlflow(pair: Pair, name: str) -> None:
    assert pair.ask_plan(json.dumps(LEFT[name]).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"dataframe_records": [{"a": NaN, "b": "x", "n": 1, "t": true}]}',
        b'{"dataframe_records": [{"a": 1e400, "b": "x", "n": 1, "t": true}]}',
        b'{"dataframe_records": [{"a": 1.0, "b": "\\ud800", "n": 1, "t": true}]}',
        b"[" * 100_000,
    ],
)
def test_a_plan_leaves_what_is_no_json_to_mlflow(pair: Pair, body: bytes) -> None:
    assert pair.ask_plan(body) is None


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        (None, True),
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("application/json;charset=UTF-8", True),
        ("application/json; charset=latin-1", False),
        ("application/json; format=pandas-split", False),
        ("text/csv", False),
        ("application/vnd.apache.parquet", False),
    ],
)
def test_a_plan_reads_json_only(pair: Pair, content_type: str | None, is_read: bool) -> None:
    body = json.dumps({"dataframe_split": SPLIT}).encode()
    assert (pair.ask_plan(body, content_type) is not None) is is_read


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from(["x", "y", "1", "nan", "true"]),
    st.lists(st.integers(0, 3), max_size=2),
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "a": st.floats(-1e6, 1e6) | st.integers(-9, 9),
    "b": st.sampled_from(["x", "y", "z", ""]),
    "n": st.integers(-(2**40), 2**40),
    "t": st.booleans(),
}
RECORD = st.fixed_dictionaries(LIKELY)
CHANGED = st.tuples(RECORD, st.sampled_from(["a", "b", "n", "t", "z"]), ODD).map(
    lambda r: {**r[0], r[1]: r[2]}
)
RECORDS = st.lists(st.one_of(RECORD, RECORD, CHANGED), min_size=1, max_size=4)


def write_form(form: str, records: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for record in records for name in record))
    split = {"columns": names, "data": [[record.get(name) for name in names] for record in records]}
    columns = {name: [record.get(name) for record in records] for name in names}
    document: Any = {"split": {"dataframe_split": split}, "columns": {"inputs": columns}}.get(form)
    return json.dumps(document or {form: records}).encode()


@given(st.sampled_from(["split", "dataframe_records", "inputs", "instances", "columns"]), RECORDS)
@settings(max_examples=300, deadline=None)
def test_a_plan_answers_as_mlflow_does_or_not_at_all(
    pair: Pair, form: str, records: list[dict[str, Any]]
) -> None:
    pair.check(write_form(form, records))


@given(st.sampled_from(sorted(READ)), st.integers(0, 200), st.integers(0, 20), st.binary(max_size=6))
@settings(max_examples=300, deadline=None)
def test_damaged_bodies_are_answered_as_mlflow_does_or_not_at_all(
    pair: Pair, name: str, at: int, cut: int, put: bytes
) -> None:
    body = json.dumps(READ[name]).encode()
    at %= len(body)
    pair.check(body[:at] + put + body[at + cut :])


def test_requests_that_wait_are_answered_in_one_call_each_with_its_own(pair: Pair) -> None:
    bodies = [json.dumps(document).encode() for document in READ.values()]
    batches = [pair.plan.parse(body, MEDIA_TYPE) for body in bodies]
    together = pair.plan.run([batch for batch in batches if batch is not None])
    assert [json.loads(answer) for answer in together] == [pair.ask_plan(body) for body in bodies]
    rows = [0 if batch is None else batch.rows for batch in batches]
    assert [len(json.loads(answer)["predictions"]) for answer in together] == rows


@pytest.mark.parametrize("name", ["plan.json", "plan.sha256", "arrays.npz"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_plan_that_is_not_as_it_was_written_is_not_opened(
    folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    for path in (folder / "plan").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(content) if damage == "changed" else bytes(content[:-9]))
    if damage == "gone":
        (tmp_path / name).unlink()
    with pytest.raises(PlanError, match=r"not as it was written|cannot be read"):
        open_plan(tmp_path)


def test_trees_that_are_not_as_they_were_written_are_not_opened(tmp_path: Path) -> None:
    forest = RandomForestClassifier(3).fit(TABLE[["a"]], [0, 1, 0, 1])
    compile_artifact(save(forest, tmp_path / "m", TABLE[["a"]]), tmp_path / "plan")
    open_plan(tmp_path / "plan").warm()
    (tmp_path / "plan" / "trees.onnx").write_bytes(b"")
    with pytest.raises(PlanError, match=r"trees\.onnx is not as it was written"):
        open_plan(tmp_path / "plan")


PROBE = """
import sys
from pathlib import Path
from serving.compiled.plan import open_plan
plan = open_plan(Path(sys.argv[1]))
plan.warm()
print(sorted({"mlflow", "pandas", "sklearn", "scipy", "onnxruntime", "onnx"} & set(sys.modules)))
"""


def test_a_worker_loads_neither_mlflow_nor_pandas_nor_scikit_learn(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder / "plan")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


def test_another_models_plan_fails_the_comparison(folder: Path, tmp_path: Path) -> None:
    other = make_model()
    other.steps[-1][1].intercept_ += 2e-5
    artifact = save(other, tmp_path / "m", TABLE)
    plan = open_plan(folder / "plan")
    rows = [[float(a), "x", 1, True] for a in np.linspace(0, 9, 60)]
    assert check_parity(plan, open_artifact(folder / "m"), rows) == 60
    with pytest.raises(NotCompilableError, match="otherwise than MLflow does"):
        check_parity(plan, open_artifact(artifact), rows)


def test_too_few_rows_prove_nothing(folder: Path) -> None:
    rows = [[1.0, "x", 1, True]] * 9 + [[None, "x", 1, True]] * 90
    with pytest.raises(NotCompilableError, match="reads only 9 of the 99 rows"):
        check_parity(open_plan(folder / "plan"), open_artifact(folder / "m"), rows)


def test_a_plan_answers_several_threads_at_once(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) % 7})
    forest = RandomForestClassifier(20, random_state=0).fit(numbers, numbers["b"] > 3)
    compile_artifact(save(forest, tmp_path / "m", numbers.head(4)), tmp_path / "plan")
    plan = open_plan(tmp_path / "plan")

    def ask(row: list[float]) -> bytes:
        batch = plan.parse(
            json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [row]}}).encode(), None
        )
        assert batch is not None
        return plan.run([batch])[0]

    rows = numbers.to_numpy().tolist() * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, rows)) == [ask(row) for row in rows]


def test_a_plan_of_another_format_is_not_opened(folder: Path, tmp_path: Path) -> None:
    files = read_plan(folder / "plan")
    write_plan(tmp_path, files)
    document = json.loads((tmp_path / "plan.json").read_bytes())
    content = json.dumps({**document, "format": FORMAT + 1}).encode()
    (tmp_path / "plan.json").write_bytes(content)
    (tmp_path / "plan.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(PlanError, match=f"format {FORMAT + 1}, this program reads {FORMAT}"):
        open_plan(tmp_path)
