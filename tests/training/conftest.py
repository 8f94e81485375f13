"""Small jobs, and a look at what they leave behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from registry import Settings


@dataclass(frozen=True)
class Traces:
    """What is in the tracking store."""

    client: Any

    @property
    def runs(self) -> list[Any]:
        """All runs, parents and children."""
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    @property
    def versions(self) -> list[Any]:
        """All versions of all models."""
        return list(self.client.search_model_versions())

    def find_model(self) -> Path:
        """The folder of the only version's artifact; MLflow names its logged model in the source alone."""
        (version,) = self.versions
        model = self.client.get_logged_model(version.source.removeprefix("models:/"))
        return Path(model.artifact_location.removeprefix("file://"))

    def are_none(self) -> bool:
        """Whether there is nothing at all: no run, no experiment but the default one, no model."""
        models = self.client.search_registered_models()
        return not self.runs and not models and len(self.client.search_experiments()) == 1


@pytest.fixture
def settings(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Leads to a fresh SQLite store; the environment says so too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    return Settings(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@pytest.fixture
def traces(settings: Settings) -> Traces:
    """What the test's jobs left behind."""
    return Traces(MlflowClient(settings.tracking_uri))


@pytest.fixture
def rows() -> pd.DataFrame:
    """300 rows: a number and a category that say something, a number that does not, a binary target."""
    generator = np.random.default_rng(7)
    size, color = generator.normal(size=300), generator.choice(["red", "green", "blue"], 300)
    chance = 1 / (1 + np.exp(-(1.5 * size + (color == "red"))))
    return pd.DataFrame(
        {
            "size": size,
            "color": color,
            "noise": generator.normal(size=300),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(300) // 10, unit="D"),
            "late": (generator.random(300) < chance).astype("int64"),
        }
    )


JOB = """
[job]
name = "small"
[data]
source = "rows.csv"
target = "late"
[features]
numeric = ["size", "noise"]
categorical = ["color"]
[model]
estimator = "sklearn.linear_model.LogisticRegression"
[evaluation]
importance = { rows = 50, repeats = 1 }
"""


@pytest.fixture
def job_file(tmp_path: Path, rows: pd.DataFrame) -> Path:
    """A job file beside its CSV file."""
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path / "job.toml"


WriteRows = Callable[[pd.DataFrame], None]


@pytest.fixture
def write_rows(job_file: Path) -> WriteRows:
    """Replaces the CSV file."""

    def write(frame: pd.DataFrame) -> None:
        frame.to_csv(job_file.with_name("rows.csv"), index=False)

    return write
