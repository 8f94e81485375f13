"""``train-model`` as its users meet it: a process, its output, its exit code, its interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry import Settings
from registry.environment import get_child_environment
from tests.training.conftest import Traces
from training.cli import main

TRAIN = str(Path(sys.executable).with_name("train-model"))


def test_json_is_one_document_with_the_promised_keys(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(job_file), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["schema"] == "greenroom/training/1"
    assert (document["model"], document["version"]) == ("small", "1")
    assert document["run_id"] == traces.runs[0].info.run_id
    assert document["metrics"]["roc_auc"] > 0.5
    assert said.err == ""


def test_text_has_the_figures_the_version_and_what_to_do_next(
    job_file: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(job_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  roc_auc")
    assert any(line.startswith("small version 1 is a candidate; run ") for line in lines)
    assert lines[-1] == "Next: promote-model small --to staging"


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(job_file.parent.rglob("*"))
    assert main([str(job_file), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "Would train small in experiment small; nothing was written." in text
    assert "240 to learn from, 60 to judge on" in text
    assert traces.are_none()
    assert sorted(job_file.parent.rglob("*")) == before


def test_a_dry_run_needs_no_tracking_server(job_file: Path, tmp_path: Path) -> None:
    assert main([str(job_file), "--dry-run", "--json"]) == 0
    assert not (tmp_path / "mlflow.db").exists()


def test_an_error_in_json_is_a_document_too(job_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(job_file), "--json", "--set", "data.source=nowhere.csv"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["error"]) == ("greenroom/error/1", "data")


@pytest.mark.parametrize("option", ["--every", "--engine", "--promote"])
def test_a_mode_without_its_value_is_refused(option: str, job_file: Path) -> None:
    assert main([str(job_file), option]) == 2


SLOW = """
import time
from sklearn.linear_model import LogisticRegression
class Slow(LogisticRegression):
    def fit(self, X, y):
        open("fitting", "w").close()
        time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_training_leaves_a_killed_run_and_nothing_registered(
    job_file: Path, traces: Traces, tmp_path: Path, settings: Settings, name: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    environment = get_child_environment({"PYTHONPATH": str(tmp_path)})
    process = subprocess.Popen(
        [TRAIN, str(job_file), "--set", "model.estimator=slow.Slow"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "fitting").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "Interrupted.\n"
    (run,) = traces.runs
    assert run.info.status == "KILLED"
    assert run.data.tags["greenroom.reason"] == "interrupted by the user"
    assert not traces.versions
    assert not traces.client.search_registered_models()


def test_a_pipe_sees_no_progress_bar(job_file: Path, settings: Settings, tmp_path: Path) -> None:
    done = subprocess.run([TRAIN, str(job_file)], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""


def test_a_terminal_sees_steps(job_file: Path, settings: Settings, tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    done = subprocess.run(
        [TRAIN, str(job_file)], stdout=subprocess.PIPE, stderr=slave, check=True, cwd=tmp_path
    )
    os.set_blocking(master, False)
    seen = os.read(master, 100_000).decode()
    os.close(slave)
    os.close(master)
    assert "Fitting" in seen
    assert b"Fitting" not in done.stdout
