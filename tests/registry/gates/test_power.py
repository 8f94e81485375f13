import math

import numpy as np
import pandas as pd
import pytest

from registry import UsageError
from registry.gates.bootstrap import estimate
from registry.gates.budget import level_of_attempt
from registry.gates.losses import compute_loss
from registry.gates.power import detectable, expect_spread, find_mean_power, units_needed

LEVEL = level_of_attempt(0.05, 1)


@pytest.mark.parametrize(("effect", "spread"), [(0.5, 1.0), (0.2, 1.0), (1.5, 1.0)])
def test_the_units_named_have_the_power_promised(effect: float, spread: float) -> None:
    units = units_needed(effect, spread, LEVEL)
    generator = np.random.default_rng(0)
    seen = np.mean(
        [
            estimate(generator.normal(effect, spread, units), np.zeros(units), level=LEVEL, draws=0).p_value
            <= LEVEL
            for _ in range(1_500)
        ]
    )
    assert 0.86 < seen < 0.97
    assert find_mean_power(effect, spread, units - 1, LEVEL) < 0.9


def test_with_many_units_it_is_the_textbooks_number() -> None:
    assert units_needed(0.01, 0.3, 0.05) == pytest.approx((1.6449 + 1.2816) ** 2 * 900, rel=0.01)


def test_half_of_the_effect_takes_four_times_the_units_and_a_later_attempt_more() -> None:
    assert units_needed(0.01, 1, LEVEL) == pytest.approx(4 * units_needed(0.02, 1, LEVEL), rel=0.01)
    assert units_needed(0.02, 1, level_of_attempt(0.05, 2)) > units_needed(0.02, 1, LEVEL)


def test_what_is_detectable_needs_just_these_units() -> None:
    effect = detectable(400, 2.0, LEVEL)
    assert units_needed(effect * 1.0001, 2.0, LEVEL) <= 400 < units_needed(effect * 0.99, 2.0, LEVEL)


def test_few_units_show_nothing_at_a_level_that_signs_do_not_reach() -> None:
    assert detectable(4, 1.0, LEVEL) == math.inf
    assert units_needed(100.0, 1.0, level_of_attempt(0.05, 500)) >= 23


@pytest.mark.parametrize(("effect", "spread"), [(0.0, 1.0), (-1.0, 1.0), (1e-9, 1e3)])
def test_an_effect_that_no_data_shows_is_refused(effect: float, spread: float) -> None:
    with pytest.raises(ValueError, match="effect"):
        units_needed(effect, spread, LEVEL)


def make_answers(probability: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"probability.{place}": part for place, part in enumerate(probability.T)})


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("metric", ["log_loss", "brier", "error"])
def test_before_any_truth_is_looked_at_the_spread_is_expected_about_right(classes: int, metric: str) -> None:
    """The truth is drawn from what lies between both models, as it is thought to be."""
    generator = np.random.default_rng(1)
    logit = generator.normal(0, 1.5, (20_000, classes))
    tables = [np.exp(logit + generator.normal(0, 0.4, logit.shape)) for _ in range(2)]
    tables = [table / table.sum(axis=1, keepdims=True) for table in tables]
    middle = (tables[0] + tables[1]) / 2
    truth = (middle.cumsum(axis=1) < generator.random((len(logit), 1))).sum(axis=1)
    task = "binary" if classes == 2 else "multiclass"
    holder, candidate = (make_answers(table) for table in tables)
    expected = expect_spread(task, metric, holder, candidate)
    losses = [
        compute_loss(metric, pd.Series(truth), one, task=task, classes=range(classes))
        for one in (holder, candidate)
    ]
    seen = float(np.std(losses[0] - losses[1]))
    assert expected is not None
    assert seen * 0.97 <= expected <= seen * (1.5 if metric == "error" else 1.05)


def test_labels_of_any_spelling_that_agree_spread_nothing() -> None:
    one, two = pd.DataFrame({"prediction": [1, 0, 1]}), pd.DataFrame({"prediction": [True, False, True]})
    assert expect_spread("binary", "error", one, two) == 0.0
    scores = make_answers(np.array([[0.2, 0.8], [0.9, 0.1], [0.6, 0.4]]))
    assert expect_spread("binary", "error", one, scores) == pytest.approx(math.sqrt(1 / 3))


def test_with_blocks_it_is_the_floor_of_rows_that_do_not_depend_on_each_other() -> None:
    generator = np.random.default_rng(2)
    one, two = (pd.DataFrame({"prediction": generator.integers(0, 2, 400)}) for _ in range(2))
    by_row = expect_spread("binary", "error", one, two)
    by_day = expect_spread("binary", "error", one, two, np.arange(400) % 20)
    assert by_row is not None
    assert by_day == pytest.approx(by_row / math.sqrt(20))  # the same standard error, from 20 units


def test_of_numbers_and_ranks_nothing_is_known_without_the_truth() -> None:
    numbers = pd.DataFrame({"prediction": [0.5, 1.5]})
    assert expect_spread("regression", "squared_error", numbers, numbers) is None
    scores = make_answers(np.array([[0.2, 0.8]]))
    assert expect_spread("binary", "roc_auc", scores, scores) is None


def test_probabilities_that_are_not_there_are_missed() -> None:
    labels, scores = pd.DataFrame({"prediction": [1]}), make_answers(np.array([[0.2, 0.8]]))
    with pytest.raises(UsageError, match="needs probabilities"):
        expect_spread("binary", "log_loss", scores, labels)
