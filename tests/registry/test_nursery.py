"""One Python imports MLflow; every model gets a fork of it, which ends with whoever asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from registry import ArtifactError
from registry.nursery import ForkedProcess, _Nursery, fork_answer
from registry.verification import run_model

MODEL = """
import json, os, random, sys, time
import numpy as np
import mlflow.pyfunc

facts = {"pid": os.getpid(), "parent": os.getppid(), "environment": dict(os.environ), "folder": os.getcwd()}
facts |= {"random": [float(np.random.random()), random.random()], "group": os.getpgrp()}
with open(MARKER, "w") as file:
    json.dump(facts, file)
WORK

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1] * len(model_input)

mlflow.models.set_model(Model())
"""
PASSED = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
PATIENCE_S = 60.0


def write_model(folder: Path, work: str = "") -> Path:
    """A model from code that says where it runs, in ``facts``, when it is opened."""
    folder.mkdir()
    marker = repr(str(folder / "facts"))
    (folder / "code.py").write_text(MODEL.replace("MARKER", marker).replace("WORK", work))
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.loaders.code_model\n"
        "    model_code_path: code.py\n    env: {conda: conda.yaml}\n"
    )
    return folder


def read_facts(model: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads((model / "facts").read_text())
    return facts


def write_request(model: Path) -> Path:
    request = {"model": str(model), "rows": None, "result": str(model / "result.json")}
    (model / "request.json").write_text(json.dumps(request))
    return model / "request.json"


def wait_for(model: Path) -> psutil.Process:
    """The model's process, once it is at work."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return psutil.Process(int(str(read_facts(model)["pid"])))
        except (OSError, ValueError):
            time.sleep(0.02)
    raise AssertionError("the model was not opened")


def has_ended(pid: int) -> bool:
    """Nobody has to have asked for the exit code of an orphan."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def finish(process: ForkedProcess) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while (code := process.poll()) is None:
        assert time.monotonic() < deadline, "the model did not end"
        time.sleep(0.02)
    process.kill()
    return code


def test_models_get_processes_of_their_own_without_secrets_that_start_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    models = [write_model(tmp_path / name) for name in ("one", "two")]
    for model in models:
        run_model(model, scratch=tmp_path)
    one, two = (read_facts(model) for model in models)
    assert one["parent"] == two["parent"] != os.getpid()
    assert one["pid"] != two["pid"]
    assert one["pid"] == one["group"]
    assert "secret" not in str(one["environment"])
    assert one["environment"] | {"HOME": ""} == two["environment"] | {"HOME": ""}  # type: ignore[operator]
    assert one["folder"] == one["environment"]["HOME"] != two["folder"]  # type: ignore[index]
    assert not set(one["random"]) & set(two["random"])  # type: ignore[call-overload]


def test_giving_one_model_up_leaves_the_other_alone(tmp_path: Path) -> None:
    stuck = write_model(tmp_path / "stuck", "time.sleep(60)")
    fine = write_model(tmp_path / "fine", "time.sleep(0.3)")
    first, second = (fork_answer(write_request(model), env=PASSED, folder=model) for model in (stuck, fine))
    process = wait_for(stuck)
    first.kill()
    assert not process.is_running()
    assert finish(second) == 0
    assert json.loads((fine / "result.json").read_text())["example"] is False


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("sys.exit(7)", 7),
        ("os.kill(os.getpid(), 9)", -9),
        ("raise KeyboardInterrupt", 1),
        ("os.kill(os.getppid(), 9); time.sleep(60)", -9),
    ],
)
def test_a_model_that_ends_its_process_says_how_and_the_next_one_is_asked_all_the_same(
    tmp_path: Path, work: str, code: int
) -> None:
    model = write_model(tmp_path / "model", work)
    with pytest.raises(ArtifactError, match=f"ended with code {code}"):
        run_model(model, scratch=tmp_path)
    assert has_ended(int(str(read_facts(model)["pid"])))
    run_model(write_model(tmp_path / "next"), scratch=tmp_path)


def test_nothing_is_left_when_the_asker_is_killed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "time.sleep(60)")
    request = str(write_request(model))
    script = (
        "import sys, time; from pathlib import Path; from registry.nursery import fork_answer\n"
        f"line = fork_answer(Path({request!r}), env={PASSED!r}, folder=Path({str(model)!r}))\n"
        "time.sleep(60)"
    )
    asker = subprocess.Popen([sys.executable, "-c", script])
    wait_for(model)
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    facts = read_facts(model)
    assert has_ended(int(str(facts["pid"])))
    assert has_ended(int(str(facts["parent"])))


def test_an_idle_nursery_ends_and_takes_no_more(tmp_path: Path) -> None:
    nursery = _Nursery(PASSED, idle_s=0.05)
    model = write_model(tmp_path / "model")
    assert finish(nursery.fork(write_request(model), model)) == 0
    assert has_ended(int(str(read_facts(model)["parent"])))
    with pytest.raises(OSError, match="Broken pipe"):
        nursery.fork(write_request(model), model)
    nursery.end()


def test_another_environment_gets_another_nursery(tmp_path: Path) -> None:
    parents = set()
    for name, more in (("one", {}), ("two", {"LANG": "C.UTF-8"}), ("one again", {})):
        model = write_model(tmp_path / name)
        env = PASSED | more
        assert finish(fork_answer(write_request(model), env=env, folder=model)) == 0
        parents.add(read_facts(model)["parent"])
    assert len(parents) == 2
