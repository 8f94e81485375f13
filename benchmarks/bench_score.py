"""Batch scoring beside a plain loop: `score-model` local and on Dask against pyarrow batches and `predict`.

Synthetic rows of eight numbers in a Parquet file, 2 to the 18th per row group; a linear model, whose answers
cost next to nothing, so that everything around them shows, and a boosting of 100 trees. The plain loop is
what people write: `iter_batches`, `to_pandas`, `predict`, `ParquetWriter`, in one process, one thread. Every
contender is a program of its own, timed from its start to its end, imports included; rounds are interleaved.
"No start" is the rate of the rows that the large file has beyond the small one; CPU is what all processes of
a contender took together. Memory is the peak of all of them (proportional set size), at ROWS / 5 and at ROWS.

Then KILLS times: a job of 40 parts, the driver or one of its workers killed at a random moment of scoring,
the same command again, and every row must be there exactly once, with the answer it should have.

5 million rows, 3 rounds and 20 kills take about fifteen minutes; ROWS=500000 ROUNDS=1 KILLS=2 for a quick
look, ROUNDS=0 for kills alone. Fails if the local engine is slower than the loop, if memory grows with the
rows, or if a row is lost, doubled or answered otherwise.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from registry.server import start_server

ROWS: Final = int(os.environ.get("ROWS", "5000000"))
ROUNDS: Final = int(os.environ.get("ROUNDS", "3"))
KILLS: Final = int(os.environ.get("KILLS", "20"))
KILLED_PARTS: Final = 40
KILLED_ROWS: Final = 20_000
"""Of each part."""
COLUMNS: Final = 8
BIN: Final = Path(sys.executable).parent
MAX_GROWTH: Final = 1.25
"""Of the peak memory, from a fifth of the rows to all of them."""
NAMES: Final = [f"x{number}" for number in range(COLUMNS)]

LOOP: Final = """
import sys
import mlflow.pyfunc, pyarrow as pa, pyarrow.parquet as pq
model = mlflow.pyfunc.load_model(sys.argv[1], suppress_warnings=True)
writer = None
for batch in pq.ParquetFile(sys.argv[2]).iter_batches(32768, use_threads=False):
    answers = pa.table({"prediction": model.predict(batch.to_pandas())})
    writer = writer or pq.ParquetWriter(sys.argv[3], answers.schema)
    writer.write_table(answers)
writer.close()
"""
"""What people write."""

ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Ran:
    """A contender that ran to its end."""

    seconds: float
    peak_mb: float
    cpu_s: float


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    folder: Path
    uri: str

    @property
    def env(self) -> dict[str, str]:
        """Leads to the MLflow of this benchmark."""
        return {
            **os.environ,
            **ENVIRONMENT,
            "MLFLOW_TRACKING_URI": self.uri,
            "GREENROOM_CACHE_DIR": str(self.folder / "cache"),
        }

    def score(self, model: str, rows: Path, *options: str) -> list[str]:
        """The command under test; into the folder `out`."""
        script = str(BIN / "score-model")
        return [script, model, "--input", str(rows), "--output", str(self.folder / "out"), *options]

    def loop(self, model: str, rows: Path) -> list[str]:
        """The plain loop; into a file."""
        return [
            sys.executable,
            "-c",
            LOOP,
            f"models:/{model}@production",
            str(rows),
            str(self.folder / "plain"),
        ]


def main() -> int:
    """Measures and prints; 1 if a promise is broken."""
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-score-")))
        database = f"sqlite:///{folder / 'mlflow.db'}"
        server = stack.enter_context(
            start_server(backend_store_uri=database, folder=folder, log=folder / "server.log")
        )
        place = Place(folder, server.uri)
        register_models(place)
        broken = measure_all(place) if ROUNDS else []
        broken.append(kill(place) if KILLS else False)
    return int(any(broken))


def measure_all(place: Place) -> list[bool]:
    """One table per model; whether a promise is broken."""
    small, large = place.folder / "small.parquet", place.folder / "large.parquet"
    write_rows(small, ROWS // 5)
    write_rows(large, ROWS)
    return [compare(place, model, small, large) for model in ("linear", "boosting")]


def register_models(place: Place) -> None:
    """Two models, in production by alias."""
    os.environ.update({name: value for name, value in place.env.items() if name.startswith("MLFLOW")})
    import mlflow  # noqa: PLC0415 - after the settings
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from skops.io import dumps, get_untrusted_types  # noqa: PLC0415

    rows = make_rows(10_000, seed=0)
    truth = (rows["x0"] + rows["x1"] ** 2 > 1).astype("int64")
    mlflow.set_experiment("bench")
    models = {"linear": LogisticRegression(), "boosting": HistGradientBoostingClassifier()}
    for name, model in models.items():
        model.fit(rows, truth)
        with mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                input_example=rows.head(),
                pip_requirements=["scikit-learn"],
                registered_model_name=name,
                skops_trusted_types=get_untrusted_types(data=dumps(model)),
            )
        version = str(logged.registered_model_version)
        mlflow.MlflowClient().set_registered_model_alias(name, "production", version)


def make_rows(rows: int, *, seed: int) -> pd.DataFrame:
    """Numbers without meaning."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.normal(size=rows) for name in NAMES})


def write_rows(path: Path, rows: int) -> None:
    """Rows in row groups of 2 to the 18th."""
    group, schema = 1 << 18, pa.schema([(name, pa.float64()) for name in NAMES])
    with pq.ParquetWriter(path, schema) as writer:
        for number, start in enumerate(range(0, rows, group)):
            table = make_rows(min(group, rows - start), seed=number + 1)
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))


def compare(place: Place, model: str, small: Path, large: Path) -> bool:
    """Prints a table of all contenders; returns whether a promise is broken."""
    contenders: dict[str, Any] = {
        "plain loop": lambda rows: place.loop(model, rows),
        "local, 1 worker": lambda rows: place.score(model, rows, "--workers", "1"),
        "local, 2 workers": lambda rows: place.score(model, rows, "--workers", "2"),
        "dask, 1 worker": lambda rows: place.score(model, rows, "--engine", "dask", "--workers", "1"),
        "dask, 2 workers": lambda rows: place.score(model, rows, "--engine", "dask", "--workers", "2"),
    }
    run(place, contenders["local, 1 worker"](small))  # downloads to the cache, and makes the experiment
    found: dict[str, dict[str, list[Ran]]] = {name: {"small": [], "large": []} for name in contenders}
    for _ in range(ROUNDS):
        for name, command in contenders.items():
            found[name]["small"].append(run(place, command(small)))
            found[name]["large"].append(run(place, command(large)))
    print(f"\n{model}, {ROWS:,} rows, medians of {ROUNDS}")
    print(f"{'':<18}  seconds  CPU s    rows/s   no start  start s  MB, 1/5    MB  ratio")
    plain = median_seconds(found["plain loop"]["large"])
    ratios, growths = {}, {}
    for name, by_size in found.items():
        few, all_of_them = median_seconds(by_size["small"]), median_seconds(by_size["large"])
        rate = (ROWS - ROWS // 5) / max(all_of_them - few, 1e-9)
        small_mb, large_mb = (max(ran.peak_mb for ran in by_size[size]) for size in ("small", "large"))
        pairs = zip(found["plain loop"]["large"], by_size["large"], strict=True)
        ratios[name] = statistics.median(one.seconds / other.seconds for one, other in pairs)
        growths[name] = large_mb / small_mb
        cpu = statistics.median(ran.cpu_s for ran in by_size["large"])
        print(
            f"{name:<18}{all_of_them:9.1f}{cpu:7.1f}{ROWS / all_of_them:10,.0f}{rate:11,.0f}"
            f"{few - ROWS // 5 / rate:9.1f}{small_mb:9.0f}{large_mb:6.0f}{ratios[name]:7.2f}"
        )
        if name in {"plain loop", "local, 2 workers"}:
            hours = (few - ROWS // 5 / rate + 100e6 / rate) / 3600
            print(f"{'':<18}100 million rows at this rate: {hours:.2f} h")
    print(f"ratio: the plain loop's {plain:.1f} s over theirs, round by round, start included")
    return ratios["local, 2 workers"] < 1 or growths["local, 2 workers"] > MAX_GROWTH


def median_seconds(ran: Sequence[Ran]) -> float:
    """Of several runs."""
    return statistics.median(one.seconds for one in ran)


def run(place: Place, command: Sequence[str]) -> Ran:
    """Runs a contender into an empty place; fails if it fails."""
    shutil.rmtree(place.folder / "out", ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=place.env, cwd=place.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peak, cpu = [0.0], dict[int, float]()
    watcher = threading.Thread(target=watch, args=(process.pid, peak, cpu), daemon=True)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {errors.decode()[-2000:]}")
    return Ran(seconds, peak[0], sum(cpu.values()))


def watch(pid: int, peak: list[float], cpu: dict[int, float]) -> None:
    """Keeps the peak memory of a process and all it started, in MB of 2^20, and their CPU seconds."""
    while psutil.pid_exists(pid):
        try:
            parent = psutil.Process(pid)
            if parent.status() == psutil.STATUS_ZOMBIE:
                return
            family = [parent, *parent.children(recursive=True)]
        except psutil.Error:
            return
        peak[0] = max(peak[0], sum(map(measure, family)) / 2**20)
        for one in family:
            with suppress(psutil.Error):
                times = one.cpu_times()
                cpu[one.pid] = times.user + times.system
        time.sleep(0.1)


def measure(process: psutil.Process) -> float:
    """Bytes; 0 of one that is just ending."""
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0


def kill(place: Place) -> bool:
    """Kills, and does it again; returns whether a row was lost, doubled or answered otherwise."""
    rows = place.folder / "killed"
    rows.mkdir()
    for number in range(KILLED_PARTS):
        table = make_rows(KILLED_ROWS, seed=100 + number)
        table.to_parquet(rows / f"{number:02d}.parquet", index=False)
    command = place.score("linear", rows, "--workers", "2", "--batch-rows", "500")
    run(place, command)
    expected, record = read_answers(place), read_record(place)
    scoring_s = record["rows_read"] / record["rows_per_s"]
    rng, bad, found = random.Random(1), 0, []  # noqa: S311 - moments to kill at
    for number in range(KILLS):
        victim = ("driver", "worker")[number % 2]
        delay = rng.uniform(0.0, scoring_s)
        kill_once(place, command, victim, delay)
        record, same = read_record(place), read_answers(place).equals(expected)
        bad += not same
        found.append(record["resumed_parts"])
        there = f"{record['resumed_parts']} of {record['parts']} parts were there"
        what = "every row once" if same else "WRONG"
        print(f"{victim} killed {delay:4.1f} s after the first part was begun: {there}; {what}", flush=True)
    print(f"{KILLS - bad} of {KILLS} times every row was there once; parts found: {sorted(found)}")
    return bool(bad)


def kill_once(place: Place, command: Sequence[str], victim: str, delay_s: float) -> None:
    """One job that loses a process while it scores, and the same command again."""
    shutil.rmtree(place.folder / "out", ignore_errors=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=place.env, cwd=place.folder, **quiet)
    while not (place.folder / "out" / "_greenroom.begun.json").exists() and process.poll() is None:
        time.sleep(0.01)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)
    if victim == "driver":
        process.kill()
    elif process.poll() is None:
        strike_worker(process.pid)
    process.wait()
    done = subprocess.run(command, env=place.env, cwd=place.folder, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"the rerun failed: {done.stderr.decode()[-2000:]}")


def read_record(place: Place) -> Mapping[str, Any]:
    """Of the last job."""
    found: Mapping[str, Any] = json.loads((place.folder / "out" / "_greenroom.json").read_text("utf-8"))
    return found


def strike_worker(pid: int) -> None:
    """Kills one of the processes behind the driver: a worker, or the one that starts them."""
    with suppress(psutil.Error, IndexError):
        random.choice(psutil.Process(pid).children(recursive=True)).kill()  # noqa: S311 - any


def read_answers(place: Place) -> pd.DataFrame:
    """All rows of the output, in the order of where they come from."""
    frames = list(_read_parts(place.folder / "out"))
    return pd.concat(frames).sort_values(["_file", "_row"], ignore_index=True)


def _read_parts(folder: Path) -> Iterator[pd.DataFrame]:
    for path in sorted(folder.glob("part-*.parquet")):
        yield pd.read_parquet(path).astype({"_file": str})


if __name__ == "__main__":
    sys.exit(main())
