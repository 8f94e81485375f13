"""The year of flights: what was known when, and figures that say what they are."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from training import read_job

FOLDER = Path(__file__).parents[2] / "examples" / "flights"


def open_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    return open_module("year_quality")


def make_told() -> pd.DataFrame:
    generator = np.random.default_rng(5)
    time = pd.date_range("2013-04-01", "2013-06-30", freq="3h")
    late = (generator.random(len(time)) < 0.3).astype(int)
    good = np.clip(0.3 + 0.3 * (late - 0.3) + generator.normal(size=len(time)) / 10, 0.01, 0.99)
    return pd.DataFrame({"time": time, "late": late, "online": good, "once": 0.3})


def test_who_trains_at_a_moment_does_not_know_what_is_in_the_air() -> None:
    flights = open_module("flights")
    year = flights.load_year()
    known = flights.load_year("2013-04-01")
    moment = pd.Timestamp("2013-04-01")
    assert (year["landed"] > year["scheduled"]).all()
    assert 0 < len(year) - len(known) < 100
    assert known["landed"][known["scheduled"] < moment].max() < moment


def test_the_stream_learns_from_no_column_that_only_the_flight_reveals() -> None:
    job = read_job(FOLDER / "online.toml").spec
    boosting = read_job(FOLDER / "job.toml").spec
    assert {*boosting.features.leaks, "landed"} <= set(job.features.leaks)
    assert job.online is not None
    assert job.online.available == "landed"
    for name in ("numeric", "categorical", "datetime"):
        assert getattr(job.features, name) == getattr(boosting.features, name), "the same question"


def test_months_and_the_whole_are_measured_as_scikit_learn_does(quality: ModuleType) -> None:
    told = make_told()
    table = quality.describe_months(told, ["online", "once"]).set_index(["month", "way"])
    whole = table.loc[("all", "online")]
    assert whole.loss == pytest.approx(log_loss(told["late"], told["online"]))
    assert whole.auc == pytest.approx(roc_auc_score(told["late"], told["online"]))
    assert list(table.index.levels[0]) == ["April", "June", "May", "all"]
    gain, reach = quality.compare(told, "online", "once")
    assert gain > reach > 0


def test_the_figure_has_quality_late_flights_and_drift(quality: ModuleType) -> None:
    generator = np.random.default_rng(1)
    times = pd.date_range("2013-01-01", "2013-12-30", freq="6min")
    year = pd.DataFrame({"scheduled": times, "origin": "JFK", "carrier": "UA", "dest": "LAX"})
    year["late"] = (generator.random(len(times)) < 0.2).astype(int)
    hours = pd.date_range("2013-01-01", "2013-12-31", freq="h")
    weather = pd.DataFrame({"origin": "JFK", "hour": hours})
    for column in quality.WEATHER:
        weather[column] = generator.normal(size=len(hours)) + (hours.month.to_numpy() == 7)
    drift = quality.measure_drift(year, weather).set_index("month")
    assert drift["wind"].idxmax() == pd.Timestamp("2013-07-01")
    assert drift["wind"].max() == pytest.approx(1, abs=0.2)
    table = quality.describe_months(make_told(), ["online", "once"])
    ways = {"online": "learned as they land", "once": "trained once"}
    figure = open_module("year_figure").draw_year(table, quality.count_late(year), drift.reset_index(), ways)
    assert len(figure.axes) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "online: learned as they land",
        "once: trained once",
    ]
