"""Models that ``train-model`` makes answer as MLflow does: moments, lookups, holes, every output."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from serving.compiled.compiler import compile_artifact
from serving.compiled.errors import NotCompilableError
from tests.serving.compiled.comparison import Pair, compile_pair, write
from tests.serving.compiled.layered import OBSERVED, make_artifact, make_flights, make_weather

COLUMNS = ["distance", "night", "carrier", "origin", "scheduled"]
FLIGHTS = make_flights()[COLUMNS]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "histogram": ("ensemble.HistGradientBoostingClassifier", {"params": {"max_iter": 20}}),
    "forest of three": ("ensemble.RandomForestClassifier", {"target": "kind", "params": {"n_estimators": 9}}),
    "logistic": ("linear_model.LogisticRegression", {"output": "probability", "params": {"max_iter": 500}}),
    "number": ("ensemble.GradientBoostingRegressor", {"target": "delay", "params": {"n_estimators": 9}}),
    "target encoding": (
        "ensemble.HistGradientBoostingClassifier",
        {"target": "kind", "encoding": "target", "params": {"max_iter": 9}},
    ),
    "no probabilities": ("svm.LinearSVC", {"output": "answer"}),
}


def rows(count: int) -> Any:
    """Flights as JSON has them: moments as text, missing values as null."""
    frame = FLIGHTS.head(count).assign(scheduled=FLIGHTS["scheduled"].map(lambda moment: moment.isoformat()))
    return frame.astype(object).where(frame.notna(), None)


@pytest.mark.parametrize("name", MODELS)
def test_a_layered_model_answers_as_mlflow_does_by_every_output(name: str, tmp_path: Path) -> None:
    estimator, options = MODELS[name]
    pair = compile_pair(make_artifact(tmp_path, estimator, **options), tmp_path / "plan")
    answered = [
        pair.check(write(form, rows(count), params))
        for form in ("dataframe_split", "dataframe_records")
        for count in (1, 60)
        for params in (None, {}, *({"output": output} for output in pair.plan.outputs))
    ]
    assert all(answered)
    assert pair.check(write("inputs", rows(60).dropna()))
    assert pair.check(write("instances", rows(60).dropna()))


def test_weather_that_was_known_by_then_comes_out_of_a_database_and_is_found_in_every_path(
    tmp_path: Path,
) -> None:
    """Training, the model itself, its plan, and pandas' own join agree."""
    artifact = make_artifact(
        tmp_path, "ensemble.HistGradientBoostingClassifier", params={"max_iter": 9}, lookup=[OBSERVED]
    )
    pair = compile_pair(artifact, tmp_path / "plan")
    assert pair.check(write("dataframe_split", rows(200)))
    assert all(pair.check(write("dataframe_records", rows(200)[at : at + 1])) for at in range(0, 200, 20))
    (tmp_path / "weather.db").unlink()  # the artifact has its own copy
    model = mlflow.pyfunc.load_model(str(artifact)).unwrap_python_model()
    made = model.rows.transform(FLIGHTS)
    hours = make_weather()["hour"].dt.hour
    joined = pd.merge_asof(
        FLIGHTS.reset_index().sort_values("scheduled"),
        make_weather()[hours % 5 == 0].sort_values("hour"),
        left_on="scheduled",
        right_on="hour",
        left_by="origin",
        right_by="place",
        tolerance=pd.Timedelta("4h"),
    ).set_index("index")
    np.testing.assert_array_equal(made["w_wind"], joined["wind"].sort_index())
    assert 0 < made["w_wind"].notna().mean() < 1


def test_outputs_that_the_model_does_not_give_are_mlflows_to_refuse(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "linear_model.Ridge", target="delay", output="answer")
    pair = compile_pair(artifact, tmp_path / "plan")
    assert pair.plan.outputs == ("answer", "full")
    refused: list[Any] = [{"output": output} for output in ("probability", "all", 1, None)]
    for params in (*refused, {"other": "full"}, [], "full"):
        assert pair.ask_plan(write("dataframe_split", rows(1), params)) is None


def test_code_that_train_model_did_not_write_is_not_compiled(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "linear_model.LogisticRegression")
    with (artifact / "layers.py").open("a") as file:
        file.write("\n# better now\n")
    with pytest.raises(NotCompilableError, match=r"layers\.py is not the layers file"):
        compile_artifact(artifact, tmp_path / "plan")


def test_evaluation_rows_that_the_artifact_carries_are_compared_too(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "linear_model.LogisticRegression")
    with_rows = compile_artifact(artifact, tmp_path / "one").rows
    kept = len(pd.read_parquet(artifact / "evaluation" / "rows.parquet"))
    shutil.rmtree(artifact / "evaluation")
    assert with_rows >= compile_artifact(artifact, tmp_path / "two").rows + kept


def test_layers_of_a_later_format_are_not_compiled(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "linear_model.LogisticRegression")
    path = artifact / "artifacts" / "parts" / "layers.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "embedding": "v2"}), "utf-8")
    with pytest.raises(NotCompilableError, match="another format"):
        compile_artifact(artifact, tmp_path / "plan")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("layered")
    artifact = make_artifact(
        folder, "ensemble.HistGradientBoostingClassifier", params={"max_iter": 9}, output="full"
    )
    return compile_pair(artifact, folder / "plan")


MOMENTS = {
    "2013-01-05T05:59:59": True,
    "2013-01-05 05:59": True,
    "2013-01-05": True,
    "2013-01-05T05:59:59.123": True,
    "2013-01-05T05:59:59.123456": True,
    "2013-01-05T05:59:59Z": False,
    "2013-01-05T05:59:59+02:00": False,
    "2013-W01-5": False,
    "20130105": False,
    "2013-02-30": False,
    "5 January 2013": False,
    "1600-01-01": False,
    "": False,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments_are_read_where_there_is_one_way_to_read_them(pair: Pair, moment: str) -> None:
    frame = rows(3).assign(scheduled=moment)
    for form in ("dataframe_split", "dataframe_records", "inputs"):
        whole = frame.dropna() if form == "inputs" else frame
        assert pair.check(write(form, whole)) is MOMENTS[moment]


def test_moments_of_two_formats_in_one_request_are_left_to_mlflow(pair: Pair) -> None:
    frame = rows(2).assign(scheduled=["2013-01-05", "2013-01-05T05:59"])
    assert pair.ask_plan(write("dataframe_split", frame)) is None


def test_moments_that_are_missing_have_missing_parts(pair: Pair) -> None:
    records = rows(2).to_dict(orient="records")
    records[1]["scheduled"] = None
    assert pair.check(json.dumps({"dataframe_records": records}).encode())
    assert pair.check(json.dumps({"dataframe_records": records[1:]}).encode())


def test_an_optional_column_may_be_left_out(pair: Pair) -> None:
    assert pair.check(write("dataframe_split", rows(5).drop(columns="carrier")))
    assert pair.check(write("dataframe_records", rows(1).drop(columns="carrier")))
    records = rows(3).to_dict(orient="records")
    del records[1]["distance"]
    assert pair.check(json.dumps({"dataframe_records": records}).encode())
    del records[1]["origin"]
    assert pair.ask_plan(json.dumps({"dataframe_records": records}).encode()) is None
