"""The guard: what is refused, how often wrongly, and that one row and a batch are judged alike."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from mlflow import MlflowClient
from mlflow.pyfunc.scoring_server import predictions_to_json

from registry import (
    DataError,
    PromotionRequest,
    Settings,
    UsageError,
    check_trust,
    open_ledger,
    promote,
)
from registry.policy import MetricPolicy, Policy
from tests.fixtures.mlflow_stores import copy_template
from tests.training.conftest import Traces
from training import Job, plan_training, train
from training.artifact.guard import LIMIT, MISMATCH, STRANGE, Guard, load_guard
from training.fitting import make_features
from training.guarding import fit_guard
from training.package import write_package
from training.result import GuardLayer
from training.trainer import fit_model

COLORS = ("red", "green", "blue")


def make_rows(seed: int, count: int = 1200) -> pd.DataFrame:
    """Two numbers that go together, one of them sometimes missing, and a color."""
    generator = np.random.default_rng(seed)
    size = generator.normal(size=count)
    weight = 2 * size + 0.3 * generator.normal(size=count)
    return pd.DataFrame(
        {
            "size": size,
            "weight": np.where(generator.random(count) < 0.1, np.nan, weight),
            "color": generator.choice(COLORS, count, p=[0.6, 0.3, 0.1]),
            "constant": 1.5,
            "late": (size + generator.normal(size=count) > 0).astype("int64"),
        }
    )


def fit(rows: pd.DataFrame, **guard: Any) -> GuardLayer:
    job = Job.from_frame(rows, name="guarded", target="late", guard=guard)
    plan = plan_training(job)
    layer = fit_guard(plan, make_features(plan, plan.rows.iloc[plan.split.train]))
    assert layer is not None
    return layer


@pytest.fixture(scope="module")
def layer() -> GuardLayer:
    return fit(make_rows(1), false_refusal=0.05)


def judge(layer: GuardLayer, **values: Any) -> tuple[float, bool]:
    row = {"size": 0.5, "weight": 1.0, "color": "red", "constant": 1.5} | values
    typicality, refused = layer.guard.judge(pd.DataFrame([row]))
    return float(typicality[0]), bool(refused[0])


def test_ordinary_rows_are_refused_about_as_often_as_allowed(layer: GuardLayer) -> None:
    _, refused = layer.guard.judge(make_rows(2, 4000))
    assert 0.01 < refused.mean() < 0.10  # 192 calibration rows leave a standard deviation of 0.016
    _, refused = fit(make_rows(1), false_refusal=0.01).guard.judge(make_rows(2, 4000))
    assert refused.mean() < 0.03


@pytest.mark.parametrize(
    "values",
    [
        {"size": 40.0},
        {"size": -2.0, "weight": 4.0},  # each is ordinary, together they are not
        {"color": "violet"},
        {"constant": 1.6},
        {"size": np.nan},  # never missing in what was learned from
        {"size": np.inf},
        {"color": None},
    ],
)
def test_what_resembles_nothing_is_refused(layer: GuardLayer, values: Mapping[str, Any]) -> None:
    assert judge(layer) > (0.3, False)
    assert judge(layer, **values)[1]


def test_what_was_missing_before_may_be_missing(layer: GuardLayer) -> None:
    assert not judge(layer, weight=np.nan)[1]


def test_distances_are_what_the_documentation_says() -> None:
    plan = {
        "neighbours": 2,
        "numbers": [{"feature": "a", "center": 10.0, "scale": 2.0 / 256}],
        "marks": [{"feature": "b", "known": ["x", "y"], "missing": False}],
        "scores": [100, 200, 300],
        "most": 1,
    }
    guard = Guard(plan, (np.array([[0], [256], [5120]]), np.array([[0], [0], [1]])))
    rows = pd.DataFrame({"a": [10.0, 12.0, np.nan, 1e9], "b": np.array(["x", "y", "x", "z"], dtype=object)})
    assert guard.measure(rows).tolist() == [
        256**2,
        256**2 + 2 * MISMATCH,
        256**2 + 2 * STRANGE,
        (LIMIT - 5120) ** 2 + (LIMIT - 256) ** 2 + 2 * MISMATCH + 2 * STRANGE,
    ]
    known = guard.judge(pd.DataFrame({"a": [10.0], "b": ["x"]}))
    assert known[0].tolist() == [1 / 4]


@given(st.lists(st.integers(0, 1199), min_size=1, max_size=12), st.floats(-1e6, 1e6))
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_row_alone_is_judged_as_in_a_batch_to_the_last_digit(
    layer: GuardLayer, places: list[int], strange: float
) -> None:
    rows = make_rows(3).iloc[places].reset_index(drop=True)
    rows.loc[0, "size"] = strange
    together = layer.guard.measure(rows)
    alone = np.concatenate([layer.guard.measure(rows.iloc[[place]]) for place in range(len(rows))])
    assert (together == alone).all()
    assert (together % 1 == 0).all()


def test_components_see_what_leaves_them() -> None:
    generator = np.random.default_rng(5)
    base = generator.normal(size=(600, 2)) @ generator.normal(size=(2, 12))
    names = [f"pixel_{place}" for place in range(12)]
    rows = pd.DataFrame(base + 0.01 * generator.normal(size=base.shape), columns=names)
    rows["late"] = (rows["pixel_0"] > 0).astype("int64")
    layer = fit(rows, false_refusal=0.05, space="pixels", components=2)
    assert layer.arrays["numbers"].shape[1] == 3
    fresh = pd.DataFrame(generator.normal(size=(300, 2)) @ generator.normal(size=(2, 12)), columns=names)
    assert layer.guard.judge(fresh)[1].mean() > 0.9
    assert layer.guard.judge(rows[names])[1].mean() < 0.1


def test_the_rows_compared_with_and_the_features_can_be_chosen() -> None:
    layer = fit(make_rows(1), false_refusal=0.05, max_rows=50, features=["size", "weight"])
    assert layer.arrays["numbers"].shape == (50, 2)
    assert not judge(layer, color="violet")[1]


@pytest.mark.parametrize(
    ("section", "kind", "text"),
    [
        ({"false_refusal": 0.001}, DataError, "takes at least 999 rows held out for the guard"),
        ({"features": ["siez"]}, UsageError, "Did you mean 'size'"),
        ({"components": 9}, UsageError, "there are 3 numbers"),
        ({"space": "pixels", "features": ["color"]}, UsageError, "there are categories only"),
        ({"false_refusal": 0.7}, UsageError, "guard.false_refusal"),
        ({"false_refusals": 0.1}, UsageError, r"\[guard\] has no key"),
    ],
)
def test_a_guard_that_cannot_be_is_refused_before_anything_is_fitted(
    section: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        plan_training(Job.from_frame(make_rows(1, 300), name="guarded", target="late", guard=section))
    assert text.replace("\\", "") in f"{caught.value} {getattr(caught.value, 'hint', '')}"


def test_later_rows_calibrate_where_the_split_is_by_time() -> None:
    rows = make_rows(1).assign(day=pd.date_range("2026-01-01", periods=1200, freq="h"))
    rows["size"] = np.arange(1200.0)  # it drifts: what comes last is far from all before
    job = Job.from_frame(
        rows, name="guarded", target="late", data={"time": "day"}, guard={"false_refusal": 0.05}
    )
    plan = plan_training(job)
    features = make_features(plan, plan.rows.iloc[plan.split.train])
    layer = fit_guard(plan, features)
    assert layer is not None
    assert layer.guard.scale[0] * 256 == pytest.approx(features["size"].iloc[:768].std(), rel=0.01)


@pytest.fixture(scope="module")
def trained(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Traces]:
    """A guarded model with text labels, in a store that the tests after it share."""
    folder = tmp_path_factory.mktemp("guarded")
    uri = copy_template(sqlite_template, folder / "mlflow.db", str(folder / "mlruns" / "0"))
    settings = Settings(tracking_uri=uri, registry_uri=uri)
    job = Job.from_frame(
        make_rows(1),
        name="guarded",
        target="late",
        estimator="sklearn.linear_model.LogisticRegression",
        guard={"false_refusal": 0.05},
        answer={"labels": {"0": "on time", "1": "late"}},
        evaluation={"importance": {"rows": 0}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow puts what a new experiment stores
        train(job, settings=settings)
    return settings, Traces(MlflowClient(uri))


def test_a_refused_row_is_answered_null_everywhere_and_says_so_in_full(
    trained: tuple[Settings, Traces], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, traces = trained
    folder = traces.find_model()
    check_trust(folder)
    model: Any = mlflow.pyfunc.load_model(str(folder))
    run = traces.runs[0]
    assert 0 <= run.data.metrics["guard_refused"] < 0.15
    assert run.data.params["split.rows_guard"] == "192"
    sent = pd.DataFrame(
        {"size": [0.5, 40.0], "weight": [1.0, 1.0], "color": ["red", "red"], "constant": [1.5, 1.5]}
    )
    answers = model.predict(sent)
    assert [answers[0] in {"late", "on time"}, answers[1]] == [True, None]
    wide = model.predict(sent, params={"output": "probability"})
    assert list(wide.columns) == ["on time", "late"]
    assert wide.iloc[1].tolist() == [None, None]
    assert wide.iloc[0].sum() == 1.0
    full = model.predict(sent, params={"output": "full"})
    assert full["nothing_found"].tolist() == [False, True]
    assert full["typicality"][1] == 1 / 193
    for said in (answers, wide, full):
        written = io.StringIO()
        predictions_to_json(said, written)  # type: ignore[no-untyped-call]  # MLflow's own
        assert ("null" in written.getvalue(), "NaN" in written.getvalue()) == (True, False)
    signature = {
        column["name"]: column for column in model.metadata.signature.outputs.to_dict() if "name" in column
    }
    assert signature == {}  # the default output is one unnamed column
    monkeypatch.setenv("GREENROOM_GUARD", "off")
    bold = mlflow.pyfunc.load_model(str(folder))
    assert set(bold.predict(sent)) <= {"late", "on time"}
    assert bold.predict(sent, params={"output": "full"})["nothing_found"].tolist() == [False, True]
    kept = load_guard(folder / "artifacts" / "parts", "guard.json")
    assert kept.measure(sent).tolist() == model.unwrap_python_model().guard.measure(sent).tolist()


def test_gates_judge_a_guarded_model_by_all_rows_and_count_what_it_would_refuse(
    trained: tuple[Settings, Traces],
) -> None:
    """Labels are not what the truth is called, and refused rows have no answer: neither stops a gate."""
    settings, _ = trained
    ledger = open_ledger("guarded", settings=settings)
    strict = Policy(guard=True, max_refused=0.15, metric=MetricPolicy(name="error", floor=0.4))
    assert promote(ledger, PromotionRequest("guarded", "staging", policy=strict)).verdict == "yes"
    outcome = promote(ledger, PromotionRequest("guarded", "production", policy=strict))
    said = {gate.name: gate for gate in outcome.gates}
    assert said["guard"].verdict == "yes"
    assert (said["refusals"].verdict, said["refusals"].numbers["rows"]) == ("yes", 240)
    assert said["floor"].verdict == "yes"
    assert outcome.verdict == "yes"


def test_a_number_that_is_refused_is_null_and_the_signature_allows_it(tmp_path: Path) -> None:
    job = Job.from_frame(
        make_rows(1),
        name="guarded",
        target="weight",
        estimator="sklearn.linear_model.Ridge",
        data={"missing_target": "drop"},
        model={"output": "full"},
        guard={"false_refusal": 0.05},
    )
    plan = plan_training(job)
    fitted = fit_model(plan, make_features(plan, plan.rows.iloc[plan.split.train]))
    folder = write_package(tmp_path / "model", plan, fitted, model_id="m-1", run_id="1").folder
    model = mlflow.pyfunc.load_model(str(folder))
    sent = pd.DataFrame({"size": [0.5, 50.0], "color": "red", "constant": 1.5, "late": [1, 1]})
    sent["late"] = sent["late"].astype("float64")
    full = model.predict(sent)
    assert list(full.columns) == ["answer", "nothing_found", "typicality"]
    assert [isinstance(full["answer"][0], float), full["answer"][1]] == [True, None]
    outputs = {column["name"]: column["required"] for column in model.metadata.signature.outputs.to_dict()}
    assert outputs == {"answer": False, "nothing_found": True, "typicality": True}
