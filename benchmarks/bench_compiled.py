"""What one request costs inside a worker: a compiled plan beside MLflow's own scoring code, in turns.

No HTTP: a body is read and answered. Prints medians over rounds that alternate between the two, and their
ratio; then what each further layer of a model adds. Imports, training and compiling are left out. Takes about
two minutes; SECONDS=0.02 for a quick look.
"""

import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import mlflow.sklearn
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from serving.compiled.compiler import compile_artifact
from serving.compiled.plan import MEDIA_TYPE, Plan, open_plan
from serving.scoring import NativeScorer
from training import Job, plan_training
from training.fitting import make_features
from training.package import write_package
from training.trainer import fit_model

ROUNDS: Final = 7
ROUND_S: Final = float(os.environ.get("SECONDS", "0.2"))
TRAINED_ON: Final = 2000
NAMES: Final = [f"x{number}" for number in range(10)]


def main() -> int:
    """Prints one line per model and number of rows."""
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    sys.stdout.write(f"{'model':28}{'rows':>6}{'native':>12}{'compiled':>12}{'ratio':>8}{'compiling':>12}\n")
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as scratch:
        for number, (name, model, table, truth) in enumerate(list_models()):
            artifact, out = Path(scratch) / f"m{number}", Path(scratch) / f"plan{number}"
            mlflow.sklearn.save_model(
                model.fit(table, truth),
                artifact,
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
                input_example=table.head(4),
            )
            report = compile_artifact(artifact, out)
            plan, native = open_plan(out), NativeScorer.load(artifact)
            for rows in (1, 100):
                compare(name, plan, native, table.head(rows), report.duration_s)
        compare_layers(Path(scratch))
    return 0


def list_models() -> Iterator[tuple[str, Any, pd.DataFrame, Any]]:
    """Name, unfitted model, rows, truth."""
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(TRAINED_ON, len(NAMES))), columns=NAMES)
    late = (numbers["x0"] + numbers["x1"] ** 2 + rng.normal(size=TRAINED_ON) > 1).astype(int)
    mixed = numbers[NAMES[:5]].assign(
        place=rng.choice([f"p{number}" for number in range(80)], TRAINED_ON),
        kind=rng.choice(["red", "green", "blue"], TRAINED_ON),
    )
    texts = ["place", "kind"]
    onehot = ColumnTransformer(
        [("texts", OneHotEncoder(handle_unknown="ignore"), texts), ("numbers", StandardScaler(), NAMES[:5])]
    )
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    ordinal = ColumnTransformer([("texts", codes, texts)], remainder="passthrough")
    yield "linear, 10 numbers", make_pipeline(StandardScaler(), LogisticRegression()), numbers, late
    yield "linear, mixed table", make_pipeline(onehot, LogisticRegression(max_iter=500)), mixed, late
    yield "histogram boosting, mixed", make_pipeline(ordinal, HistGradientBoostingClassifier()), mixed, late
    yield "gradient boosting", GradientBoostingClassifier(), numbers, late
    yield "forest of 100", RandomForestClassifier(100, random_state=0), numbers, late
    yield "network", make_pipeline(StandardScaler(), MLPClassifier(max_iter=30)), numbers, late


def compare(name: str, plan: Plan, native: NativeScorer, table: pd.DataFrame, compiling_s: float) -> None:
    """Times both in turns, and prints the line."""
    split = table.to_dict(orient="split", index=False)
    body = json.dumps({"dataframe_split": split}).encode()

    def ask_plan() -> None:
        batch = plan.parse(body, MEDIA_TYPE)
        assert batch is not None
        plan.run([batch])

    rounds = [
        (time_calls(lambda: native.score(body, MEDIA_TYPE)), time_calls(ask_plan)) for _ in range(ROUNDS)
    ]
    theirs, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    times = f"{theirs:>9.0f} µs{ours:>9.1f} µs{theirs / ours:>7.0f}×{compiling_s:>10.2f} s"
    sys.stdout.write(f"{name:28}{len(table):>6}{times}\n")


def compare_layers(scratch: Path) -> None:
    """One boosting with one layer more than the plain one, each."""
    table, weather = make_flights()
    weather.to_parquet(scratch / "weather.parquet")
    lookup = {"source": str(scratch / "weather.parquet"), "on": {"place": "place"}, "columns": ["wind"]}
    features: dict[str, Any] = {"numeric": NAMES[:5], "categorical": ["place", "kind"]}
    layers: dict[str, dict[str, Any]] = {
        "layers: features alone": {"contract": {"mode": "off"}},
        "+ contract, refusing": {"contract": {"mode": "refuse", "rules": ["x0 < 99", "place != kind"]}},
        "+ lookup as of a moment": {"features": {**features, "lookup": [{**lookup, "as_of": {"at": "at"}}]}},
        "+ calibration, threshold": {"answer": {"calibrate": "isotonic", "cost": {"miss": 3}}},
        "+ guard of 2,000 rows": {"guard": {}},
    }
    plain = layers["layers: features alone"]
    for number, (name, sections) in enumerate(layers.items()):
        artifact = train(table, scratch / f"layers{number}", {"features": features, **plain, **sections})
        report = compile_artifact(artifact, scratch / f"layered{number}")
        plan, native = open_plan(scratch / f"layered{number}"), NativeScorer.load(artifact)
        sent = table.head(100).assign(at=table["at"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
        layer = json.loads((artifact / "artifacts" / "parts" / "layers.json").read_text("utf-8"))
        sent = sent[[column["name"] for column in layer["columns"]]]
        for rows in (1, 100):
            compare(name, plan, native, sent.head(rows), report.duration_s)


def make_flights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A mixed table with moments and a target, and hourly values by place."""
    rng = np.random.default_rng(1)
    count = 2 * TRAINED_ON
    table = pd.DataFrame(rng.normal(size=(count, 5)), columns=NAMES[:5]).assign(
        place=rng.choice([f"p{number}" for number in range(80)], count),
        kind=rng.choice(["red", "green", "blue"], count),
        at=pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 30 * 86_400, count), unit="s"),
    )
    table["late"] = (table["x0"] + table["x1"] ** 2 + rng.normal(size=count) > 1).astype(int)
    hours = pd.date_range("2026-01-01", periods=30 * 24, freq="h")
    weather = pd.MultiIndex.from_product([table["place"].unique(), hours], names=["place", "at"]).to_frame()
    return table, weather.assign(wind=rng.normal(size=len(weather))).reset_index(drop=True)


def train(table: pd.DataFrame, folder: Path, sections: dict[str, Any]) -> Path:
    """The artifact that ``train-model`` would make."""
    plan = plan_training(Job.from_frame(table, name="layers", target="late", **sections))
    fitted = fit_model(plan, make_features(plan, plan.rows.iloc[plan.split.train]))
    return write_package(folder, plan, fitted, model_id="m-1", run_id="1").folder


def time_calls(call: Callable[[], object]) -> float:
    """Microseconds per call, over one round."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < ROUND_S:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls * 1e6


if __name__ == "__main__":
    sys.exit(main())
