"""A small stream: a few hundred rows whose truth arrives hours after their own time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import Settings
from training import Job

MakeJob = Callable[..., Job]
SGD = {"loss": "log_loss", "learning_rate": "constant", "eta0": 0.05}


@pytest.fixture
def settings(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Leads to a fresh SQLite store; the environment says so too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    return Settings(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def make_rows(count: int = 400, seed: int = 7) -> pd.DataFrame:
    """A number and a category that say something, a moment, when the truth arrived; in the order of time."""
    generator = np.random.default_rng(seed)
    size, color = generator.normal(size=count), generator.choice(["red", "green", "blue"], count)
    chance = 1 / (1 + np.exp(-(1.5 * size + 2 * (color == "red") - 1)))
    moment = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(count) // 2 * 60, unit="min")
    return pd.DataFrame(
        {
            "size": np.where(generator.random(count) < 0.05, np.nan, size),
            "color": color,
            "moment": moment,
            "landed": moment + pd.to_timedelta(generator.integers(0, 600, count), unit="min"),
            "late": (generator.random(count) < chance).astype("int64"),
        }
    )


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture
def make_job(rows: pd.DataFrame) -> MakeJob:
    """A job over the rows (or others), with changes to its section ``online``."""

    def make(frame: pd.DataFrame | None = None, **online: Any) -> Job:
        section: dict[str, Any] = {"available": "landed", "warmup": "100 events", "step": "2 hours"}
        section |= {"snapshot": "3 days", "window": 100}
        return Job.from_frame(
            rows if frame is None else frame,
            name="stream",
            target="late",
            estimator="sklearn.linear_model.SGDClassifier",
            params=SGD,
            data={"time": "moment"},
            features={"numeric": ["size"], "categorical": ["color"], "leaks": ["landed"]},
            evaluation={"plots": False},
            online=section | online,
        )

    return make
