"""ONNX finds the leaf that scikit-learn finds, for every row, and adds as it adds: equal to the last bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

from serving.compiled.answers import make_answer
from serving.compiled.errors import NotCompilableError
from serving.compiled.estimators import make_score
from serving.compiled.models import CompiledModel, compile_estimator
from serving.compiled.trees import round_down

RNG = np.random.default_rng(11)
TRAIN = np.round(RNG.normal(size=(400, 5)), 2)  # rounded, so that rows repeat and votes tie
NOISE = RNG.random(400)
BINARY = (TRAIN[:, 0] + NOISE > 0.5).astype(int)
THREE = np.digitize(TRAIN[:, 1] + NOISE, [0.2, 0.9])
HOLES = np.where(RNG.random(TRAIN.shape) < 0.2, np.nan, TRAIN)


def make_rows(model: CompiledModel, *, holes: bool) -> NDArray[np.float64]:
    """Random rows, and rows that sit on thresholds and on the numbers beside them, in 32 and in 64 bits."""
    rows = RNG.normal(size=(3000, 5))
    for feature, splits in model.splits.items():
        at = RNG.choice(splits[np.isfinite(splits)], 3000)
        single = at.astype(np.float32)
        near = [
            *(at, np.nextafter(at, 9e9), np.nextafter(at, -9e9), single.astype(np.float64)),
            *(np.nextafter(single, np.float32(sign)).astype(np.float64) for sign in (9e9, -9e9)),
        ]
        chosen = np.stack(near)[RNG.integers(0, len(near), 3000), np.arange(3000)]
        rows[:, feature] = np.where(RNG.random(3000) < 0.5, chosen, rows[:, feature])
    return np.where(RNG.random(rows.shape) < 0.1, np.nan, rows) if holes else rows


def score(model: CompiledModel, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return make_score(model.estimator, model.arrays, model.graph)(rows)


CLASSIFIERS: dict[str, tuple[Any, NDArray[np.float64], Any]] = {
    "votes that tie": (RandomForestClassifier(10, random_state=0), TRAIN, BINARY),
    "two trees": (RandomForestClassifier(2, random_state=0), TRAIN, BINARY),
    "leaves that are mixed": (RandomForestClassifier(30, max_depth=4, random_state=0), TRAIN, THREE),
    "extra trees": (ExtraTreesClassifier(10, random_state=0), TRAIN, THREE),
    "holes": (RandomForestClassifier(10, random_state=0), HOLES, BINARY),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_forests_probabilities_and_labels_are_equal_to_the_last_bit(name: str) -> None:
    forest, train, truth = CLASSIFIERS[name]
    model = compile_estimator(forest.fit(train, truth))
    rows = make_rows(model, holes=train is HOLES)
    found = score(model, rows)
    theirs = forest.predict_proba(rows)
    np.testing.assert_array_equal(found, theirs)
    assert make_answer(model.head, {"kind": "label"})(found) == forest.predict(rows).tolist()
    if name in {"votes that tie", "two trees"}:
        assert (theirs[:, 0] == theirs[:, 1]).sum() > 30


def test_one_row_is_answered_as_it_is_among_others() -> None:
    model = compile_estimator(RandomForestClassifier(10, random_state=0).fit(TRAIN, THREE))
    rows = make_rows(model, holes=False)[:50]
    alone = np.concatenate([score(model, row[None]) for row in rows])
    np.testing.assert_array_equal(alone, score(model, rows))


REGRESSORS: dict[str, tuple[Any, NDArray[np.float64]]] = {
    "forest": (RandomForestRegressor(20, random_state=0), TRAIN),
    "one tree": (DecisionTreeRegressor(), HOLES),
    "boosting": (GradientBoostingRegressor(n_estimators=30), TRAIN),
    "histogram": (HistGradientBoostingRegressor(max_iter=30), HOLES),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_sum_of_trees_is_equal_to_the_last_bit(name: str) -> None:
    estimator, train = REGRESSORS[name]
    estimator.fit(train, TRAIN[:, 0] + NOISE)
    model = compile_estimator(estimator)
    rows = make_rows(model, holes=train is HOLES)
    np.testing.assert_array_equal(score(model, rows)[:, 0], estimator.predict(rows))


@pytest.mark.parametrize("truth", [BINARY, THREE])
@pytest.mark.parametrize(
    "estimator", [GradientBoostingClassifier(n_estimators=15), HistGradientBoostingClassifier(max_iter=15)]
)
def test_boosted_scores_are_equal_to_the_last_bit(estimator: Any, truth: NDArray[np.int64]) -> None:
    estimator.fit(TRAIN, truth)
    model = compile_estimator(estimator)
    rows = make_rows(model, holes=False)
    found = score(model, rows)
    theirs = estimator.decision_function(rows)
    np.testing.assert_array_equal(found if theirs.ndim > 1 else found[:, 0], theirs)
    assert make_answer(model.head, {"kind": "label"})(found) == estimator.predict(rows).tolist()


def test_trees_that_split_by_sets_of_categories_are_refused() -> None:
    codes = RNG.integers(0, 6, 400).astype(float)[:, None]
    estimator = HistGradientBoostingClassifier(categorical_features=[0], max_iter=3)
    with pytest.raises(NotCompilableError, match="categories"):
        compile_estimator(estimator.fit(codes, (codes[:, 0] % 2).astype(int)))


@given(st.floats(-(2.0**99), 2.0**99), st.floats(-(2.0**99), 2.0**99, width=32))
@settings(max_examples=300, deadline=None)
def test_a_threshold_rounded_down_splits_32_bit_numbers_at_the_same_place(
    threshold: float, value: float
) -> None:
    rounded = round_down(np.array([threshold]))[0]
    assert (np.float32(value) <= rounded) == (float(np.float32(value)) <= threshold)
