"""Figures of the window against scikit-learn's, and their intervals against simulation."""

import numpy as np
import pytest
from sklearn import metrics as sk

from training.online.quality import Outcomes, measure_window


def make_outcomes(rows: int, days: int, generator: np.random.Generator) -> Outcomes:
    """Rows of a day move together."""
    day = np.arange(rows) % days
    chance = 1 / (1 + np.exp(-(generator.normal(size=rows) + generator.normal(size=days)[day])))
    truth = (generator.random(rows) < chance).astype(float)
    said = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) / 2 + generator.normal(size=rows) / 2)))
    groups = np.asarray([f"day {number}" for number in day], dtype=object)
    return Outcomes(truth, np.stack([1 - said, said], axis=1), groups)


def test_figures_are_scikit_learns() -> None:
    outcomes = make_outcomes(400, 20, np.random.default_rng(1))
    found = measure_window(outcomes, "binary", has_probability=True)
    assert found["log_loss"].value == pytest.approx(sk.log_loss(outcomes.truth, outcomes.said))
    assert found["roc_auc"].value == pytest.approx(sk.roc_auc_score(outcomes.truth, outcomes.said[:, 1]))
    assert found["accuracy"].value == pytest.approx(
        sk.accuracy_score(outcomes.truth, outcomes.said.argmax(axis=1))
    )
    numbers = Outcomes(np.array([1.0, 2.0]), np.array([[1.5], [4.0]]), np.array(["", ""], dtype=object))
    figures = measure_window(numbers, "regression", has_probability=False)
    assert (figures["absolute_error"].value, figures["squared_error"].value) == (1.25, 2.125)


def test_intervals_hold_the_long_run_figure_about_as_often_as_they_say() -> None:
    generator, runs = np.random.default_rng(3), 120
    whole = measure_window(make_outcomes(40_000, 8_000, generator), "binary", has_probability=True)
    hits = {"log_loss": 0, "roc_auc": 0}
    for _ in range(runs):
        found = measure_window(make_outcomes(300, 30, generator), "binary", has_probability=True)
        for name in hits:
            hits[name] += found[name].low <= whole[name].value <= found[name].high
    assert all(0.88 * runs < hit for hit in hits.values()), hits


def test_a_window_of_one_class_has_no_area_and_no_warning() -> None:
    outcomes = Outcomes(np.zeros(5), np.full((5, 2), 0.5), np.full(5, "", dtype=object))
    assert set(measure_window(outcomes, "binary", has_probability=True)) == {"log_loss", "accuracy"}


def test_two_days_tell_nothing_about_how_far_off_a_figure_is() -> None:
    outcomes = Outcomes(np.array([0.0, 1, 0]), np.full((3, 2), 0.5), np.array(["a", "a", "b"], dtype=object))
    found = measure_window(outcomes, "binary", has_probability=True)
    assert np.isnan(found["log_loss"].low)
