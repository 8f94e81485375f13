"""A stream on a real MLflow: versions that open anywhere, gates, resuming, being killed, and two at once."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow import MlflowClient

from registry import ConflictError, DataError, Settings, Tag, UsageError, open_store
from tests.training.online.conftest import MakeJob
from training import OnlineResult, train_online
from training.cli import main
from training.online.keeping import Keeper
from training.online.snapshot import SNAPSHOT_TAG
from training.online.trainer import plan_online


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    return MlflowClient(settings.tracking_uri)


@pytest.fixture
def result(make_job: MakeJob, settings: Settings) -> OnlineResult:
    return train_online(make_job(), settings=settings)


def list_versions(client: MlflowClient) -> list[Any]:
    return sorted(client.search_model_versions("name = 'stream'"), key=lambda one: int(one.version))


def read_model(client: MlflowClient, run_id: str) -> Any:
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    (model,) = outputs.model_outputs
    return mlflow.pyfunc.load_model(client.get_logged_model(model.model_id).artifact_location)


def test_snapshots_are_candidates_that_answer_in_plain_mlflow_beside_the_streams_curves(
    result: OnlineResult, client: MlflowClient, rows: pd.DataFrame
) -> None:
    versions = list_versions(client)
    assert [one.version for one in result.snapshots] == [str(one.version) for one in versions]
    assert len(versions) >= 2
    assert {one.tags[Tag.STAGE] for one in versions} == {"candidate"}
    newest = result.snapshots[-1]
    assert newest.run_id is not None
    answers = read_model(client, newest.run_id).predict(rows[["size", "color"]])
    assert (answers == rows["late"].to_numpy()).mean() > 0.7
    run = client.get_run(newest.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == result.run_id
    assert run.data.tags[SNAPSHOT_TAG] == f"{result.run_id}/{len(versions)}"
    curve = client.get_metric_history(result.run_id, "prequential_log_loss")
    low = client.get_metric_history(result.run_id, "prequential_log_loss_low")
    assert len(curve) > 5
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert all(a.value < b.value for a, b in zip(low, curve, strict=True))
    assert curve[-1].value == pytest.approx(result.figures["log_loss"].value)
    assert client.get_run(result.run_id).info.status == "FINISHED"


def test_a_stream_at_its_end_does_nothing_again_and_takes_no_other_job(
    result: OnlineResult, client: MlflowClient, make_job: MakeJob, settings: Settings
) -> None:
    again = train_online(make_job(), settings=settings)
    assert (again.learned, again.scored) == (result.learned, result.scored)
    assert len(list_versions(client)) == len(result.snapshots)
    with pytest.raises(UsageError, match="begun by another job"):
        train_online(make_job(warmup="90 events"), settings=settings)


def test_a_stream_cut_off_anywhere_goes_on_and_makes_each_version_once(
    make_job: MakeJob, settings: Settings, client: MlflowClient
) -> None:
    """The trainer dies at the beginning of its second snapshot, and in the middle of writing its third."""

    class Death(BaseException):
        pass

    def die_at(words: str) -> Any:
        def progress(text: str) -> None:
            if words in text:
                raise Death

        return progress

    with pytest.raises(Death):
        train_online(make_job(), settings=settings, progress=die_at("snapshot 2"))
    assert len(list_versions(client)) == 1
    result = train_online(make_job(), settings=settings)
    marks = [one.tags[SNAPSHOT_TAG] for one in list_versions(client)]
    assert marks == [f"{result.run_id}/{number}" for number in range(1, len(marks) + 1)]
    whole = train_online(make_job(stream="whole"), settings=settings)
    assert (result.learned, result.scored, result.figures) == (whole.learned, whole.scored, whole.figures)


def test_promoted_snapshots_hold_the_stage_the_gates_gave_them(
    make_job: MakeJob, settings: Settings, client: MlflowClient
) -> None:
    result = train_online(make_job(snapshot="200 events"), settings=settings, promote_to="production")
    first = result.snapshots[0]
    assert first.verdicts["staging"].startswith("yes")
    assert first.verdicts["production"].startswith("yes")
    assert all(set(one.verdicts) == {"staging", "production"} for one in result.snapshots)
    held = {one.version for one in result.snapshots if one.verdicts.get("production", "").startswith("yes")}
    production = client.get_model_version_by_alias("stream", "production").version
    assert str(production) == max(held, key=lambda version: int(version or 0))
    assert "greenroom.online_promotion" in list_versions(client)[0].tags


def test_the_second_trainer_of_a_stream_is_refused_and_names_the_first(
    make_job: MakeJob, settings: Settings
) -> None:
    store = open_store(settings)

    def begin() -> str:
        return store.create_run("0", "stream", {}).run_id

    with Keeper(store, settings, model="stream", stream="main").claim("digest", begin):
        other = Keeper(store, settings, model="stream", stream="main")
        with pytest.raises(ConflictError, match="driven by another trainer"):
            other.claim("digest", begin)
    with Keeper(store, settings, model="stream", stream="main").claim("digest", begin):
        pass


def test_too_few_events_for_the_warm_up_leave_no_version(
    make_job: MakeJob, settings: Settings, client: MlflowClient
) -> None:
    with pytest.raises(DataError, match="the warm-up takes 9000 events"):
        train_online(make_job(warmup="9000 events"), settings=settings)
    assert not list_versions(client)


def test_a_plan_writes_nothing(make_job: MakeJob, settings: Settings, client: MlflowClient) -> None:
    plan = plan_online(make_job())
    assert (plan.events, plan.task, plan.features) == (400, "binary", 2)
    assert plan.begins.startswith("2026-01-0")
    assert len(client.search_experiments()) == 1


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("guard", {"false_refusal": 0.05}, r"\[guard\] does not go with --online"),
        ("search", {"space": {"eta0": [0.1]}}, r"\[search\] does not go with --online"),
    ],
)
def test_sections_that_no_stream_can_follow_are_refused(
    make_job: MakeJob, settings: Settings, section: str, values: dict[str, Any], words: str
) -> None:
    job = make_job()
    spec = type(job.spec).model_validate({**job.spec.model_dump(exclude_none=True), section: values})
    with pytest.raises(UsageError, match=words):
        train_online(replace(job, spec=spec), settings=settings)


def test_a_command_killed_for_real_is_taken_up_by_the_next(
    rows: pd.DataFrame,
    settings: Settings,
    client: MlflowClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "job.toml").write_text(JOB)
    words = [str(tmp_path / "job.toml"), "--online", "--json"]
    command = [sys.executable, "-m", "training.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while not list_versions(client) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "greenroom/online/1"
    assert document["learned"] > 300
    numbers = [int(one.tags[SNAPSHOT_TAG].rpartition("/")[2]) for one in list_versions(client)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 2


def test_a_dry_run_of_the_command_says_when_the_stream_would_begin(
    rows: pd.DataFrame, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "job.toml").write_text(JOB)
    assert main([str(tmp_path / "job.toml"), "--online", "--dry-run"]) == 0
    assert "begins     2026-01-0" in capsys.readouterr().out
    assert main([str(tmp_path / "job.toml"), "--online", "--every", "6h"]) == 2
    assert "--every does not go with --online" in capsys.readouterr().err


JOB = """
[job]
name = "stream"
[data]
source = "rows.csv"
target = "late"
time = "moment"
[features]
numeric = ["size"]
categorical = ["color"]
[model]
estimator = "sklearn.linear_model.SGDClassifier"
params = { loss = "log_loss", learning_rate = "constant", eta0 = 0.05 }
[evaluation]
plots = false
[online]
available = "landed"
warmup = "100 events"
snapshot = "3 days"
step = "2 hours"
window = 100
"""
