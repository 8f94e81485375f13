"""What one request costs inside a worker: a compiled plan beside MLflow's own scoring code, in turns.

No HTTP: a body is read and answered. Prints medians over rounds that alternate between the two, and their
ratio. Imports, training and compiling are left out. Takes about a minute.
"""

import json
import logging
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

ROUNDS: Final = 7
ROUND_S: Final = 0.2
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


def time_calls(call: Callable[[], object]) -> float:
    """Microseconds per call, over one round."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < ROUND_S:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls * 1e6


if __name__ == "__main__":
    sys.exit(main())
