"""``monitor-model`` on MLflow in SQLite, by its command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry import open_ledger, open_store, read_settings
from registry.stores.memory import MemoryStore
from serving.monitoring.cli import main
from tests.registry.histories import move_to_production
from tests.serving.monitoring.scenes import fill_day, keep_evaluation

POLICY = '[monitor]\nwindows = 1\non_quality = "rollback"\non_drift = "retrain"\n'


@pytest.fixture
def log(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a model, the second in production, and a bad day and a half of its predictions."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    store = open_store(read_settings())
    assert not isinstance(store, MemoryStore)
    client = mlflow.MlflowClient(tracking_uri, tracking_uri)
    client.create_registered_model("m")
    ledger = open_ledger("m", store=store)
    for number in (1, 2):
        artifact = tmp_path / f"artifact{number}"
        artifact.mkdir()
        (artifact / "model").write_text(str(number))
        run_id = keep_evaluation(store, tmp_path / f"kept{number}")
        client.create_model_version("m", str(artifact), run_id=run_id)
        move_to_production(ledger, str(number))
    fill_day(tmp_path / "log", 0, broken=True)
    return tmp_path / "log"


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["m", "--since", "2026-03-01", "--until", "2026-03-02", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_an_alarm_is_exit_code_3_and_one_document_and_production_is_back(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    arguments = ["--log", str(log), "--policy", str(tmp_path / "policy.toml")]
    code, dry = ask(capsys, *arguments, "--dry-run")
    assert (code, dry["dry_run"], dry["run_id"], dry["standing"]) == (3, True, None, ["quality"])
    code, document = ask(capsys, *arguments)
    assert (code, document["schema"], document["verdict"]) == (3, "greenroom/monitor/1", "alarm")
    (window,) = document["windows"]
    assert (window["drift"]["verdict"], window["quality"]["verdict"]) == ("quiet", "bad")
    (alarm,) = document["alarms"]
    assert alarm["outcome"] == "production is back at version 1 (entry 5)"
    store = open_store(read_settings())
    run = store.get_run(document["run_id"])
    assert (run.status, run.tags["greenroom.action"]) == ("FINISHED", f"quality: {alarm['outcome']}")
    assert store.get_model("m").aliases["production"] == "1"
    code, after = ask(capsys, *arguments, "--version", "2")
    assert (code, after["windows"], after["alarms"], after["run_id"]) == (3, [], [], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "1y"], "'1y' is no duration"),
        (["--every", "1h"], "--until and --every do not go together"),
        (["--stage", "archived"], "'archived' is not a stage"),
        (["--policy", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_what_is_asked_wrongly_is_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = ask(capsys, "--log", "log", *arguments)
    assert (code, document["error"]) == (2, "usage")
    assert message in document["message"]
