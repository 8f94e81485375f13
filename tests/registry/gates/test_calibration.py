import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from registry.gates.calibration import Calibration, measure_calibration, pick_top_label


def simulate(
    seed: int, rows: int, *, slope: float = 1.0, intercept: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """A model that says logit x where the truth is intercept + slope · x."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(-0.5, 1.2, rows)
    happened = generator.random(rows) < 1 / (1 + np.exp(-(intercept + slope * logit)))
    return happened, 1 / (1 + np.exp(-logit))


def test_slope_and_intercept_are_those_of_logistic_regression() -> None:
    happened, p = simulate(0, 3_000, slope=0.6)
    found = measure_calibration(happened, p)
    logit = np.log(p / (1 - p))[:, None]
    fitted = LogisticRegression(C=1e12, tol=1e-10).fit(logit, happened)
    assert found.slope == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
    assert found.slope < 0.75
    assert found.p_value < 1e-6


def test_spiegelhalters_z_is_as_he_wrote_it() -> None:
    happened, p = simulate(1, 500, intercept=0.5)
    expected = ((happened - p) * (1 - 2 * p)).sum() / np.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    assert measure_calibration(happened, p).z == pytest.approx(expected)


def test_a_model_that_predicts_too_often_has_a_negative_intercept() -> None:
    found = measure_calibration(*simulate(2, 4_000, intercept=-0.7))
    assert found.intercept == pytest.approx(-0.7, abs=0.12)
    assert found.ece == pytest.approx(0.12, abs=0.03)


def test_of_a_calibrated_model_the_tests_hold_their_level_and_the_error_is_not_what_chance_makes() -> None:
    found = [measure_calibration(*simulate(seed, 400)) for seed in range(400)]
    assert 8 <= sum(one.p_value <= 0.05 for one in found) <= 33
    assert 8 <= sum(abs(one.z) > 1.96 for one in found) <= 33
    assert np.mean([one.ece_raw for one in found]) > 0.045
    assert np.median([one.ece for one in found]) < 0.03


def test_rows_of_a_day_that_move_together_do_not_make_a_calibrated_model_look_wrong() -> None:
    wrong = {"rows": 0, "days": 0}
    days = np.repeat(np.arange(40), 50)
    for seed in range(200):
        generator = np.random.default_rng(seed)
        logit = generator.normal(0, 1, 2_000)
        p = 1 / (1 + np.exp(-logit))
        # Common random numbers within a day: each row is right by itself, a day's rows are not independent.
        level = stats.norm.cdf(
            0.4 * generator.normal(size=40)[days] + math.sqrt(1 - 0.16) * generator.normal(size=2_000)
        )
        happened = level < p
        wrong["rows"] += measure_calibration(happened, p).p_value <= 0.05
        wrong["days"] += measure_calibration(happened, p, days).p_value <= 0.05
    assert wrong["rows"] > 40
    assert wrong["days"] <= 18


def test_bins_hold_all_rows_and_rise() -> None:
    happened, p = simulate(3, 1_003)
    found = measure_calibration(happened, p.round(1))
    assert sum(one.rows for one in found.bins) == 1_003
    means = [one.predicted for one in found.bins]
    assert means == sorted(means)
    assert len(found.bins) <= 10


@pytest.mark.parametrize(
    ("happened", "p"),
    [
        ([0, 1], [0.0, 1.0]),
        ([1, 1], [0.3, 0.4]),
        ([0], [0.5]),
        ([0, 1, 1], [0.5, 0.5, 0.5]),
        ([1, 0], [0.0, 1.0]),
    ],
)
def test_odd_rows_are_measured_all_the_same(happened: list[int], p: list[float]) -> None:
    found = measure_calibration(np.array(happened), np.array(p))
    assert isinstance(found, Calibration)
    assert 0 <= found.ece <= 1
    assert 0 <= found.p_value <= 1


def test_of_many_classes_the_likeliest_counts() -> None:
    generator = np.random.default_rng(4)
    table = generator.dirichlet([1, 1, 1], size=6_000)
    truth = (table.cumsum(axis=1) < generator.random((6_000, 1))).sum(axis=1)
    right, sure = pick_top_label(truth, table)
    assert measure_calibration(right, sure).ece < 0.03
    assert measure_calibration(right, np.minimum(1.0, sure * 1.3)).ece > 0.1


@pytest.mark.parametrize(("truth", "p"), [([1, 0], [0.5]), ([], []), ([1], [1.5]), ([1], [math.nan])])
def test_what_is_no_probability_is_refused(truth: list[int], p: list[float]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        measure_calibration(np.array(truth), np.array(p))
