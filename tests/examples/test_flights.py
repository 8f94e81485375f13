"""The flights example: its data, its honesty, and what it reaches on months it has not seen."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from registry.environment import get_child_environment
from training.cli import main

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "flights" / "job.toml"


@pytest.fixture(scope="module")
def flights() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_flights", JOB.with_name("flights.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_flights_are_those_that_arrived_in_the_order_of_their_schedule(flights: ModuleType) -> None:
    frame: pd.DataFrame = flights.load_flights()
    assert len(frame) == 336_776 - 9_430
    assert frame["scheduled"].is_monotonic_increasing
    assert frame["late"].mean() == pytest.approx(0.24, abs=0.01)


def test_weather_has_one_row_per_airport_and_hour(flights: ModuleType) -> None:
    weather: pd.DataFrame = flights.load_weather()
    assert not weather.duplicated(["origin", "hour"]).any()
    assert set(weather["origin"]) == {"EWR", "JFK", "LGA"}


@pytest.mark.parametrize("leak", ["dep_time", "dep_delay", "arr_time", "air_time", "arr_delay"])
def test_a_column_that_only_the_flight_reveals_is_refused(
    leak: str, tracking_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(JOB), "--set", f"features.numeric=['distance','{leak}']", "--dry-run"]) == 1
    assert f"'{leak}' is declared in features.leaks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("until", "least_auc", "most_log_loss"), [("2013-04-01", 0.66, 0.612), ("2013-07-01", 0.72, 0.58)]
)
def test_held_out_july_is_predicted_clearly_better_than_by_its_mean(
    until: str,
    least_auc: float,
    most_log_loss: float,
    tracking_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trained through March it is judged on all of April to July, so July's own numbers are looked up."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    dates = ["--set", f"split.train_until={until}", "--set", "split.evaluate_until=2013-08-01"]
    assert main([str(JOB), *dates, "--set", "evaluation.max_rows=200000", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    path = MlflowClient(tracking_uri).download_artifacts(run_id, "evaluation/rows.parquet")
    july = pd.read_parquet(path).query("scheduled >= '2013-07-01'")
    from sklearn.metrics import log_loss, roc_auc_score

    chance = july["greenroom.probability.1"]
    assert len(july) == 28_293
    assert july["greenroom.group"].nunique() == 31
    assert roc_auc_score(july["late"], chance) > least_auc
    assert log_loss(july["late"], chance) < most_log_loss
    assert log_loss(july["late"], [july["late"].mean()] * len(july)) == pytest.approx(0.623, abs=0.001)


def test_mlflow_run_trains_the_example(tracking_uri: str, tmp_path: Path) -> None:
    environment = get_child_environment({"MLFLOW_TRACKING_URI": tracking_uri})
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [
        str(Path(sys.executable).with_name("mlflow")),
        "run",
        str(ROOT),
        "-e",
        "train",
        "--env-manager",
        "local",
    ]
    done = subprocess.run(
        [*command, "-P", "job=examples/flights/job.toml"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    client: Any = MlflowClient(tracking_uri)
    (version,) = client.search_model_versions("name='flight-delay'")
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.project.entryPoint"] == "train"
    assert run.data.metrics["roc_auc"] > 0.64
    assert len(client.search_runs(["0"])) == 1
