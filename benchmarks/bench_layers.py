"""Whether all ways to ask a model agree, on 10,000 flights, with everything that a model can carry.

One job on the flights of `examples/flights`: weather looked up by exact keys and as of a moment (out of a
database), a contract that refuses, a guard, calibrated probabilities, a threshold for its costs, labels.
Asked in one batch (`pyfunc.predict`), and row by row over HTTP: `serve-model` by its compiled plan,
`serve-model` by MLflow's own code, `mlflow models serve`. Fails if they disagree: MLflow's own code must be
bit-equal everywhere, the plan must give the same answers and probabilities within 1e-6, and a refused row the
same sentence. Takes about ten minutes; CHECK=1000 for a quick look.
"""

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.server import find_free_port, start_server

if TYPE_CHECKING:
    import pandas as pd

ROWS: Final = int(os.environ.get("CHECK", "10000"))
START_S: Final = 90.0
REFUSED: Final = max(10, ROWS // 50)
"""Rows that the contract refuses, beside the others."""
NAME: Final = "flight-layers"
TOLERANCE: Final = 1e-6
BIN: Final = Path(sys.executable).parent
FLIGHTS: Final = Path(__file__).parent.parent / "examples" / "flights"
JOB: Final = """
[job]
name = "flight-layers"

[data]
source = "python:flights.py:load_flights"
target = "late"
time = "scheduled"

[split]
kind = "time"
train_until = 2013-04-01
evaluate_until = 2013-05-01

[features]
numeric = ["distance"]
categorical = ["carrier", "origin", "dest"]
datetime = { scheduled = ["minute_of_day", "weekday"] }

[[features.lookup]]
source = "python:flights.py:load_weather"
on = { origin = "origin", scheduled = "hour" }
floor = "hour"
columns = ["humid", "wind_speed", "precip", "visib"]

[[features.lookup]]
source = "sqlite:///weather.db"
query = "SELECT origin, hour AS seen, pressure, dewp FROM weather WHERE strftime('%H', hour) % 3 = 0"
on = { origin = "origin" }
as_of = { scheduled = "seen" }
max_age = "2h"
columns = ["pressure", "dewp"]
prefix = "last_"

[contract]
mode = "refuse"

[guard]
false_refusal = 0.02

[answer]
labels = { "0" = "on time", "1" = "late" }
calibrate = "isotonic"
cost = { miss = 3 }

[model]
estimator = "sklearn.ensemble.HistGradientBoostingClassifier"
output = "full"
params = { max_iter = 100, min_samples_leaf = 200 }
"""


@dataclass(frozen=True)
class Reply:
    """One answer over HTTP."""

    status: int
    document: Any

    @property
    def refusal(self) -> str:
        """The contract's sentence; MLflow puts the rows before it."""
        return str(self.document["message"]).rpartition("Error: ")[2]


def main() -> int:
    """Prints one line per way to ask; exit 1 if they disagree."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch:
        folder = Path(scratch)
        database = f"sqlite:///{folder / 'mlflow.db'}"
        with start_server(backend_store_uri=database, folder=folder, log=folder / "server.log") as server:
            os.environ["MLFLOW_TRACKING_URI"] = server.uri
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
            return run(folder)


def run(folder: Path) -> int:
    """Trains, starts the servers, asks, compares."""
    artifact = train(folder)
    good, bad = choose_flights(artifact)
    say(f"Answering {len(good):,} flights in one batch ...")
    batch, alone = predict_batch(artifact, good), {}
    with ExitStack() as stack:
        ours = stack.enter_context(start([BIN / "serve-model", NAME], folder))
        mlflow = [BIN / "mlflow", "models", "serve", "-m", f"models:/{NAME}@production"]
        theirs = stack.enter_context(start([*mlflow, "--env-manager", "local"], folder))
        info = json.loads(fetch(ours, "/info"))
        if info["engine"] != "compiled":
            raise RuntimeError(f"the version is served {info['engine']}: {info['engine_reason']}")
        ways = {
            "serve-model, compiled": (ours, {}),
            "serve-model, native": (ours, {"index": ["left to MLflow"]}),
            "mlflow models serve": (theirs, {}),
        }
        for way, (port, more) in ways.items():
            say(f"Asking {way}, one row at a time ...")
            began_s = time.monotonic()
            alone[way] = [ask(port, rows, more) for rows in ([row] for row in list_rows(good))]
            took_ms = (time.monotonic() - began_s) / len(good) * 1000
            refused = [ask(port, [row], more) for row in list_rows(bad)]
            alone[way] += refused
            sys.stdout.write(f"{way:24} {took_ms:8.2f} ms a row\n")
    sys.stdout.write(f"{len(good):,} flights; {info['engine_reason']}\n")
    return report(batch, alone, len(good))


def train(folder: Path) -> Path:
    """Runs the job; returns the artifact."""
    import mlflow  # noqa: PLC0415 - after the tracking server's address is known

    say("Training ...")
    shutil.copy(FLIGHTS / "flights.py", folder)
    sys.path.insert(0, str(FLIGHTS))
    from flights import load_weather  # noqa: PLC0415 - the example's

    with closing(sqlite3.connect(folder / "weather.db")) as database:
        load_weather().to_sql("weather", database, index=False)
    (folder / "job.toml").write_text(JOB)
    subprocess.run([BIN / "train-model", "job.toml"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    mlflow.MlflowClient().set_registered_model_alias(NAME, "production", "1")
    return Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=str(folder / "artifact")))


def choose_flights(artifact: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Flights of April to December, evenly over them: those that the contract lets through, and others."""
    from flights import load_flights  # noqa: PLC0415 - the example's

    from registry import find_bad_rows, parse_contract  # noqa: PLC0415 - pandas

    contract = parse_contract((artifact / "artifacts" / "parts" / "contract.json").read_text())
    flights = load_flights()[list(contract.columns)]
    flights = flights[flights["scheduled"] >= "2013-04-01"].astype({"distance": float})
    is_bad = find_bad_rows(contract, flights)
    good, bad = flights[~is_bad], flights[is_bad]
    return good.iloc[:: max(1, len(good) // ROWS)].head(ROWS), bad.iloc[:: max(1, len(bad) // REFUSED)].head(
        REFUSED
    )


def predict_batch(artifact: Path, rows: "pd.DataFrame") -> list[dict[str, Any]]:
    """What ``pyfunc.predict`` says about all rows at once, as values that JSON has."""
    import mlflow.pyfunc  # noqa: PLC0415 - slow import

    answers = mlflow.pyfunc.load_model(str(artifact)).predict(rows, params={"output": "full"})
    return list(json.loads(json.dumps(answers.to_dict(orient="records"), default=_to_json)))


def _to_json(value: Any) -> Any:
    return value.item()  # NumPy's


def list_rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    text = frame.assign(scheduled=frame["scheduled"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    columns = {str(name): text[name].tolist() for name in text}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_CONNECTIONS: dict[int, http.client.HTTPConnection] = {}


def ask(port: int, rows: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> Reply:
    """One request on a connection that is kept."""
    split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows], **more}
    body = json.dumps({"dataframe_split": split}).encode()
    connection = _CONNECTIONS.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=60))
    connection.request("POST", "/invocations", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    return Reply(answer.status, json.loads(answer.read()))


@contextmanager
def start(command: Sequence[Any], folder: Path) -> Iterator[int]:
    """Runs a server on a free port, with one thread per numeric library; stops all of it."""
    port = find_free_port()
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"  # MLflow starts uvicorn by its name
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, "GREENROOM_CACHE_DIR": str(folder / "cache")}
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=env,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _is_up(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _is_up(port: int) -> bool:
    try:
        fetch(port, "/ping")
    except OSError:
        return False
    return True


def fetch(port: int, path: str) -> bytes:
    """One GET; OSError if it is not answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise OSError(f"{path} says {answer.status}")
    return body


def say(text: str) -> None:
    """Progress, apart from the figures."""
    sys.stderr.write(f"{text}\n")


def report(batch: Sequence[Any], alone: Mapping[str, Sequence[Reply]], good: int) -> int:
    """One line per way to ask; 1 if one of them is not as it must be."""
    answers = Counter(str(row["answer"]) for row in batch)
    sys.stdout.write(f"answers: {dict(answers)}\n")
    sentences = [reply.refusal for reply in alone["mlflow models serve"][good:]]
    wrong = 0
    for way, replies in alone.items():
        given = [reply.document["predictions"][0] for reply in replies[:good]]
        equal = sum(one == other for one, other in zip(given, batch, strict=True))
        other_answers = sum(not is_same_answer(*pair) for pair in zip(given, batch, strict=True))
        farthest = max(find_distance(*pair) for pair in zip(given, batch, strict=True))
        refusals = [(reply.status, reply.refusal) for reply in replies[good:]]
        same = sum(one == (400, text) for one, text in zip(refusals, sentences, strict=True))
        sys.stdout.write(
            f"{way:24} bit-equal to the batch {equal:,} of {good:,}, other answers {other_answers}, "
            f"largest difference {farthest:.1e}, same refusals {same} of {len(refusals)}\n"
        )
        is_exact = equal == good or way == "serve-model, compiled"
        wrong += not (is_exact and not other_answers and farthest <= TOLERANCE and same == len(refusals))
    return 1 if wrong else 0


def is_same_answer(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether label, *nothing found* and names are the same."""
    decisions = ("answer", "nothing_found")
    return list(one) == list(other) and all(one[key] == other[key] for key in decisions)


def find_distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest difference of two numbers; infinite where one of them is null."""
    numbers = [(one[key], other[key]) for key in one if key.startswith(("probability_", "typicality"))]
    if any((first is None) != (second is None) for first, second in numbers):
        return float("inf")
    return max((abs(first - second) for first, second in numbers if first is not None), default=0.0)


if __name__ == "__main__":
    sys.exit(main())
