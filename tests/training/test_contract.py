"""A model carries what rows must look like, and refuses the others by itself where it was asked to."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
import uvicorn
from hypothesis import given, settings as examples, strategies as st
from mlflow import MlflowException
from mlflow.pyfunc import scoring_server

from registry import (
    Contract,
    DataError,
    Policy,
    PromotionRequest,
    Settings,
    UsageError,
    check_trust,
    find_violations,
    format_contract,
    open_ledger,
    parse_contract,
    promote,
)
from registry.compatibility import judge_contract
from registry.contract.columns import Column, Range
from registry.verification import run_model
from tests.training.conftest import Traces
from training import Job, plan_training, train
from training.artifact.layers import RowContract
from training.contract import write_enforcement

SECRET = 31_415.9


def make_job(rows: pd.DataFrame, data: dict[str, Any] | None = None, **contract: Any) -> Job:
    frame = rows if data else rows.drop(columns="day")
    evaluation = {"plots": False, "importance": {"rows": 0}}
    sections: dict[str, Any] = {"contract": contract, "evaluation": evaluation, "data": data or {}}
    model = "sklearn.linear_model.LogisticRegression"
    return Job.from_frame(frame, name="small", target="late", estimator=model, **sections)


def test_the_contract_of_the_learned_rows_is_in_the_model_and_in_the_run(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    job = make_job(rows)
    learned = plan_training(job)
    result = train(job, settings=settings)
    folder = traces.find_model()
    text = (folder / "artifacts" / "parts" / "contract.json").read_text("utf-8")
    contract = parse_contract(text)
    seen = contract.columns["size"].range
    assert seen is not None
    size = learned.rows["size"].iloc[learned.split.train]
    assert seen.seen == (size.min(), size.max())
    assert contract.columns["color"].categories == ("blue", "green", "red")
    assert contract.mode == "warn"
    run = traces.client.get_run(result.run_id)
    assert Path(run.info.artifact_uri.removeprefix("file://"), "contract.json").read_text("utf-8") == text
    broken = find_violations(contract, learned.rows.iloc[learned.split.evaluate])
    assert run.data.tags["greenroom.contract_violations"] == str(len({found.row for found in broken}))
    assert judge_contract(folder).verdict == "yes"
    check_trust(folder)
    layers = json.loads((folder / "artifacts" / "parts" / "layers.json").read_text("utf-8"))
    assert "contract" not in layers  # so that a compiled plan may answer for it


@contextmanager
def serve(model: Any, port: int) -> Iterator[Callable[..., tuple[int, dict[str, Any]]]]:
    """MLflow's own scoring server, as ``mlflow models serve`` starts it, in a thread."""
    server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()

    def ask(*rows: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"dataframe_records": rows}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield ask
    finally:
        server.should_exit = True
        thread.join(30)


GOOD = {"size": 0.5, "color": "red", "noise": 0.1}


def test_a_model_that_refuses_does_so_in_mlflows_own_server(
    rows: pd.DataFrame,
    settings: Settings,
    traces: Traces,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("__MLFLOW_IN_SERVING", "true")  # MLflow sets it, and never takes it back
    ranges = {"size": [-9, 9], "noise": "any"}
    job = make_job(rows[rows["color"] != "green"], mode="refuse", ranges=ranges, rules=["noise <= 5"])
    train(job, settings=settings)
    folder = traces.find_model()
    check_trust(folder)
    with serve(mlflow.pyfunc.load_model(str(folder)), free_port) as ask:
        assert ask(GOOD)[0] == 200
        status, error = ask(GOOD, GOOD | {"size": SECRET}, GOOD | {"color": "green"})
        assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert error["message"].endswith(  # MLflow's own server puts the request's rows before it
            "Error: Row 2, column 'size': above 9, where the contract asks for at most 9. "
            "And 1 more like it or of other kinds."
        )
        _, error = ask(GOOD | {"noise": SECRET})
        assert "Row 1, column 'noise': against the rule, where" in error["message"]
        assert "asks for noise <= 5." in error["message"]
        assert str(SECRET) not in error["message"].rpartition("Error: ")[2]
    monkeypatch.setenv("GREENROOM_CONTRACT", "off")
    unbound = mlflow.pyfunc.load_model(str(folder))
    assert len(unbound.predict(pd.DataFrame([GOOD | {"size": SECRET}]))) == 1


def test_a_policy_that_asks_for_a_contract_is_content_also_where_held_out_rows_break_it(
    rows: pd.DataFrame, settings: Settings, traces: Traces, tmp_path: Path
) -> None:
    frame = rows.assign(size=rows["size"].where(rows.index != 299, SECRET))  # the last row by time
    job = make_job(frame, data={"time": "day"}, mode="refuse")
    result = train(job, settings=settings)
    told = "2 of 60 rows held out break the data contract: size below -3 (1), size above 2.73 (1)."
    assert result.warnings == (told,)
    ledger = open_ledger("small", settings=settings)
    outcome = promote(ledger, PromotionRequest("small", "staging", policy=Policy(contract=True)))
    assert {gate.name: gate.verdict for gate in outcome.gates}["contract"] == "yes"
    assert outcome.verdict == "yes"
    held = plan_training(job).rows.iloc[-60:]
    held.to_parquet(tmp_path / "held.parquet")
    answers = run_model(
        traces.find_model(), scratch=tmp_path, rows=tmp_path / "held.parquet", task="binary", classes=(0, 1)
    )
    assert answers.rows_error is None  # a gate compares models on all rows


@pytest.mark.parametrize(
    ("contract", "raised", "said"),
    [
        (
            {"rules": ["size < smell"]},
            UsageError,
            "names the column 'smell', which the contract does not have",
        ),
        ({"ranges": {"late": [0, 1]}}, UsageError, "names the column 'late', which callers do not send"),
        (
            {"mode": "refuse", "categories": {"color": ["red", "blue"]}},
            DataError,
            r"Column 'color', row \d+ of the frame: an unknown category, where the contract asks for one of",
        ),
    ],
)
def test_a_contract_that_cannot_hold_is_refused_before_anything_is_written(
    rows: pd.DataFrame, traces: Traces, contract: dict[str, Any], raised: type[Exception], said: str
) -> None:
    with pytest.raises(raised, match=said):
        plan_training(make_job(rows, **contract))
    assert traces.are_none()


def test_a_row_that_was_learned_from_against_the_contract_is_a_warning_where_none_is_refused(
    rows: pd.DataFrame,
) -> None:
    plan = plan_training(make_job(rows, ranges={"size": [-1, 1]}))
    assert "of 240 rows learned from break the data contract: size below -1 (" in plan.warnings[-1]
    assert "of 60 rows held out break the data contract" in plan.warnings[-1]


def test_a_job_may_have_no_contract(rows: pd.DataFrame) -> None:
    assert plan_training(make_job(rows, mode="off")).contract is None


CONTRACT = Contract(
    {
        "size": Column("number", range=Range(-1.5, 99.0)),
        "price": Column("number", nullable=True, required=False, range=Range(low=0.0)),
        "color": Column("category", nullable=True, categories=("blue", "red")),
        "note": Column("text", nullable=True, required=False),
        "at": Column("datetime", range=Range(high=1_770_000_000_000_000)),
        "flag": Column("boolean", nullable=True),
    },
    ("size < price", "note != color", "price != 7", "flag == true", "at < '2026-03-01'", "color == 'red'"),
    "refuse",
)
NUMBER = st.floats(-200, 200) | st.sampled_from([-1.5, 99.0, 7.0, float("nan"), float("inf")])
TEXT = st.sampled_from(["red", "blue", "pink", "", None])
MOMENT = st.datetimes(pd.Timestamp("2025-12-25"), pd.Timestamp("2026-07-01")) | st.none()
ROW = st.tuples(NUMBER, NUMBER, TEXT, TEXT, MOMENT, st.none() | st.booleans())


@given(st.lists(ROW, min_size=1, max_size=5), st.booleans())
@examples(max_examples=80, deadline=None)
def test_a_model_says_the_first_of_what_a_batch_says(rows: list[tuple[Any, ...]], is_sent: bool) -> None:
    frame = pd.DataFrame(rows, columns=list(CONTRACT.columns))
    frame = frame.assign(at=pd.to_datetime(frame["at"]))
    if not is_sent:
        frame = frame.drop(columns="note")
    written = json.loads(format_contract(CONTRACT))
    inside = RowContract(written["columns"], write_enforcement(CONTRACT, "contract.json")["rules"])
    expected = find_violations(CONTRACT, frame)
    if not expected:
        inside.check(frame)
        return
    with pytest.raises(MlflowException) as raised:
        inside.check(frame)
    more = f" And {len(expected) - 1} more like it or of other kinds." if len(expected) > 1 else ""
    assert raised.value.message == expected[0].text + more
