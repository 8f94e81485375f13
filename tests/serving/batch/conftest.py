"""A model on a real MLflow, rows in many row groups, and a way to score them without more processes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import Settings
from serving.batch.driver import Workers, score
from serving.batch.settings import ScoreSettings
from tests.serving.batch.inline import InlineCrew
from tests.serving.scoring_servers import copy_template, log_version, set_alias

ROWS, GROUP = 2_000, 500


@dataclass(frozen=True)
class Stage:
    """A version in production, and where it is."""

    uri: str
    cache: Path

    @property
    def settings(self) -> Settings:
        return Settings(tracking_uri=self.uri, registry_uri=self.uri, cache_dir=str(self.cache))

    @property
    def environment(self) -> dict[str, str]:
        return {"MLFLOW_TRACKING_URI": self.uri, "GREENROOM_CACHE_DIR": str(self.cache)}


@pytest.fixture(scope="session")
def batch_stage(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Two versions of a classifier of two numbers; the first is in production."""
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("batch")
    uri = copy_template(sqlite_template, folder)
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    version = log_version(
        uri, "late", LogisticRegression().fit(rows, ["no", "no", "yes", "yes"]), rows.head(2)
    )
    log_version(uri, "late", LogisticRegression(C=0.1).fit(rows, ["no", "no", "yes", "yes"]), rows.head(2))
    set_alias(uri, "late", version)
    return Stage(uri, folder / "cache")


@pytest.fixture
def stage(batch_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The same, and the environment that leads to it."""
    for name, value in batch_stage.environment.items():
        monkeypatch.setenv(name, value)
    return batch_stage


def make_rows(rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"a": rng.uniform(0, 3, rows), "b": rng.integers(0, 2, rows), "id": np.arange(rows)})


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of 2,000 rows in four row groups: one part."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(make_rows(), preserve_index=False), path, row_group_size=GROUP)
    return path


@pytest.fixture
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in four files: four parts."""
    folder = tmp_path_factory.mktemp("many")
    rows = make_rows()
    for number, start in enumerate(range(0, ROWS, GROUP)):
        rows.iloc[start : start + GROUP].to_parquet(folder / f"{number:02d}.parquet", index=False)
    return folder


@pytest.fixture
def score_rows(stage: Stage, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Scores with the model in production, by default into ``out`` of ``tmp_path``."""

    def run(source: Path | str, *, crew: Workers | None = None, **options: Any) -> dict[str, Any]:
        chosen = {"output": str(tmp_path / "out"), "batch_rows": 200, **options}
        settings = ScoreSettings(model="late", input=str(source), **chosen)
        return score(settings, stage.settings, crew=crew or InlineCrew())

    return run


def read_output(folder: Path) -> pd.DataFrame:
    """All rows, part after part."""
    return pd.concat(
        [pd.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))], ignore_index=True
    )


def read_record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_greenroom.json").read_text("utf-8"))
    return found
