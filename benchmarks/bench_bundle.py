"""A bundle out and in: SQLite to PostgreSQL and S3 and back, the time for 100 MB, and 1,000 flipped bits.

Whole commands are timed, their start included, beside a bare copy of the same file. Fails if an answer to
1,000 rows differs in a bit, ``verify`` finds anything, a folder of this machine is named, a flipped bit
passes, or a command takes 60 s. Quick look: ``FLIPS=100 MEGABYTES=10``.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlflow.sklearn
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry import STAGING, Ledger, PromotionRequest, Server, Settings, TamperedError, promote, start_server
from registry.bundle.content import open_bundle
from registry.stores.client import ClientStore
from registry.stores.making import Maker
from tests.fixtures.postgres import running_postgres
from tests.fixtures.s3 import running_s3

FLIPS = int(os.environ.get("FLIPS", "1000"))
MEGABYTES = int(os.environ.get("MEGABYTES", "100"))
ROWS = 1_000
LIMIT_S = 60.0
LARGE, SMALL = "large", "small"
BIN = Path(sys.executable).parent


def main() -> None:
    """Prints everything."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    try:
        with ExitStack() as stack:
            home = f"sqlite:///{folder / 'home.db'}"
            rows = make_models(home, folder)
            away = start_away(stack, folder)
            measure_trips(home, away.uri, f"sqlite:///{folder / 'back.db'}", rows, folder)
            count_flips(home, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_models(uri: str, folder: Path) -> pd.DataFrame:
    """A small model in staging, and the same with a large file beside it; returns rows to ask."""
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, target)
    os.chdir(folder)
    settings = Settings(tracking_uri=uri, registry_uri=uri)
    store, maker = ClientStore(uri), Maker(settings)
    experiment_id = store.create_experiment("training", {})
    for name in (SMALL, LARGE):
        place = folder / f"model-{name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model,
                place,
                serialization_format="skops",
                input_example=features.head(2),
                pip_requirements=[f"mlflow=={mlflow.__version__}"],
                pyfunc_predict_fn="predict_proba",
            )
        if name == LARGE:
            (place / "weights.bin").write_bytes(os.urandom(MEGABYTES * 1_000_000))
        maker.create_model(name, "")
        run_id = maker.create_run(experiment_id, name, "bench", 0)
        maker.finish_run(run_id, "FINISHED", None)
        model_id = maker.create_logged_model(experiment_id, name, run_id, {})
        store.upload_logged_model(model_id, str(place))
        maker.finish_logged_model(model_id)
        maker.create_version(name, model_id, run_id, {}, "")
        assert promote(Ledger(store, name), PromotionRequest(name, STAGING)).verdict == "yes"
    rows: pd.DataFrame = features.sample(ROWS, replace=True, random_state=1)
    return rows


def start_away(stack: ExitStack, folder: Path) -> Server:
    """MLflow's server with PostgreSQL beside it and S3 behind it."""
    s3, postgres = stack.enter_context(running_s3()), stack.enter_context(running_postgres(folder))
    os.environ.update(s3.environment)
    return stack.enter_context(
        start_server(
            backend_store_uri=postgres.create_database(),
            artifacts=f"s3://{s3.bucket}/mlflow",
            folder=folder,
            log=folder / "log",
        )
    )


def measure_trips(home: str, away: str, back: str, rows: pd.DataFrame, folder: Path) -> None:
    """Out and in, twice."""
    print(f"A version of {MEGABYTES} MB, whole commands")
    first = predict(home, rows)
    for start, end, what in (
        (home, away, "SQLite to PostgreSQL and S3"),
        (away, back, "PostgreSQL and S3 to SQLite"),
    ):
        bundle = folder / "bundle"
        out_s, out = run(start, "export", f"{LARGE}@staging", str(bundle))
        began = time.perf_counter()
        shutil.copyfile(bundle, folder / "copy")
        copy_s = time.perf_counter() - began
        in_s, _ = run(end, "import", str(bundle), "--digest", out["digest"], "--to", "staging")
        check(max(out_s, in_s) < LIMIT_S, "a command took too long")
        check(np.array_equal(predict(end, rows), first), "an answer differs")
        check(run(end, "verify", LARGE)[1]["findings"] == [], "verify found something")
        check(not names_a_folder(bundle, folder), "the bundle names a folder of this machine")
        print(
            f"  {what:<30} export {out_s:5.1f} s   import --to staging {in_s:5.1f} s   copy {copy_s:5.2f} s"
        )
    print(f"  {ROWS:,} rows bit-equal at every place; verify clean; no folder of this machine named")


def count_flips(home: str, folder: Path) -> None:
    """Flips a bit anywhere in a bundle, again and again."""
    bundle = folder / "small.bundle"
    run(home, "export", f"{SMALL}@staging", str(bundle))
    whole, chance, refused = bundle.read_bytes(), random.Random(2), 0  # noqa: S311 - a place to damage
    for _ in range(FLIPS):
        place = chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        bundle.write_bytes(damaged)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                open_bundle(bundle, Path(scratch))
            except TamperedError:
                refused += 1
    print(f"One flipped bit anywhere in {len(whole):,} bytes: refused {refused:,} of {FLIPS:,}")
    check(refused == FLIPS, "a flipped bit passed")


def run(uri: str, *words: str) -> tuple[float, dict[str, Any]]:
    """Seconds of one command of ``greenroom``, and its document."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(BIN / "greenroom"), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri},
    )
    seconds = time.perf_counter() - began
    check(done.returncode == 0, f"greenroom {words[0]} said {done.stdout} {done.stderr[-1000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return seconds, document


def predict(uri: str, rows: pd.DataFrame) -> Any:
    """Plain MLflow's answers by the version in staging."""
    mlflow.set_tracking_uri(uri)
    return np.asarray(mlflow.pyfunc.load_model(f"models:/{LARGE}@{STAGING}").predict(rows))


def names_a_folder(bundle: Path, folder: Path) -> bool:
    """Another way of looking than the exporter's: any absolute path in what can be read."""
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = open_bundle(bundle, Path(scratch)).folder
        texts = [
            path.read_bytes() for path in unpacked.rglob("*") if path.is_file() and path.suffix != ".bin"
        ]
    known = [str(folder).encode(), str(Path.home()).encode() + b"/"]
    loose = re.compile(rb'["\' =]/(?!/)[\w.-]+/[\w./-]+')
    return any(loose.search(text) or any(name in text for name in known) for text in texts)


def check(is_fine: bool, otherwise: str) -> None:
    """Ends the benchmark where a promise is broken."""
    if not is_fine:
        sys.exit(f"FAILED: {otherwise}")


if __name__ == "__main__":
    main()
