import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc.scoring_server import invocations
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

from registry import ArtifactError
from serving.errors import ModelRefusedError, UnsupportedMediaError
from serving.scorer import JSON
from serving.scoring import NativeScorer, normalize_content_type, to_strict_json

TABLE = pd.DataFrame({"x": [0.0, 1.0, 2.0]})


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a fitted model the way plain MLflow does."""

    def save(model: Any, **options: Any) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's hints
            mlflow.sklearn.save_model(model, tmp_path / "m", pip_requirements=["scikit-learn"], **options)
        return tmp_path / "m"

    return save


def test_nan_in_answer(save: Callable[..., Path]) -> None:
    logarithm = TransformedTargetRegressor(
        LinearRegression(), func=np.exp, inverse_func=np.log, check_inverse=False
    )
    folder = save(logarithm.fit(TABLE, [0.0, 1.0, 2.0]), input_example=TABLE.tail(1))
    scorer = NativeScorer.load(folder)
    body = b'{"dataframe_records": [{"x": 2.0}, {"x": -9.0}]}'
    with np.errstate(all="ignore"):
        model = mlflow.pyfunc.load_model(str(folder))
        schema = model.metadata.get_input_schema()
        theirs = invocations(body, JSON, model, schema)  # type: ignore[no-untyped-call]
        ours = scorer.score(body, JSON)
    assert "NaN" in theirs.response
    first, second = json.loads(ours.body)["predictions"]
    assert (first, second) == (json.loads(theirs.response)["predictions"][0], None)


def test_a_model_answers_its_own_example_before_it_is_shown(save: Callable[..., Path]) -> None:
    model = DummyRegressor().fit(TABLE, [1.0, 2.0, 3.0])
    assert NativeScorer.load(save(model, input_example=TABLE)).warm_up()


def test_a_model_without_an_example_is_not_warm(save: Callable[..., Path]) -> None:
    model = DummyRegressor().fit(TABLE, [1.0, 2.0, 3.0])
    assert not NativeScorer.load(save(model, signature=infer_signature(TABLE))).warm_up()


def test_a_model_that_cannot_answer_its_own_example_is_refused(save: Callable[..., Path]) -> None:
    folder = save(LinearRegression().fit(TABLE, [1.0, 2.0, 3.0]), input_example=TABLE)
    example = {"dataframe_records": [{"y": 1.0}]}
    (folder / "serving_input_example.json").write_text(json.dumps(example))
    with pytest.raises(ArtifactError, match=r"does not answer its own input example.*: x\."):
        NativeScorer.load(folder).warm_up()


def save_function(folder: Path, function: Callable[..., Any], **options: Any) -> Path:
    """Saves a function as a pyfunc model."""

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow asks for type hints

        class Model(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]  # MLflow has no types
            def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
                del context
                return function(model_input, params)

        mlflow.pyfunc.save_model(folder, python_model=Model(), pip_requirements=[], **options)
    return folder


def test_params_reach_the_model(tmp_path: Path) -> None:
    signature = infer_signature(TABLE, params={"add": 0.5})
    folder = save_function(
        tmp_path / "m", lambda table, params: (table["x"] + params["add"]).tolist(), signature=signature
    )
    scorer = NativeScorer.load(folder)

    def score(**params: Any) -> Any:
        return json.loads(scorer.score(json.dumps({"inputs": {"x": [1.0]}, **params}).encode(), JSON).body)

    assert score() == {"predictions": [1.5]}
    assert score(params={"add": 2.0}) == {"predictions": [3.0]}
    with pytest.raises(ModelRefusedError, match=r"params do not fit") as refused:
        score(params={"add": "s3cr3t"})
    assert "s3cr3t" not in str(refused.value)


def test_what_a_model_says_when_it_fails_is_not_passed_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(table: pd.DataFrame, _params: Any) -> None:
        raise ValueError(f"cannot digest {table['x'][0]}")

    scorer = NativeScorer.load(save_function(tmp_path / "m", fail))
    with pytest.raises(ModelRefusedError) as refused:
        scorer.score(b'{"dataframe_records": [{"x": "s3cr3t"}]}', JSON)
    assert (str(refused.value), refused.value.error_code) == (
        "The model failed on this input.",
        "BAD_REQUEST",
    )
    assert "ValueError at " in caplog.text
    assert "s3cr3t" not in caplog.text


def test_an_answer_that_is_no_json_is_the_servers_failure(tmp_path: Path) -> None:
    scorer = NativeScorer.load(save_function(tmp_path / "m", lambda *_: [1j]))
    with pytest.raises(TypeError, match="not JSON serializable"):
        scorer.score(b'{"dataframe_records": [{"x": 2.0}]}', JSON)


def test_a_format_that_the_protocol_does_not_have_is_refused(save: Callable[..., Path]) -> None:
    scorer = NativeScorer.load(save(DummyRegressor().fit(TABLE, [1.0, 2.0, 3.0]), input_example=TABLE))
    with pytest.raises(UnsupportedMediaError):
        scorer.score(b"x", "text/html")


def test_loading_and_answering_leave_the_artifact_as_it_was(save: Callable[..., Path]) -> None:
    from registry import compute_manifest

    folder = save(DummyRegressor().fit(TABLE, [1.0, 2.0, 3.0]), input_example=TABLE)
    before = compute_manifest(folder)
    NativeScorer.load(folder).warm_up()
    assert compute_manifest(folder) == before


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (None, JSON),
        ("", JSON),
        ('application/json; charset="utf-8"', "application/json; charset=utf-8"),
        ("text/csv;charset=UTF-8", "text/csv;charset=UTF-8"),
        ('text/csv; header="present"', 'text/csv; header="present"'),
    ],
)
def test_content_types_are_read_as_written(given: str | None, understood: str) -> None:
    assert normalize_content_type(given) == understood


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ('{"predictions": [1.5]}', '{"predictions": [1.5]}'),
        ('{"predictions": [NaN, Infinity, -Infinity]}', '{"predictions": [null, null, null]}'),
        (
            '[{"NaN": NaN, "b": ["Infinity"]}]',
            '[{"NaN": null, "b": ["Infinity"]}]',
        ),
        ('{"predictions": [0.1, 1e-300, NaN]}', '{"predictions": [0.1, 1e-300, null]}'),
    ],
)
def test_only_what_is_no_json_is_changed(text: str, strict: str) -> None:
    assert to_strict_json(text) == strict
