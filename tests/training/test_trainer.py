"""A training from rows to a candidate version, on a real SQLite-backed MLflow."""

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from registry import Settings, Tag, compute_table_digest, parse_evaluation
from tests.training.conftest import Traces
from training import Job, TrainingResult, read_job, train


@pytest.fixture
def result(job_file: Path, settings: Settings) -> TrainingResult:
    return train(read_job(job_file), settings=settings)


def read_artifact(client: MlflowClient, run_id: str, path: str) -> bytes:
    return Path(client.download_artifacts(run_id, path)).read_bytes()


def test_a_training_leaves_a_finished_run_and_a_candidate_version(
    result: TrainingResult, traces: Traces
) -> None:
    (run,) = traces.runs
    (version,) = traces.versions
    assert run.info.status == "FINISHED"
    assert (version.name, str(version.version), version.run_id) == ("small", result.version, result.run_id)
    assert version.tags[Tag.STAGE] == "candidate"
    model = traces.client.get_logged_model(version.source.removeprefix("models:/"))
    assert (model.status, model.source_run_id) == ("READY", result.run_id)


def test_the_version_links_its_run_data_and_job(result: TrainingResult, traces: Traces) -> None:
    (version,) = traces.versions
    page = f"#/experiments/{result.experiment_id}/runs/{result.run_id}"
    assert f"]({page})" in version.description
    assert f"]({page}/artifacts/job.toml)" in version.description
    assert "rows.csv, 300 rows, sha256" in version.description


def test_metrics_say_how_good_the_model_and_the_best_constant_are(
    result: TrainingResult, traces: Traces
) -> None:
    assert {"roc_auc", "average_precision", "log_loss", "brier", "accuracy", "base_rate"} <= set(
        result.metrics
    )
    assert result.metrics["roc_auc"] > 0.75
    assert result.metrics["log_loss"] < result.metrics["log_loss_of_mean"]
    logged = traces.runs[0].data.metrics
    assert {name: logged[name] for name in result.metrics} == pytest.approx(result.metrics)
    assert logged["duration_fit_s"] > 0
    assert logged["peak_memory_mb"] > 50


def test_the_run_says_which_job_code_libraries_and_data(
    result: TrainingResult, traces: Traces, job_file: Path
) -> None:
    run = traces.runs[0]
    assert run.data.params["model.estimator"] == "sklearn.linear_model.LogisticRegression"
    assert run.data.params["split.rows_evaluate"] == "60"
    assert run.data.tags["greenroom.env.scikit-learn"]
    assert run.data.tags["mlflow.source.name"] == "job.toml"
    frame = pd.read_csv(job_file.with_name("rows.csv"))
    assert run.data.tags[Tag.DATA_SHA256] == compute_table_digest(frame)
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.source_type) == ("rows.csv", "local")
    assert run.data.tags[Tag.DATA_SHA256].startswith(entry.dataset.digest)
    columns = json.loads(entry.dataset.schema)["mlflow_colspec"]
    assert {"name": "color", "type": "string", "required": True} in columns


def test_the_evaluation_rows_hold_features_truth_and_the_models_own_answers(
    result: TrainingResult, traces: Traces
) -> None:
    about = parse_evaluation(traces.runs[0].data.tags[Tag.EVALUATION])
    content = read_artifact(traces.client, result.run_id, about.path)
    assert hashlib.sha256(content).hexdigest() == about.sha256
    kept = pd.read_parquet(BytesIO(content))
    assert (len(kept), about.rows) == (60, 60)
    assert (about.task, about.classes, about.group) == ("binary", (0, 1), None)
    expected = {*about.features, about.target, about.prediction, *about.probabilities}
    assert set(kept.columns) == expected | {"day"}, "what another version may look at is kept too"
    chances = result.pipeline.predict_proba(kept[list(about.features)])
    np.testing.assert_array_equal(chances, kept[list(about.probabilities)].to_numpy())
    np.testing.assert_array_equal(result.pipeline.predict(kept[list(about.features)]), kept[about.prediction])
    loss = -np.log(np.where(kept[about.target] == 1, chances[:, 1], chances[:, 0])).mean()
    assert loss == pytest.approx(result.metrics["log_loss"])


def test_pictures_and_tables_are_on_the_run_page(result: TrainingResult, traces: Traces) -> None:
    plots = {file.path for file in traces.client.list_artifacts(result.run_id, "plots")}
    names = (
        "calibration",
        "confusion_matrix",
        "permutation_importance",
        "precision_recall_curve",
        "roc_curve",
    )
    assert plots == {f"plots/{name}.png" for name in names}
    picture = read_artifact(traces.client, result.run_id, "plots/roc_curve.png")
    assert picture.startswith(b"\x89PNG")
    table = pd.read_csv(BytesIO(read_artifact(traces.client, result.run_id, "feature_importance.csv")))
    assert set(table["feature"]) == {"size", "noise", "color"}
    assert table["feature"][0] == "size"


def test_the_kept_job_trains_the_same_model_again(
    result: TrainingResult, traces: Traces, settings: Settings, job_file: Path
) -> None:
    kept = read_artifact(traces.client, result.run_id, "job.toml")
    job_file.with_name("again.toml").write_bytes(kept)
    again = train(read_job(job_file.with_name("again.toml")), settings=settings)
    assert again.metrics == result.metrics
    assert again.version == "2"


def test_a_frame_in_memory_trains_in_a_few_lines(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    job = Job.from_frame(
        rows.rename(columns={"day": "moment"}),
        name="in-memory",
        target="late",
        data={"time": "moment"},
        split={"fraction": 0.3, "group": "day"},
    )
    result = train(job, settings=settings)
    assert result.metrics["roc_auc"] > 0.6
    about = parse_evaluation(traces.runs[0].data.tags[Tag.EVALUATION])
    assert about.group == "greenroom.group"
    kept = pd.read_parquet(BytesIO(read_artifact(traces.client, result.run_id, about.path)))
    assert sorted(kept["greenroom.group"].unique()) == [f"2026-01-{day}" for day in range(22, 31)]


def test_the_evaluation_rows_are_capped_by_whole_groups(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    job = Job.from_frame(
        rows.rename(columns={"day": "moment"}),
        name="capped",
        target="late",
        data={"time": "moment"},
        split={"fraction": 0.5, "group": "day"},
        evaluation={"max_rows": 35, "plots": False, "importance": {"rows": 0}},
    )
    result = train(job, settings=settings)
    about = parse_evaluation(traces.runs[0].data.tags[Tag.EVALUATION])
    kept = pd.read_parquet(BytesIO(read_artifact(traces.client, result.run_id, about.path)))
    assert kept["greenroom.group"].value_counts().tolist() == [10, 10, 10]
    assert traces.client.list_artifacts(result.run_id, "plots") == []


@pytest.mark.parametrize(
    ("target", "estimator", "task", "names"),
    [
        ("color", "sklearn.ensemble.RandomForestClassifier", "multiclass", {"f1_macro", "roc_auc_ovr"}),
        ("size", "sklearn.ensemble.GradientBoostingRegressor", "regression", {"rmse", "mae", "r2"}),
        ("color", "sklearn.svm.LinearSVC", "multiclass", {"accuracy", "balanced_accuracy"}),
    ],
)
def test_other_tasks_have_their_own_metrics_and_pictures(
    rows: pd.DataFrame,
    settings: Settings,
    traces: Traces,
    target: str,
    estimator: str,
    task: str,
    names: set[str],
) -> None:
    result = train(Job.from_frame(rows, name="other", target=target, estimator=estimator), settings=settings)
    assert result.task == task
    assert names <= set(result.metrics)
    assert ("log_loss" in result.metrics) == (estimator.endswith("ForestClassifier"))
    plots = {Path(file.path).stem for file in traces.client.list_artifacts(result.run_id, "plots")}
    assert ("residuals" in plots) == (task == "regression")
    assert ("confusion_matrix" in plots) == (task == "multiclass")


def test_rows_without_a_target_are_left_out_where_the_job_says_so(
    job_file: Path, rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    late: pd.Series[Any] = rows["late"].where(rows.index != 4)
    rows.assign(late=late).to_csv(job_file.with_name("rows.csv"), index=False)
    train(read_job(job_file, ["data.missing_target=drop"]), settings=settings)
    params = traces.runs[0].data.params
    assert (params["data.rows"], params["data.rows_without_target"]) == ("299", "1")


def test_the_same_job_twice_gives_the_same_numbers_and_the_same_model_bytes(
    result: TrainingResult, job_file: Path, settings: Settings, traces: Traces
) -> None:
    again = train(read_job(job_file), settings=settings)
    assert again.metrics == result.metrics
    layers = []
    for version in traces.versions:
        folder = Path(traces.client.download_artifacts(version.run_id, "evaluation"))
        layers.append((folder / "rows.parquet").read_bytes())
    assert layers[0] == layers[1]


def test_settings_other_than_the_environments_leave_the_environment_alone(
    job_file: Path, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    train(read_job(job_file), settings=Settings(tracking_uri=tracking_uri, registry_uri=tracking_uri))
    assert os.environ["MLFLOW_TRACKING_URI"] == mlflow.get_tracking_uri() == "sqlite:///elsewhere.db"
    assert not (tmp_path / "elsewhere.db").exists()
    assert [one.name for one in MlflowClient(tracking_uri).search_registered_models()] == ["small"]


def test_categories_may_be_replaced_by_what_is_usual_of_their_rows(
    job_file: Path, settings: Settings
) -> None:
    job_file.write_text(job_file.read_text().replace("[features]", '[features]\nencoding = "target"', 1))
    first, again = (train(read_job(job_file), settings=settings) for _ in range(2))
    assert first.metrics == again.metrics
    assert first.metrics["roc_auc"] > 0.6
