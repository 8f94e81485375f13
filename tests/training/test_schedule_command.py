"""``train-model --every`` as its users meet it: processes, runs in MLflow, promotions, what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from registry import (
    Occasion,
    Settings,
    TrainingRequest,
    UnreachableError,
    find_training_requests,
    open_agenda,
    open_store,
    parse_time,
    request_training,
)
from registry.cli import main as greenroom
from registry.environment import get_child_environment
from registry.server import Server
from tests.training.conftest import Traces
from training.cli import main
from training.periodic import Periodic
from training.progress import SilentProgress
from training.pulse import Pulse
from training.scheduler import Cause, Ending

Found = TypeVar("Found")
TRAIN = str(Path(sys.executable).with_name("train-model"))
SLOT = parse_time("2026-03-01T03:00:00Z")
QUICK = ["evaluation.plots=false", "evaluation.importance.rows=0", "contract.mode=off"]

ESTIMATORS = """
import os, time
from sklearn.linear_model import LogisticRegression
class Slow(LogisticRegression):
    def fit(self, X, y):
        while os.path.exists("hold"):
            time.sleep(0.05)
        return super().fit(X, y)
class Interrupted(LogisticRegression):
    def fit(self, X, y):
        raise KeyboardInterrupt
class Broken(LogisticRegression):
    def fit(self, X, y):
        raise RuntimeError("a bug of its own")
"""


@pytest.fixture(scope="module")
def estimators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimators")
    (folder / "odd_estimators.py").write_text(ESTIMATORS)
    return folder


Train = Callable[..., tuple[Ending, str]]


@pytest.fixture
def train_slot(
    job_file: Path, settings: Settings, estimators: Path, monkeypatch: pytest.MonkeyPatch
) -> Train:
    """Trains one slot; returns its ending and the sign of life that it left."""
    monkeypatch.syspath_prepend(str(estimators))
    store = open_store(settings)

    def train(
        *overrides: str, to: str | None = None, requests: tuple[TrainingRequest, ...] = ()
    ) -> tuple[Ending, str]:
        agenda = open_agenda(store, "small", settings=settings)
        claim = agenda.claim_slot("job.toml: 1d", SLOT, who="me", lease_s=60.0)
        assert claim is not None
        runner = Periodic(job_file, [*QUICK, *overrides], settings, store, to, None, SilentProgress)
        with Pulse(agenda, claim) as pulse:
            ending = runner(Cause("job.toml: 1d", SLOT, SLOT, requests), pulse)
        agenda.settle(claim, ending.outcome, run_id=ending.run_id, version=ending.version, text=ending.text)
        return ending, agenda.read_beat(claim)

    return train


def test_a_slots_run_is_tagged_linked_and_promoted_and_its_window_is_the_slots(
    train_slot: Train, settings: Settings, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(settings)
    monitor = store.create_run(store.create_experiment("monitors", {}), "monitor", {}).run_id
    request_training(store, "small", run_id=monitor, reason="input drift")
    requests = tuple(find_training_requests(store, "small"))
    window = ["data.time=day", 'split.train_from="-50 days"', 'split.train_until="-35 days"']
    ending, beat = train_slot(*window, to="production", requests=requests)
    assert (ending.outcome, ending.version) == ("trained", "1")
    assert ending.text == "Promotion to staging: yes (entry 1); production: yes (entry 2)."
    assert beat.endswith(f" {ending.run_id}")
    run = store.get_run(ending.run_id)
    assert run.status == "FINISHED"
    assert run.tags["greenroom.slot"] == "2026-03-01T03:00:00.000Z"
    assert run.tags["greenroom.schedule"] == "job.toml: 1d"
    assert run.tags["greenroom.requested_by"] == monitor
    assert run.tags["greenroom.promotion"] == "staging: yes (entry 1); production: yes (entry 2)"
    assert run.params["split.train_from"] == "2026-01-10T03:00:00"
    assert run.params["split.train_until"] == "2026-01-25T03:00:00"
    assert store.get_run(monitor).tags["greenroom.training_run"] == ending.run_id
    assert traces.client.get_model_version_by_alias("small", "production").run_id == ending.run_id
    assert greenroom(["schedule", "small", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["trainings"]
    assert (shown["slot"], shown["outcome"], shown["run_id"], shown["version"]) == (
        "2026-03-01T03:00:00.000Z",
        "trained",
        ending.run_id,
        "1",
    )


def test_a_slot_whose_job_is_refused_leaves_a_failed_run_that_says_why(
    train_slot: Train, traces: Traces
) -> None:
    ending, _ = train_slot("data.target=nothing")
    assert ending.outcome == "failed"
    assert "nothing" in ending.text
    (run,) = [one for one in traces.runs if one.info.run_id == ending.run_id]
    assert (run.info.status, run.data.tags["greenroom.reason"]) == ("FAILED", ending.text)
    assert run.data.tags["greenroom.slot"].startswith("2026-03-01T03:00")


def test_a_job_file_that_became_wrong_fails_its_slot_only(train_slot: Train, traces: Traces) -> None:
    ending, _ = train_slot("job.sed=7")
    assert (ending.outcome, ending.run_id) == ("failed", "")
    assert "Did you mean 'seed'?" in ending.text


def test_a_bug_in_an_estimator_fails_its_slot_only(train_slot: Train, traces: Traces) -> None:
    ending, _ = train_slot("model.estimator=odd_estimators.Broken")
    assert ending.outcome == "failed"
    assert ending.text == "Unexpected RuntimeError: a bug of its own"
    assert {run.info.status for run in traces.runs if run.info.run_id == ending.run_id} == {"FAILED"}


def test_an_interrupted_slot_leaves_a_killed_run(train_slot: Train, traces: Traces) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_slot("model.estimator=odd_estimators.Interrupted")
    (run,) = [one for one in traces.runs if "greenroom.slot" in one.data.tags]
    assert (run.info.status, run.data.tags["greenroom.reason"]) == ("KILLED", "interrupted by the user")


def test_a_source_that_does_not_answer_is_passed_on_and_its_run_closed(
    train_slot: Train, traces: Traces, free_port: int
) -> None:
    source = f"postgresql+psycopg://u:p@127.0.0.1:{free_port}/d"
    with pytest.raises(UnreachableError):
        train_slot(f"data.source={source}", "data.query=select 1")
    (run,) = [one for one in traces.runs if "greenroom.slot" in one.data.tags]
    assert run.info.status == "FAILED"


def test_a_dry_run_names_the_next_slots_and_writes_nothing(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--every", "30 2 * * *", "--timezone", "Europe/Zurich", "--dry-run", "--json"]
    assert main([str(job_file), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "greenroom/schedule/1"
    assert len(document["slots"]) == 5
    assert document["next"] == document["slots"][0]
    assert (document["every"], document["timezone"]) == ("30 2 * * *", "Europe/Zurich")
    assert traces.are_none()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--every", "soon"], "neither a duration nor a cron line"),
        (["--every", "6h", "--timezone", "Nowhere"], "no time zone"),
        (["--every", "6h", "--now", "2026-01-01"], "--now is for a single run"),
        (["--every", "6h", "--poll", "5s"], "--poll goes with --on-drift"),
        (["--every", "6h", "--lease", "0s"], "--lease '0s' is no duration"),
        (["--every", "6h", "--policy", "p.toml"], "--policy goes with --promote"),
        (["--every", "6h", "--promote", "staging", "--policy", "none.toml"], "none.toml cannot be read"),
        (["--on-drift", "--catch-up", "none"], "go with --every"),
        (["--promote", "staging"], "promote-model"),
        (["--timezone", "UTC"], "--timezone goes with --every"),
        (["--now", "yesterday"], "--now 'yesterday' is no time"),
        (["--every", "6h", "--set", "job.sed=7"], "Did you mean 'seed'?"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], said: str, job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(job_file), *words]) == 2
    assert said in capsys.readouterr().err
    assert traces.are_none()


def test_a_schedule_does_not_run_inside_the_one_run_of_mlflow_run(
    job_file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    assert main([str(job_file), "--every", "6h"]) == 2


def test_two_processes_train_each_slot_once_and_when_one_is_killed_the_other_goes_on(
    job_file: Path, mlflow_server: Server, model_name: str, estimators: Path, tmp_path: Path
) -> None:
    settings = replace(Settings(), tracking_uri=mlflow_server.uri, registry_uri=mlflow_server.uri)
    agenda = open_agenda(open_store(settings), model_name, settings=settings)
    environment = get_child_environment(
        {"PYTHONPATH": str(estimators), "MLFLOW_TRACKING_URI": mlflow_server.uri}
    )
    changes = [f"job.name={model_name}", "model.estimator=odd_estimators.Slow", *QUICK]
    words = [word for change in changes for word in ("--set", change)]
    command = [TRAIN, str(job_file), *words, "--every", "2s", "--lease", "2s", "--json"]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    try:
        wait_for(lambda: count(agenda.list_occasions(50), "trained") >= 1)
        (tmp_path / "hold").touch()
        held = wait_for(lambda: agenda.read().open)
        time.sleep(0.5)  # into the fit
        (claim,) = held.values()
        victim = int(re.findall(r"process (\d+)", claim.who)[0])
        os.kill(victim, signal.SIGKILL)
        (tmp_path / "hold").unlink()
        after = wait_for(lambda: [one for one in agenda.list_occasions(50) if one.claim.seq > claim.seq])
        wait_for(lambda: count(agenda.list_occasions(50), "trained") >= 3)
        survivor = next(one for one in processes if one.pid != victim)
        survivor.send_signal(signal.SIGINT)
        out, err = survivor.communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    occasions = agenda.list_occasions(50)
    slots = [one.claim.slot for one in occasions]
    assert slots == sorted(set(slots), reverse=True)
    lost = next(one for one in occasions if one.claim.seq == claim.seq)
    assert lost.outcome == "lost"
    assert agenda.store.get_run(lost.run_id).status == "KILLED"
    assert f"process {victim}" not in after[-1].claim.who
    versions = [int(one.version) for one in reversed(occasions) if one.outcome == "trained"]
    assert versions == list(range(1, len(versions) + 1))
    assert survivor.returncode == 130
    document = json.loads(out)
    assert document["schema"] == "greenroom/schedule/1"
    assert {one["outcome"] for one in document["trainings"]} <= {"trained", "interrupted"}
    assert "It counts as killed; later slots go on." in err
    assert err.endswith("Interrupted.\n")


def count(occasions: list[Occasion], outcome: str) -> int:
    return sum(one.outcome == outcome for one in occasions)


def wait_for(look: Callable[[], Found], *, patience_s: float = 120.0) -> Found:
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
