"""Models and rows that misbehave while a version is judged."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import ArtifactError, DataError, PromotionRequest, promote
from registry.gates.bootstrap import estimate
from registry.gates.losses import compute_loss
from registry.gates.material import Material
from registry.gates.metric import judge_metric
from registry.hearing import hear
from registry.judging import Case, examine
from registry.ledger.ledger import Ledger
from registry.ledger.state import State
from registry.policy import EvaluationPolicy, MetricPolicy, Policy
from registry.question import find_question
from registry.stores.memory import MemoryStore
from registry.verification import run_model
from tests.registry.conftest import Artifacts

HANGING = """
import pathlib, subprocess, sys, time
import mlflow.pyfunc

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1] * len(model_input)

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({marker!r}).write_text(str(child.pid))
if {hangs!r}:
    time.sleep(60)
mlflow.models.set_model(Model())
"""


def write_model(folder: Path, marker: Path, *, hangs: bool) -> Path:
    """A model from code whose opening starts a child of its own, and may never return."""
    folder.mkdir()
    (folder / "code.py").write_text(HANGING.format(marker=str(marker), hangs=hangs))
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.loaders.code_model\n"
        "    model_code_path: code.py\n    env: {conda: conda.yaml}\n"
    )
    return folder


def is_alive(marker: Path) -> bool:
    process = int(marker.read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    os.kill(process, 9)
    return True


def test_a_model_that_hangs_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    quick = write_model(tmp_path / "quick", tmp_path / "other", hangs=False)
    run_model(quick, scratch=tmp_path)  # whatever is imported once is imported now
    model = write_model(tmp_path / "model", marker, hangs=True)
    with pytest.raises(ArtifactError, match="did not answer within"):
        run_model(model, scratch=tmp_path, timeout_s=5)
    assert not is_alive(marker)


def test_a_child_that_a_model_leaves_behind_does_not_hold_the_promotion_up(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    model = write_model(tmp_path / "model", marker, hangs=False)
    start = time.monotonic()
    run_model(model, scratch=tmp_path, timeout_s=50)
    assert time.monotonic() - start < 40
    assert not is_alive(marker)


def test_ctrl_c_ends_the_model_at_once(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    version = store.add_version("m", str(write_model(tmp_path / "model", marker, hangs=True)))
    case = Case(
        store=store,
        version=version,
        stage="staging",
        state=State("", "m"),
        policy=Policy(trust="author"),
        data=None,
        overridden=False,
        scratch=tmp_path,
        progress=lambda _: None,
    )

    def interrupt() -> None:
        while not marker.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    assert examine(case).is_sound
    with pytest.raises(KeyboardInterrupt):
        hear(case, None)
    assert time.monotonic() - start < 30
    assert not is_alive(marker)


def test_requirements_that_are_no_text_or_name_nothing_are_read_past(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    lines = b"==1.0\n\xff\xfe==2\n" + b"".join(b"nowhere-%d==1.0\n" % place for place in range(500))
    (folder / "requirements.txt").write_bytes(lines)
    store.add_version("m", str(folder))
    outcome = promote(ledger, PromotionRequest(name="m", to="staging"))
    assert outcome.verdict == "no"
    assert "more" in outcome.gates[-1].reason
    assert len(outcome.gates[-1].reason) < 1000


# rows


def judge_error(rows: int, blocks: int) -> Any:
    """The candidate is right everywhere, the holder nowhere."""
    table = pd.DataFrame({"delay": np.zeros(rows), "day": np.arange(rows) % blocks})
    answers = {"holder": pd.DataFrame({"prediction": np.ones(rows)}), "candidate": table[["delay"]]}
    answers["candidate"] = answers["candidate"].set_axis(["prediction"], axis=1)
    material = Material(table, "delay", "regression", (), "day", {"candidate": "2", "holder": "1"}, answers)
    return judge_metric(material, MetricPolicy(), level=0.05, next_level=0.01)[0]


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_few_blocks_prove_nothing_whatever_they_say(blocks: int) -> None:
    """A bootstrap over one row never varies: it was as sure as can be."""
    gate = judge_error(200, blocks)
    assert gate.verdict == "not_enough_data"
    assert "at least 5 are needed" in gate.reason
    assert judge_error(200, 40).verdict == "yes"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows.assign(benign=[None, *rows["benign"][1:]]), "truth is missing"),
        (lambda rows: rows.assign(benign=pd.Timestamp("2026-01-01")), "benign"),
        (lambda rows: rows.drop(columns="benign"), "no column 'benign'"),
        (lambda rows: rows.iloc[:0], "no rows"),
    ],
)
def test_rows_that_cannot_be_judged_by_are_named(
    store: MemoryStore, artifacts: Artifacts, tmp_path: Path, spoil: Any, said: str
) -> None:
    spoil(pd.read_parquet(artifacts.rows)).to_parquet(tmp_path / "rows.parquet")
    version = store.add_version("m", str(artifacts.good))
    policy = Policy(evaluation=EvaluationPolicy(data=str(tmp_path / "rows.parquet"), target="benign"))
    with pytest.raises(DataError, match=said):
        find_question(store, version, policy, None, tmp_path)


def test_as_many_answers_as_rows_are_expected(tmp_path: Path) -> None:
    """One answer too many would shift every comparison; one too few ended in a traceback."""
    model = write_model(tmp_path / "model", tmp_path / "child", hangs=False)
    text = (model / "code.py").read_text().replace("[1] * len(model_input)", "[1] * (len(model_input) + 1)")
    (model / "code.py").write_text(text)
    pd.DataFrame({"a": [1.0, 2.0]}).to_parquet(tmp_path / "rows.parquet")
    answers = run_model(
        model,
        scratch=tmp_path,
        rows=tmp_path / "rows.parquet",
        features=("a",),
        task="regression",
        timeout_s=60,
    )
    assert answers.rows is None
    assert "2 rows were asked, 3 answered" in (answers.rows_error or "")


def test_texts_where_numbers_were_asked_are_named() -> None:
    target = pd.Series([1.0, 2.0], name="delay")
    good, bad = pd.DataFrame({"prediction": [1.0, 2.0]}), pd.DataFrame({"prediction": ["x", "y"]})
    with pytest.raises(DataError, match="delay"):
        compute_loss("squared_error", target, bad, task="regression", classes=())
    missing = pd.Series([1, None], name="delay", dtype="Int64")
    with pytest.raises(DataError, match="Row 1"):
        compute_loss("squared_error", missing, good, task="regression", classes=())


def test_two_hundred_thousand_rows_are_compared_in_seconds() -> None:
    chance = np.random.default_rng(1)
    holder = chance.random(200_000)
    start = time.process_time()
    assert estimate(holder, holder - 0.01, level=0.03).lower > 0
    assert time.process_time() - start < 25
