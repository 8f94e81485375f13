"""Small models that ``train-model`` makes: flights with their weather, some values missing."""

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training import Job, plan_training
from training.fitting import make_features
from training.package import write_package
from training.trainer import fit_model

ROWS = 400
WEATHER = {
    "source": "weather.parquet",
    "on": {"origin": "place", "scheduled": "hour"},
    "floor": "hour",
    "columns": ["wind", "sky"],
    "prefix": "w_",
}
OBSERVED = {
    "source": "sqlite:///weather.db",
    "query": "SELECT place, hour, wind, sky FROM weather WHERE strftime('%H', hour) % 5 = 0",
    "on": {"origin": "place"},
    "as_of": {"scheduled": "hour"},
    "max_age": "4h",
    "columns": ["wind", "sky"],
    "prefix": "w_",
}
"""Weather of every fifth hour, out of a database: the latest one that was known by then."""


def make_flights() -> pd.DataFrame:
    """Flights with a distance, places, a schedule, and whether and how much they were late."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "distance": rng.integers(80, 2500, ROWS).astype(float),
            "carrier": rng.choice(["UA", "AA", "B6", "Ünited"], ROWS),
            "origin": rng.choice(["EWR", "JFK", "LGA"], ROWS),
            "night": rng.random(ROWS) < 0.3,
            "scheduled": pd.Timestamp("2013-01-01")
            + pd.to_timedelta(rng.integers(0, 10 * 24 * 60, ROWS), unit="min"),
        }
    )
    delay = frame["distance"] / 500 + 3 * frame["night"] + rng.normal(size=ROWS)
    frame["delay"], frame["late"] = delay, (delay > 3).astype("int64")
    frame["kind"] = np.array(["early", "late", "very late"])[np.digitize(delay, [2, 4])]
    holes = rng.random((2, ROWS)) < 0.1
    frame["distance"] = frame["distance"].mask(holes[0])
    frame["carrier"] = frame["carrier"].mask(holes[1])
    return frame


def make_weather() -> pd.DataFrame:
    """Weather by place and hour, with holes, and without the last two days."""
    rng = np.random.default_rng(4)
    hours = pd.date_range("2013-01-01", periods=8 * 24, freq="h")
    table = pd.DataFrame(
        [(place, hour) for place in ("EWR", "JFK") for hour in hours], columns=["place", "hour"]
    )
    table["wind"] = rng.normal(10, 3, len(table))
    table["sky"] = rng.choice(["grey", "blue"], len(table))
    return table.mask(rng.random(table.shape) < 0.05).assign(place=table["place"], hour=table["hour"])


def make_artifact(
    folder: Path, estimator: str, *, target: str = "late", output: str = "full", **options: Any
) -> Path:
    """Trains a model and writes its artifact, without MLflow's store.

    Args:
        folder: Empty; the data and the artifact go there.
        estimator: Import path below ``sklearn``.
        target: ``late`` (0 or 1), ``kind`` (three texts) or ``delay`` (a number).
        output: The model's default output.
        **options: ``params`` of the estimator, ``encoding`` of the categories, ``lookup`` tables, further
            sections of the job.
    """
    make_flights().to_parquet(folder / "flights.parquet")
    make_weather().to_parquet(folder / "weather.parquet")
    with closing(sqlite3.connect(folder / "weather.db")) as database:
        make_weather().to_sql("weather", database, index=False)
    sections: dict[str, Any] = {
        "job": {"name": "flights"},
        "data": {"source": "flights.parquet", "target": target},
        "features": {
            "numeric": ["distance", "night"],
            "categorical": ["carrier", "origin"],
            "datetime": {"scheduled": ["minute_of_day", "weekday", "week", "quarter", "dayofyear"]},
            "encoding": options.get("encoding", "auto"),
            "lookup": options.get("lookup", [WEATHER]),
        },
        "model": {
            "estimator": f"sklearn.{estimator}",
            "output": output,
            "params": options.get("params", {}),
        },
    }
    sections |= {name: options[name] for name in ("contract", "guard", "answer") if name in options}
    plan = plan_training(_read(sections, folder))
    features = make_features(plan, plan.rows.iloc[plan.split.train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn 1.9 renames an option of target encoding
        fitted = fit_model(plan, features)
    return write_package(folder / "m", plan, fitted, model_id="m-1", run_id="1").folder


def _read(sections: dict[str, Any], folder: Path) -> Job:
    from training.job import JobSpec

    return Job(JobSpec.model_validate(sections), folder)
