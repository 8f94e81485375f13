"""A compiled model refuses the rows that the model itself refuses, and says the same."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from serving.batching import CompiledVersion
from serving.compiled.compiler import compile_artifact
from serving.compiled.errors import NotCompilableError
from serving.compiled.parity import are_equal
from serving.compiled.plan import MEDIA_TYPE, Plan, open_plan
from serving.counting import Counts
from serving.errors import BrokenContractError, RequestError
from serving.scorer import Scored
from serving.scoring import NativeScorer
from serving.statuses import describe_error
from tests.serving.compiled.layered import make_artifact

COLUMNS = ["distance", "night", "carrier", "origin", "scheduled"]
RULES = ["scheduled != '2013-01-05T06:00'", "origin != carrier", "1000.5 != distance"]
CONTRACT = {
    "rules": RULES,
    "ranges": {"scheduled": {"low": "2013-01-01", "high": "2013-01-11T12:00"}},
}
GOOD = [700.5, True, "UA", "EWR", "2013-01-05T05:59:59"]
BAD = [-1.0, True, "UA", "nowhere", "2013-01-05T06:00:00"]
SENTENCE = "Row 1, column 'distance': below 0, where the contract asks for at least 0."
ROW = st.tuples(
    st.sampled_from([700.5, 0.0, 1e-9, -1e-9, 9e9, 1000.5, None]) | st.floats(-10, 3000),
    st.booleans(),
    st.sampled_from(["UA", "EWR", "Ünited", "", None]),
    st.sampled_from(["EWR", "JFK", "nowhere", None]),
    st.sampled_from([f"2013-01-{day}" for day in ("01", "05T06:00:00", "11T12:00:00", "11T12:00:01")])
    | st.sampled_from(["2012-12-31T23:59:59", None]),
).map(list)


def write(*rows: list[Any]) -> bytes:
    return json.dumps({"dataframe_split": {"columns": COLUMNS, "data": rows}}).encode()


def make(folder: Path, mode: str) -> Path:
    estimator = "linear_model.LogisticRegression"
    return make_artifact(folder, estimator, target="late", contract={**CONTRACT, "mode": mode})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("contract"), "refuse")


@pytest.fixture(scope="module")
def folder(artifact: Path) -> Path:
    compile_artifact(artifact, artifact.parent / "plan")
    return artifact.parent / "plan"


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return open_plan(folder)


@pytest.fixture(scope="module")
def native(artifact: Path) -> NativeScorer:
    return NativeScorer.load(artifact)


def ask(plan: Plan, body: bytes) -> Any:
    """The plan's answer, its refusal, or None where it leaves the request to MLflow."""
    try:
        batch = plan.parse(body, MEDIA_TYPE)
    except BrokenContractError as error:
        return describe_error(error)
    return None if batch is None else json.loads(plan.run([batch])[0])


def ask_native(native: NativeScorer, body: bytes) -> Any:
    try:
        return json.loads(native.score(body, MEDIA_TYPE).body)
    except RequestError as error:
        return describe_error(error)


@given(st.lists(ROW, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_rows_are_refused_as_the_model_refuses_them(
    plan: Plan, native: NativeScorer, rows: list[Any]
) -> None:
    ours = ask(plan, write(*rows))
    theirs = ask_native(native, write(*rows))
    assert ours is None or are_equal(ours, theirs) or ours == theirs


def test_a_refusal_names_row_column_kind_and_rule_and_no_value(plan: Plan, native: NativeScorer) -> None:
    body = write([-1.25, True, "UA", "EWR", "2013-01-05"])
    answer = ask(plan, body)
    assert (answer.status, answer.error_code, answer.message) == (400, "INVALID_PARAMETER_VALUE", SENTENCE)
    assert answer == ask_native(native, body)


def test_every_kind_of_violation_is_read_by_the_plan_and_not_left_to_mlflow(plan: Plan) -> None:
    strange: list[tuple[int, list[Any]]] = [
        (0, [-1.0, 9e9, 1000.5]),
        (2, ["no such", "EWR"]),
        (3, [None, "x"]),
        (4, [None, "2011-01-01T00:00:00"]),
    ]
    for place, values in strange:
        for value in values:
            row = [value if at == place else one for at, one in enumerate(GOOD)]
            assert ask(plan, write(row)).status == 400, row
            assert ask(plan, write(GOOD, row)).message.startswith("Row 2,"), row


def test_with_the_contract_switched_off_the_same_rows_are_answered(
    folder: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_CONTRACT", "off")
    plan, native = open_plan(folder), NativeScorer.load(artifact)
    plan.warm()
    for rows in ([BAD], [GOOD, BAD]):
        assert are_equal(ask(plan, write(*rows)), ask_native(native, write(*rows)))
    batch = plan.parse(write(BAD), MEDIA_TYPE)
    assert batch is not None
    assert [finding.column for finding in batch.violations] == ["distance", "origin", "scheduled"]


def test_one_bad_row_fails_its_own_request_only(plan: Plan) -> None:
    counts = Counts()
    version = CompiledVersion(plan, _Nobody(), version="7", counts=counts, max_rows=0)

    async def ask_together() -> list[Any]:
        bodies = [write(GOOD), write(GOOD, BAD), write(GOOD, GOOD), write(BAD)]
        return await asyncio.gather(
            *(version.score(body, MEDIA_TYPE) for body in bodies), return_exceptions=True
        )

    kinds = [type(answer) for answer in asyncio.run(ask_together())]
    assert kinds == [Scored, BrokenContractError, Scored, BrokenContractError]
    assert counts.violations == {
        ("7", "distance", "at least 0"): 2,
        ("7", "origin", "one of 3 known categories"): 2,
        ("7", "scheduled", RULES[0]): 2,
    }


def test_a_contract_that_warns_counts_and_answers(tmp_path: Path) -> None:
    artifact = make(tmp_path, "warn")
    compile_artifact(artifact, tmp_path / "plan")
    plan, counts = open_plan(tmp_path / "plan"), Counts()
    version = CompiledVersion(plan, _Nobody(), version="7", counts=counts, max_rows=0)
    batches = [plan.parse(write(*rows), MEDIA_TYPE) for rows in ([BAD], [GOOD, BAD, BAD], [GOOD])]
    answers = version.run([batch for batch in batches if batch is not None])
    native = NativeScorer.load(artifact)
    assert are_equal(json.loads(answers[1]), ask_native(native, write(GOOD, BAD, BAD)))
    assert counts.violations["7", "distance", "at least 0"] == 3
    assert asyncio.run(version.score(write(BAD), MEDIA_TYPE)).path == "compiled"
    assert counts.violations["7", "origin", "one of 3 known categories"] == 4


def test_layers_that_enforce_other_rules_than_the_contract_names_are_not_compiled(tmp_path: Path) -> None:
    artifact = make(tmp_path, "refuse")
    path = artifact / "artifacts" / "parts" / "layers.json"
    layers = json.loads(path.read_text("utf-8"))
    layers["contract"]["rules"].pop()
    path.write_text(json.dumps(layers), "utf-8")
    with pytest.raises(NotCompilableError, match="different rules"):
        compile_artifact(artifact, tmp_path / "plan")


class _Nobody:
    """Stands where MLflow's code would, and is not needed."""

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        raise AssertionError((body, content_type, request_id))
