"""Models of every known kind answer as MLflow does; the others are refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from serving.compiled.compiler import compile_artifact, main
from serving.compiled.errors import NotCompilableError
from tests.serving.compiled.comparison import compile_pair, fit, save, write

ROWS = 240
RNG = np.random.default_rng(7)
NUMBERS = pd.DataFrame({f"x{i}": RNG.normal(size=ROWS) * 10**i for i in range(4)})
TRUTH = (NUMBERS["x0"] + (NUMBERS["x1"] / 10) ** 2 + RNG.normal(size=ROWS) * 0.3).to_numpy()
BINARY = (TRUTH > 1).astype(int)
THREE = np.array(["low", "mid", "high"])[np.digitize(TRUTH, [0.3, 1.5])]
MIXED = NUMBERS.assign(
    color=RNG.choice(["red", "green", "blue"], ROWS),
    place=RNG.choice([f"p{i}" for i in range(12)], ROWS),
    count=RNG.integers(0, 5, ROWS),
    late=RNG.random(ROWS) < 0.5,
)
HOLES = NUMBERS.mask(RNG.random(NUMBERS.shape) < 0.2)
NAMES = list(NUMBERS)


def columns(encoder: Any, scaler: Any = None, remainder: str = "passthrough") -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median"), scaler or StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, NAMES), ("texts", encoder, ["color", "place"])], remainder=remainder
    )


MODELS: dict[str, tuple[Any, pd.DataFrame, Any]] = {
    "linear": (LinearRegression(), NUMBERS, TRUTH),
    "linear, two targets": (LinearRegression(), NUMBERS, np.stack([TRUTH, -TRUTH], axis=1)),
    "ridge, scaled": (make_pipeline(StandardScaler(), Ridge()), NUMBERS, TRUTH),
    "poisson": (make_pipeline(StandardScaler(), PoissonRegressor()), NUMBERS, np.abs(TRUTH)),
    "sgd regression": (make_pipeline(RobustScaler(), SGDRegressor(random_state=0)), NUMBERS, TRUTH),
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, BINARY),
    "logistic, three": (make_pipeline(MaxAbsScaler(), LogisticRegression()), NUMBERS, THREE),
    "logistic, truth values": (make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, TRUTH > 1),
    "sgd": (make_pipeline(MinMaxScaler(clip=True), SGDClassifier(random_state=0)), NUMBERS, THREE),
    "linear svc": (make_pipeline(StandardScaler(), LinearSVC()), NUMBERS, BINARY),
    "tree": (DecisionTreeClassifier(max_depth=4), NUMBERS, THREE),
    "forest": (RandomForestClassifier(20, random_state=0), NUMBERS, BINARY),
    "forest, three": (RandomForestClassifier(20, random_state=0), NUMBERS, THREE),
    "forest, holes": (RandomForestClassifier(20, random_state=0), HOLES, BINARY),
    "forest regression": (RandomForestRegressor(20, random_state=0), NUMBERS, TRUTH),
    "extra trees": (ExtraTreesRegressor(10, random_state=0), NUMBERS, TRUTH),
    "boosting": (GradientBoostingClassifier(n_estimators=20), NUMBERS, BINARY),
    "boosting, exponential": (
        GradientBoostingClassifier(n_estimators=20, loss="exponential"),
        NUMBERS,
        BINARY,
    ),
    "boosting, three": (GradientBoostingClassifier(n_estimators=10), NUMBERS, THREE),
    "boosting regression": (GradientBoostingRegressor(n_estimators=20), NUMBERS, TRUTH),
    "histogram": (HistGradientBoostingClassifier(max_iter=20), HOLES, BINARY),
    "histogram, three": (HistGradientBoostingClassifier(max_iter=10), NUMBERS, THREE),
    "histogram regression": (HistGradientBoostingRegressor(max_iter=20), HOLES, TRUTH),
    "histogram, poisson": (
        HistGradientBoostingRegressor(max_iter=10, loss="poisson"),
        NUMBERS,
        np.abs(TRUTH),
    ),
    "no split at all": (HistGradientBoostingClassifier(min_samples_leaf=ROWS), NUMBERS, BINARY),
    "network": (make_pipeline(StandardScaler(), MLPClassifier(max_iter=20)), NUMBERS, BINARY),
    "network, three": (
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=20, activation="tanh")),
        NUMBERS,
        THREE,
    ),
    "network regression": (make_pipeline(StandardScaler(), MLPRegressor(max_iter=20)), NUMBERS, TRUTH),
    "one-hot": (
        make_pipeline(columns(OneHotEncoder(handle_unknown="ignore")), LogisticRegression()),
        MIXED,
        BINARY,
    ),
    "one-hot, strict": (
        make_pipeline(columns(OneHotEncoder(drop="first"), remainder="drop"), Ridge()),
        MIXED,
        TRUTH,
    ),
    "one-hot, rare ones together": (
        make_pipeline(
            columns(OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=5)),
            StandardScaler(with_mean=False),
            Ridge(),
        ),
        MIXED,
        TRUTH,
    ),
    "ordinal": (
        make_pipeline(
            columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
            HistGradientBoostingClassifier(max_iter=10),
        ),
        MIXED,
        THREE,
    ),
    "ordinal, unknown is missing": (
        make_pipeline(
            columns(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)),
            HistGradientBoostingClassifier(max_iter=10),
        ),
        MIXED,
        BINARY,
    ),
    "target encoding": (
        make_pipeline(columns(TargetEncoder(random_state=0)), RandomForestClassifier(10)),
        MIXED,
        BINARY,
    ),
    "encoded numbers": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("one", OneHotEncoder(handle_unknown="ignore"), ["count"]),
                    ("all", "passthrough", NAMES),
                ]
            ),
            SelectKBest(k=6),
            MinMaxScaler(),
            LogisticRegression(),
        ),
        MIXED,
        BINARY,
    ),
    "united": (
        make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]), Ridge()),
        NUMBERS,
        TRUTH,
    ),
    "searched": (GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, cv=2), NUMBERS, TRUTH),
    "32 bits": (HistGradientBoostingClassifier(max_iter=9), HOLES.astype("float32"), BINARY),
    "32 bits, forest": (RandomForestClassifier(9), NUMBERS.astype("float32"), BINARY),
    "missing texts": (
        make_pipeline(columns(OneHotEncoder(handle_unknown="ignore")), LogisticRegression()),
        MIXED.assign(color=MIXED["color"].mask(RNG.random(ROWS) < 0.2)),
        BINARY,
    ),
    "missing texts, imputed": (
        make_pipeline(
            columns(make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())),
            LogisticRegression(),
        ),
        MIXED.assign(color=MIXED["color"].mask(RNG.random(ROWS) < 0.2)),
        BINARY,
    ),
    "imputed": (make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), HOLES, BINARY),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_known_model_answers_as_mlflow_does_in_every_form(name: str, tmp_path: Path) -> None:
    model, frame, truth = MODELS[name]
    artifact = save(fit(model, frame, truth), tmp_path / "m", frame.head(4))
    pair = compile_pair(artifact, tmp_path / "plan")
    whole = frame.dropna()
    for form in ("dataframe_split", "dataframe_records", "inputs", "instances"):
        assert pair.check(write(form, whole.tail(40)))
        assert pair.check(write(form, whole.tail(1)))


@pytest.mark.parametrize("name", ["ridge, scaled", "linear, two targets", "network regression"])
def test_one_row_is_answered_to_the_last_bit_whoever_else_is_waiting(name: str, tmp_path: Path) -> None:
    model, frame, truth = MODELS[name]
    pair = compile_pair(save(fit(model, frame, truth), tmp_path / "m", frame.head(4)), tmp_path / "plan")
    bodies = [write("dataframe_split", frame.iloc[at : at + 1 + 3 * (at % 2)]) for at in range(16)]
    batches = [batch for body in bodies if (batch := pair.plan.parse(body, None)) is not None]
    answers = [json.loads(answer) for answer in pair.plan.run(batches)]
    assert answers == [pair.ask_plan(body) for body in bodies]
    assert answers[::2] == [pair.ask_native(body) for body in bodies[::2]]


@pytest.mark.parametrize("estimator", [LogisticRegression(), RandomForestClassifier(5)])
@pytest.mark.parametrize("truth", [BINARY, THREE])
def test_probabilities_are_those_of_mlflow(estimator: Any, truth: Any, tmp_path: Path) -> None:
    fit(estimator, NUMBERS, truth)
    artifact = save(estimator, tmp_path / "m", NUMBERS.head(4), pyfunc_predict_fn="predict_proba")
    pair = compile_pair(artifact, tmp_path / "plan")
    assert pair.check(write("dataframe_split", NUMBERS))


@pytest.mark.parametrize("estimator", [Ridge(), RandomForestClassifier(5), MLPRegressor(max_iter=5)])
def test_a_model_of_unnamed_numbers_answers_as_mlflow_does(estimator: Any, tmp_path: Path) -> None:
    matrix = NUMBERS.to_numpy()
    pair = compile_pair(save(fit(estimator, matrix, BINARY), tmp_path / "m", matrix[:4]), tmp_path / "plan")
    for rows in (matrix[:1], matrix[:50]):
        assert pair.check(json.dumps({"inputs": rows.tolist()}).encode())
        assert pair.check(json.dumps({"instances": rows.tolist()}).encode())
        assert pair.check(json.dumps({"dataframe_split": {"data": rows.tolist()}}).encode())
        records = pd.DataFrame(rows, columns=NAMES).to_dict(orient="records")
        assert pair.check(json.dumps({"dataframe_records": records}).encode())


@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_unnamed_numbers_of_other_types_are_read_as_such(kind: str, tmp_path: Path) -> None:
    matrix = (NUMBERS.to_numpy() * 3).astype(kind)
    forest = fit(RandomForestRegressor(9, random_state=0), matrix, TRUTH)
    pair = compile_pair(save(forest, tmp_path / "m", matrix[:4]), tmp_path / "plan")
    assert pair.check(json.dumps({"inputs": matrix[:50].tolist()}).encode())
    assert pair.check(json.dumps({"instances": matrix[:1].tolist()}).encode())
    fraction = json.dumps({"inputs": [[0.1, 0.5, 0.7, 0.9]]}).encode()
    assert pair.check(fraction) is (kind == "float32")


REFUSED: dict[str, tuple[Any, pd.DataFrame, Any, str]] = {
    "neighbours": (KNeighborsClassifier(), NUMBERS, BINARY, "estimator sklearn.KNeighborsClassifier is not"),
    "words": (
        make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), "place")]), LogisticRegression()),
        MIXED,
        BINARY,
        "single column 'place'",
    ),
    "several answers": (
        RandomForestRegressor(3),
        NUMBERS,
        np.stack([TRUTH, TRUTH], axis=1),
        "several things at once",
    ),
    "32 bits": (LinearRegression(), NUMBERS.astype("float32"), TRUTH, "not finite numbers of 64 bits"),
    "32 bits, scaled": (
        make_pipeline(StandardScaler(), RandomForestRegressor(3)),
        NUMBERS.astype("float32"),
        TRUTH,
        "32 bits are scaled",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    model, frame, truth, reason = REFUSED[name]
    artifact = save(fit(model, frame, truth), tmp_path / "m", frame.head(4))
    with pytest.raises(NotCompilableError, match=reason):
        compile_artifact(artifact, tmp_path / "plan")
    assert not (tmp_path / "plan").exists()
    assert list(tmp_path.glob(".plan*")) == []


class Contrary(Ridge):  # type: ignore[misc]
    """A subclass that answers otherwise."""

    def predict(self, rows: Any) -> Any:
        return -super().predict(rows)


def test_a_subclass_of_a_known_estimator_is_another_estimator(tmp_path: Path) -> None:
    artifact = save(Contrary().fit(NUMBERS, TRUTH), tmp_path / "m", NUMBERS.head(4))
    with pytest.raises(NotCompilableError, match="Contrary is not known"):
        compile_artifact(artifact, tmp_path / "plan")


def test_the_program_prints_one_json_line_either_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = save(Ridge().fit(NUMBERS, TRUTH), tmp_path / "good", NUMBERS.head(4))
    bad = save(KNeighborsClassifier().fit(NUMBERS, BINARY), tmp_path / "bad", NUMBERS.head(4))
    assert main([str(good), str(tmp_path / "one")]) == 0
    assert main([str(bad), str(tmp_path / "two")]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["compiled"], first["reason"], first["estimator"]) == (True, "", "Ridge")
    assert first["rows"] > 100
    assert second == {"compiled": False, "reason": "The estimator sklearn.KNeighborsClassifier is not known."}


def test_a_folder_that_is_no_model_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(NotCompilableError, match="could not be taken apart"):
        compile_artifact(tmp_path / "nowhere", tmp_path / "plan")


def test_a_plan_never_overwrites_anything_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    artifact = save(fit(Ridge(), NUMBERS, TRUTH), tmp_path / "m", NUMBERS.head(4))
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "mine").write_text("")
    with pytest.raises(OSError, match="not empty"):
        compile_artifact(artifact, tmp_path / "plan")
    assert [path.name for path in (tmp_path / "plan").iterdir()] == ["mine"]
    assert list(tmp_path.glob(".plan*")) == []
    (tmp_path / "plan" / "mine").unlink()
    assert compile_artifact(artifact, tmp_path / "plan").estimator == "Ridge"
