"""The artifact opens and answers where nobody has heard of Greenroom."""

import json
import shutil
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from registry import Settings
from registry.environment import get_child_environment
from tests.training.conftest import Traces
from training import Job, read_job, train

LOOKUP = (
    "features.lookup=[{source='prices.csv',on={color='color',day='day'},"
    "floor='day',columns=['price','kind']}]"
)


@pytest.fixture
def job(job_file: Path) -> Job:
    """A job with a lookup by text and day, parts of a moment, and missing values."""
    days = pd.date_range("2026-01-01", "2026-01-30")
    table = [
        (color, day, hash(color) % 7 + day.day, "ab"[day.day % 2])
        for color in ("red", "blue")
        for day in days
    ]
    pd.DataFrame(table, columns=["color", "day", "price", "kind"]).to_csv(
        job_file.with_name("prices.csv"), index=False
    )
    return read_job(job_file, [LOOKUP, "features.datetime={day=['weekday','day']}"])


PROBE = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"registry", "training", "serving"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Wall())
import json, mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.read_parquet(sys.argv[2])
answers = [model.predict(rows, params={"output": kind}) for kind in ("answer", "probability", "full")]
print(json.dumps([answers[0].tolist(), answers[1].to_numpy().tolist(), list(answers[2].columns)]))
"""


def test_the_model_answers_equally_in_plain_mlflow_without_our_modules(
    job: Job, rows: pd.DataFrame, settings: Settings, traces: Traces, tmp_path: Path
) -> None:
    result = train(job, settings=settings)
    sent = rows[["size", "noise", "color", "day"]].assign(color=rows["color"].replace("green", "never seen"))
    sent.to_parquet(tmp_path / "sent.parquet")
    moved = shutil.copytree(traces.find_model(), tmp_path / "elsewhere")
    (tmp_path / "probe.py").write_text(PROBE)
    command = [sys.executable, str(tmp_path / "probe.py"), str(moved), str(tmp_path / "sent.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer, probability, columns = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_array_equal(answer, result.pipeline.predict(sent))
    np.testing.assert_array_equal(probability, result.pipeline.predict_proba(sent))
    assert columns == ["answer", "probability_0", "probability_1"]


def test_the_artifact_names_nothing_of_this_machine(
    job: Job, settings: Settings, traces: Traces, tmp_path: Path
) -> None:
    train(job, settings=settings)
    folder = traces.find_model()
    files = [path for path in folder.rglob("*") if path.is_file()]
    guilty = [path.name for path in files if str(tmp_path).encode() in path.read_bytes()]
    assert guilty == []
    names = {path.relative_to(folder).as_posix() for path in files}
    assert {"MLmodel", "layers.py", "artifacts/parts/layers.json", "artifacts/parts/pipeline.skops"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]
    kept = pd.read_parquet(folder / "evaluation" / "rows.parquet")
    assert (len(kept) > 50, "late" in kept.columns, "size" in kept.columns) == (True, False, True)


def test_the_signature_is_what_callers_send(job: Job, settings: Settings, traces: Traces) -> None:
    train(job, settings=settings)
    info = mlflow.models.get_model_info(str(traces.find_model()))
    assert info.signature is not None
    kinds = {column["name"]: column["type"] for column in info.signature.inputs.to_dict()}
    assert kinds == {"size": "double", "noise": "double", "color": "string", "day": "datetime"}
    assert all(column["required"] for column in info.signature.inputs.to_dict())
    assert info.signature.params.to_dict()[0]["name"] == "output"
    requirements = (traces.find_model() / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in requirements)
    assert not [line for line in requirements if "greenroom" in line]


def test_columns_that_were_missing_in_training_may_be_missing_in_a_request(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    holes = rows.assign(
        size=rows["size"].where(rows.index % 9 != 0), color=rows["color"].where(rows.index % 7 != 0)
    )
    flag = (rows["noise"] > 0).astype(object).where(rows.index % 5 != 0, None)
    job = Job.from_frame(holes.assign(flag=flag), name="holes", target="late", split={"kind": "stratified"})
    result = train(job, settings=settings)
    model = mlflow.pyfunc.load_model(str(traces.find_model()))
    schema = {column["name"]: column.get("required") for column in model.metadata.signature.inputs.to_dict()}
    assert schema == {"size": False, "color": False, "noise": True, "flag": False}
    sent = pd.DataFrame({"noise": [0.5]})
    assert model.predict(sent).tolist() == result.pipeline.predict(sent).tolist()
    full = pd.DataFrame(
        {"size": [1.0, None], "color": ["red", None], "noise": [0.5, 0.1], "flag": [True, None]}
    )
    assert model.predict(full).tolist() == result.pipeline.predict(full).tolist()


def test_labels_keep_their_type_and_text_labels_name_their_columns(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    train(
        Job.from_frame(rows.drop(columns="day"), name="text", target="color", model={"output": "full"}),
        settings=settings,
    )
    answers = mlflow.pyfunc.load_model(str(traces.find_model())).predict(rows.drop(columns=["day", "color"]))
    assert list(answers.columns) == ["answer", "probability_blue", "probability_green", "probability_red"]
    assert set(answers["answer"]) <= {"red", "green", "blue"}


def test_a_regression_gives_numbers_and_refuses_probabilities(
    rows: pd.DataFrame, settings: Settings, traces: Traces
) -> None:
    job = Job.from_frame(rows, name="number", target="size", estimator="sklearn.linear_model.Ridge")
    train(job, settings=settings)
    model = mlflow.pyfunc.load_model(str(traces.find_model()))
    sent = rows.drop(columns=["size", "day"])
    assert model.predict(sent).dtype == np.float64
    with pytest.raises(mlflow.MlflowException, match="gives answers without probabilities"):
        model.predict(sent, params={"output": "probability"})
    with pytest.raises(mlflow.MlflowException, match="output must be one of answer, probability, full"):
        model.predict(sent, params={"output": "everything"})


FOREIGN = """
from sklearn.linear_model import LogisticRegression
class Stubborn(LogisticRegression):
    '''An estimator of a third party.'''
"""


def test_an_estimator_that_skops_cannot_store_is_pickled_with_a_warning(
    rows: pd.DataFrame, settings: Settings, traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thirdparty.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    result = train(
        Job.from_frame(rows, name="foreign", target="late", estimator="thirdparty.Stubborn"),
        settings=settings,
    )
    assert "Stubborn cannot be stored without a pickle (thirdparty.Stubborn)" in result.warnings[-1]
    folder = traces.find_model()
    layers = json.loads((folder / "artifacts/parts/layers.json").read_text())
    assert layers["serialization"] == "cloudpickle"
    assert traces.runs[0].data.tags["greenroom.serialization"] == "cloudpickle"
    answers = mlflow.pyfunc.load_model(str(folder)).predict(rows.drop(columns=["late", "day"]))
    assert len(answers) == 300


def test_mlflow_models_serve_answers_the_example(
    job: Job, settings: Settings, traces: Traces, free_port: int, tmp_path: Path
) -> None:
    result = train(job, settings=settings)
    example = json.loads((traces.find_model() / "serving_input_example.json").read_text())
    model = shutil.copytree(traces.find_model(), tmp_path / "served")
    command = [
        str(Path(sys.executable).with_name("mlflow")),
        "models",
        "serve",
        "-m",
        str(model),
        "-p",
        str(free_port),
    ]
    environment = get_child_environment({"PATH": str(Path(sys.executable).parent)})
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--env-manager", "local"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        answers = ask(free_port, example | {"params": {"output": "probability"}}, process)
    finally:
        import os
        import signal

        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    frame = pd.DataFrame(**example["dataframe_split"])
    expected = result.pipeline.predict_proba(frame)
    np.testing.assert_allclose([[row["0"], row["1"]] for row in answers], expected, rtol=0, atol=1e-15)


def ask(port: int, document: dict[str, Any], process: "subprocess.Popen[bytes]") -> list[dict[str, float]]:
    import time

    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return list(json.load(answer)["predictions"])
        except urllib.error.HTTPError as error:
            raise AssertionError(textwrap.shorten(error.read().decode(), 2000)) from error
        except urllib.error.URLError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
