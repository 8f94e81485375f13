"""Metrics, importances and suspects against scikit-learn's own numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import ensemble, inspection, linear_model, metrics as sk, svm, tree
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from training.dataset import Target
from training.fitting import _label
from training.importance import measure_importance
from training.metrics import measure
from training.result import Outcome
from training.suspects import find_suspects

GENERATOR = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _begin_anew() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    GENERATOR.bit_generator.state = np.random.default_rng(3).bit_generator.state


def make_outcome(classes: int) -> Outcome:
    chances = GENERATOR.dirichlet(np.ones(classes), 400)
    truth = np.array([GENERATOR.choice(classes, p=row) for row in chances])
    task = "binary" if classes == 2 else "multiclass"
    return Outcome(task, tuple(range(classes)), truth, chances.argmax(axis=1), chances)  # type: ignore[arg-type]


def test_binary_metrics_are_scikit_learns() -> None:
    outcome = make_outcome(2)
    assert outcome.probabilities is not None
    chance = outcome.probabilities[:, 1]
    shares = np.full((400, 2), [1 - outcome.truth.mean(), outcome.truth.mean()])
    assert measure(outcome) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(outcome.truth, outcome.answers),
            "f1": sk.f1_score(outcome.truth, outcome.answers),
            "log_loss": sk.log_loss(outcome.truth, outcome.probabilities),
            "brier": sk.brier_score_loss(outcome.truth, chance),
            "roc_auc": sk.roc_auc_score(outcome.truth, chance),
            "average_precision": sk.average_precision_score(outcome.truth, chance),
            "base_rate": outcome.truth.mean(),
            "log_loss_of_mean": sk.log_loss(outcome.truth, shares),
        }
    )


def test_multiclass_metrics_are_scikit_learns() -> None:
    outcome = make_outcome(4)
    found = measure(outcome)
    assert found["log_loss"] == pytest.approx(sk.log_loss(outcome.truth, outcome.probabilities))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(outcome.truth, outcome.answers, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(outcome.truth, outcome.answers)
    )
    assert found["roc_auc_ovr"] == pytest.approx(
        sk.roc_auc_score(outcome.truth, outcome.probabilities, multi_class="ovr")
    )


def test_regression_metrics_are_scikit_learns() -> None:
    truth = GENERATOR.normal(size=300)
    answers = truth + GENERATOR.normal(size=300) / 3
    found = measure(Outcome("regression", (), truth, answers, None))
    assert found["r2"] == pytest.approx(sk.r2_score(truth, answers))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, answers))
    assert found["rmse_of_mean"] == pytest.approx(truth.std())


def test_evaluation_rows_of_one_class_have_no_roc_auc_and_no_warning() -> None:
    found = measure(Outcome("binary", (0, 1), np.zeros(9), np.zeros(9), np.full((9, 2), 0.5)))
    assert "roc_auc" not in found
    assert found["log_loss"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    "model",
    [
        ensemble.HistGradientBoostingClassifier(max_iter=20),
        ensemble.GradientBoostingClassifier(n_estimators=20),
        ensemble.RandomForestClassifier(n_estimators=10, max_depth=2),
        ensemble.ExtraTreesClassifier(n_estimators=10, max_depth=2),
        linear_model.LogisticRegression(),
        tree.DecisionTreeClassifier(max_depth=2),
        svm.LinearSVC(),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_labels_are_what_the_model_itself_predicts(model: Any, classes: int) -> None:
    features = GENERATOR.integers(0, 4, (400, 3)).astype(float)  # many ties
    truth = np.array(["a", "b", "c"])[
        (features.sum(axis=1) + GENERATOR.integers(0, 3, 400)).astype(int) % classes
    ]
    model.fit(features, truth)
    if not hasattr(model, "predict_proba"):
        chances = np.zeros((400, classes))
    else:
        chances = model.predict_proba(features)
    np.testing.assert_array_equal(_label(model, features, chances), model.predict(features))


@pytest.mark.parametrize("encode", ["passthrough", OneHotEncoder(sparse_output=False)])
def test_importances_agree_with_scikit_learns(encode: Any) -> None:
    frame = pd.DataFrame(GENERATOR.integers(0, 5, (500, 3)).astype(float), columns=["a", "b", "c"])
    truth = (frame["a"] * 2 + frame["b"] + GENERATOR.normal(size=500) > 6).astype(int).to_numpy()
    columns = ColumnTransformer([("numbers", "passthrough", ["a", "b"]), ("categories", encode, ["c"])])
    pipeline = Pipeline([("columns", columns), ("model", linear_model.LogisticRegression())]).fit(
        frame, truth
    )
    outcome = Outcome("binary", (0, 1), truth, pipeline.predict(frame), pipeline.predict_proba(frame))
    ours = measure_importance(pipeline, frame, outcome, rows=500, repeats=20, seed=0).set_index("feature")
    theirs = inspection.permutation_importance(
        pipeline, frame, truth, scoring="neg_log_loss", n_repeats=20, random_state=0
    )
    np.testing.assert_allclose(
        ours.loc[["a", "b", "c"], "importance"], theirs.importances_mean, rtol=0.1, atol=0.03
    )
    assert ours.index[0] == "a"


def make_target(truth: Any, task: Any, classes: tuple[Any, ...]) -> Target:
    return Target("y", task, pd.Series(truth), classes)


def test_an_answer_in_other_words_is_suspected_whatever_its_form() -> None:
    truth = GENERATOR.integers(0, 2, 1000)
    spread = (
        np.where(truth == 1, 1.0, -1.0) * GENERATOR.choice([1, 3], 1000) + GENERATOR.normal(size=1000) / 100
    )
    frame = pd.DataFrame(
        {"code": np.where(truth == 1, "yes", "no"), "spread": spread, "honest": spread * 0 + 1}
    )
    said = find_suspects(frame, make_target(truth, "binary", (0, 1)))
    assert [sentence.split("'")[1] for sentence in said] == ["code", "spread"]


def test_an_id_that_is_new_in_every_row_is_not_suspected() -> None:
    truth = GENERATOR.integers(0, 2, 1000)
    frame = pd.DataFrame(
        {"id": [f"row {number}" for number in range(1000)], "noise": GENERATOR.normal(size=1000)}
    )
    assert find_suspects(frame, make_target(truth, "binary", (0, 1))) == []


def test_regression_and_many_classes_have_suspects_too() -> None:
    truth = GENERATOR.normal(size=500)
    frame = pd.DataFrame({"scaled": truth * 100 + 3, "noise": GENERATOR.normal(size=500)})
    (said,) = find_suspects(frame, make_target(truth, "regression", ()))
    assert "squared correlation 1.000" in said
    kinds = GENERATOR.integers(0, 4, 500)
    frame = pd.DataFrame({"code": kinds * 10.0, "noise": GENERATOR.normal(size=500)})
    (said,) = find_suspects(frame, make_target(kinds, "multiclass", (0, 1, 2, 3)))
    assert "accuracy 1.000" in said


def test_few_rows_prove_nothing() -> None:
    frame = pd.DataFrame({"code": [0.0, 1.0] * 5})
    assert find_suspects(frame, make_target([0, 1] * 5, "binary", (0, 1))) == []
