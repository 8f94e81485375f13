"""A small model with evaluation rows, and days of predictions in a real log."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import (
    EvaluationRows,
    FixedClock,
    Policy,
    PredictionTable,
    RegistryStore,
    Tag,
    append_predictions,
    format_evaluation,
)
from registry.ledger.ledger import Actor, Ledger
from registry.policy import MonitorPolicy
from registry.stores.memory import MemoryStore
from serving.monitoring.keeping import keep_report
from serving.monitoring.monitor import Monitor
from serving.monitoring.report import Report
from serving.monitoring.supply import Watch
from serving.monitoring.windows import parse_span
from tests.registry.histories import move_to_production

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 400


def draw(seed: int, rows: int, *, shift: float = 0.0, broken: bool = False) -> tuple[pd.DataFrame, Any, Any]:
    """Inputs, the model's probability, and the truth: as the model says, or (broken) the other way round."""
    generator = np.random.default_rng(seed)
    size = generator.normal(shift, 1, rows)
    inputs = pd.DataFrame({"size": size, "kind": generator.choice(["a", "b", "c"], rows)})
    probability = 1 / (1 + np.exp(-1.5 * size))
    happens = 1 - probability if broken else probability
    return inputs, probability, (generator.uniform(size=rows) < happens).astype(float)


def keep_evaluation(store: RegistryStore, folder: Path, rows: int = 2_000) -> str:
    """A training run with its evaluation rows; returns its id."""
    inputs, probability, truth = draw(1, rows)
    table = inputs.assign(
        late=truth.astype(int),
        **{
            "greenroom.prediction": (probability >= 0.5).astype(int),
            "greenroom.probability.0": 1 - probability,
            "greenroom.probability.1": probability,
        },
    )
    path = folder / "evaluation" / "rows.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)
    what = EvaluationRows(
        path="evaluation/rows.parquet",
        target="late",
        task="binary",
        group=None,
        features=("size", "kind"),
        classes=(0, 1),
        rows=rows,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    found = store.find_experiment("training")
    experiment_id = found.experiment_id if found else store.create_experiment("training", {})
    run = store.create_run(experiment_id, "training", {Tag.EVALUATION: format_evaluation(what)})
    store.upload(run.run_id, str(folder))
    store.finish_run(run.run_id)
    return run.run_id


def make_model(folder: Path, versions: int = 2) -> Ledger:
    """A model whose last version is in production, and was not the first there."""
    store = MemoryStore(folder / "runs")
    store.add_model("m")
    ledger = Ledger(store, "m", actor=Actor("tester@here"), clock=FixedClock(FIRST))
    for number in range(versions):
        artifact = folder / f"artifact{number}"
        artifact.mkdir()
        (artifact / "model").write_text(str(number))
        run_id = keep_evaluation(store, folder / f"kept{number}")
        move_to_production(ledger, store.add_version("m", str(artifact), run_id=run_id).version)
    return ledger


def fill_day(
    log: Path,
    day: int,
    *,
    version: str = "2",
    rows: int = ROWS,
    shift: float = 0.0,
    broken: bool = False,
    known: float = 1.0,
    blocks: NDArray[Any] | None = None,
) -> None:
    """A day of predictions, with the truth of a part of them two hours later."""
    inputs, probability, truth = draw(100 + day, rows, shift=shift, broken=broken)
    times = pd.Series(pd.date_range(FIRST + timedelta(days=day), periods=rows, freq="1min", unit="us"))
    is_known = np.arange(rows) < known * rows
    table = PredictionTable(
        meta=pd.DataFrame({"id": [f"v{version}d{day}r{row}" for row in range(rows)], "time": times}).assign(
            version=version, path="compiled"
        ),
        inputs=inputs if blocks is None else inputs.assign(block=blocks),
        outputs=pd.DataFrame(
            {
                "answer": (probability >= 0.5).astype(float),
                "probability_0": 1 - probability,
                "probability_1": probability,
            }
        ),
        truth=pd.DataFrame({"truth": truth, "truth_time": (times + pd.Timedelta(hours=2)).where(is_known)}),
    )
    append_predictions(str(log), "m", table)


def make_watch(log: Path, **changes: Any) -> Watch:
    """Days, from the first one on."""
    return replace(Watch(log=str(log), span=parse_span("1d"), since=FIRST), **changes)


def make_policy(**monitor: Any) -> Policy:
    return Policy(monitor=MonitorPolicy(**monitor))


def look(ledger: Ledger, watch: Watch, *, day: float, pictures: bool = False) -> Report:
    """One round, so many days after the first; most tests can do without pictures."""
    assert isinstance(ledger.clock, FixedClock)
    ledger.clock.at = FIRST + timedelta(days=day, minutes=2)

    def keep(report: Report, experiment_id: str) -> str:
        if pictures:
            return keep_report(ledger.store, report, experiment_id)
        return ledger.store.create_run(experiment_id, "a round", {}).run_id

    return Monitor(ledger, watch, keep=keep).look()
