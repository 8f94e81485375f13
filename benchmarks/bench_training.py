"""What training through a job costs over the bare loop: load, join, fit, predict, written by hand.

Two numbers. Logging: the time of ``train()`` beside reading, checking, fitting and judging, which is what
files, pictures, importances, MLflow and registration cost; its limit is 0.5 s. Everything: against the loop
written by hand, which checks nothing and keeps nothing.

All in one process, imports and the making of MLflow's tables aside, interleaved, medians. The rival is the
same bare loop with MLflow's own ``log_model`` and its defaults.
"""

import importlib.util
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from registry import Settings
from training import read_job, train

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"
ROUNDS = 7
LIMIT_S = 0.5
WEATHER = ["humid", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = ["distance", "hour", "weekday", *WEATHER]
CATEGORIES = ["carrier", "origin", "dest"]


def main() -> int:
    """Measures and prints; 1 if the overhead is above the limit."""
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            tracking_uri=f"sqlite:///{folder}/mlflow.db", registry_uri=f"sqlite:///{folder}/mlflow.db"
        )
        logging_s: list[float] = []
        contenders: dict[str, Callable[[], object]] = {
            "bare loop": fit_by_hand,
            "train()": lambda: logging_s.append(train_and_subtract(settings)),
            "bare loop + log_model": lambda: log_by_hand(settings, Path(folder)),
        }
        clocks = measure(contenders)
    for name, times in clocks.items():
        wall, cpu = times.T
        print(f"{name:<24}{np.median(wall):7.2f} s   best {wall.min():.2f} s   CPU {np.median(cpu):.2f} s")
    bare = clocks.pop("bare loop")
    for name, times in clocks.items():
        wall, cpu = np.median(times - bare, axis=0)
        best = times[:, 0].min() - bare[:, 0].min()
        print(f"{name} over bare: {wall:.2f} s (best against best {best:.2f} s, CPU {cpu:.2f} s)")
    print(f"logging: {np.median(logging_s[1:]):.2f} s (best {min(logging_s[1:]):.2f} s, limit {LIMIT_S} s)")
    return int(np.median(logging_s[1:]) > LIMIT_S)


def train_and_subtract(settings: Settings) -> float:
    """Trains; returns the seconds that were neither reading, checking, fitting nor judging."""
    start = time.perf_counter()
    result = train(read_job(FLIGHTS / "job.toml"), settings=settings)
    work = sum(result.durations_s[step] for step in ("read", "check", "fit", "evaluate"))
    return time.perf_counter() - start - work


def measure(contenders: dict[str, Callable[[], object]]) -> dict[str, NDArray[np.float64]]:
    """Wall and CPU seconds, shape (rounds, 2), after one unmeasured round for imports and tables."""
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(ROUNDS + 1):
        for name, run in contenders.items():
            start = time.perf_counter(), time.process_time()
            run()
            if number:
                clocks[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {name: np.array(times) for name, times in clocks.items()}


def fit_by_hand() -> tuple[Any, Any]:
    """The example's job as a data scientist would write it in a notebook."""
    flights = load_example()
    frame = flights.load_flights()
    frame["key"] = frame["scheduled"].dt.floor("h")
    frame["hour"], frame["weekday"] = frame["scheduled"].dt.hour, frame["scheduled"].dt.day_of_week
    weather = flights.load_weather().rename(columns={"hour": "key"})
    frame = frame.merge(weather, on=["origin", "key"], how="left")
    learn = frame[frame["scheduled"] < "2013-04-01"]
    judge = frame[(frame["scheduled"] >= "2013-04-01") & (frame["scheduled"] < "2013-05-01")]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("categories", encoder, CATEGORIES)])
    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=10.0,
        random_state=0,
    )
    pipeline = Pipeline([("columns", columns), ("model", model)]).fit(learn, learn["late"])
    chance = pipeline.predict_proba(judge)[:, 1]
    return pipeline, judge.assign(chance=chance)


def log_by_hand(settings: Settings, folder: Path) -> None:
    """The same, and MLflow's own call as its quick-start has it."""
    import mlflow  # noqa: PLC0415 - after the settings

    pipeline, judge = fit_by_hand()
    mlflow.set_tracking_uri(settings.tracking_uri)
    if mlflow.get_experiment_by_name("by hand") is None:
        mlflow.create_experiment("by hand", (folder / "by-hand").as_uri())
    mlflow.set_experiment("by hand")
    with mlflow.start_run():
        example = pd.DataFrame(judge[[*NUMBERS, *CATEGORIES]].head())
        mlflow.sklearn.log_model(
            pipeline, name="model", input_example=example, serialization_format="cloudpickle"
        )


def load_example() -> ModuleType:
    """The example's module, by path."""
    spec = importlib.util.spec_from_file_location("flights_example", FLIGHTS / "flights.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018 - one fact
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
