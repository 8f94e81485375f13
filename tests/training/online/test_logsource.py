"""A stream from the prediction log: feedback that comes late, twice, or never."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry import DataError, PredictionTable, UsageError, append_feedback, append_predictions
from tests.training.online.conftest import SGD, make_rows
from training import Job
from training.online.engine import Engine
from training.online.logsource import LogSource
from training.online.run import TRUTH
from training.online.source import Bookmark
from training.online.state import StreamState


def write_predictions(log: Path, rows: pd.DataFrame) -> None:
    """As serving would: inputs, answer, no truth."""
    size = len(rows)
    append_predictions(
        str(log),
        "stream",
        PredictionTable(
            meta=pd.DataFrame(
                {
                    "id": [f"id-{number}" for number in rows.index],
                    "time": rows["moment"].dt.tz_localize("UTC").astype("datetime64[us, UTC]"),
                    "version": "1",
                    "path": "native",
                }
            ).reset_index(drop=True),
            inputs=rows[["size", "color"]].reset_index(drop=True),
            outputs=pd.DataFrame({"answer": np.zeros(size)}),
            truth=pd.DataFrame(
                {"truth": [None] * size, "truth_time": pd.Series(pd.NaT, range(size)).dt.tz_localize("UTC")}
            ),
        ),
    )


def tell(log: Path, rows: pd.DataFrame) -> None:
    feedback = pd.DataFrame(
        {
            "id": [f"id-{number}" for number in rows.index],
            "truth": rows["late"].astype(float),
            "time": rows["landed"].dt.tz_localize("UTC"),
        }
    )
    append_feedback(str(log), "stream", feedback)


def make_job(log: Path, **online: object) -> Job:
    return Job.from_frame(
        pd.DataFrame(),
        name="stream",
        target="late",
        estimator="sklearn.linear_model.SGDClassifier",
        params=SGD,
        data={"source": f"predictions:{log}"},
        online={"warmup": "100 events", "step": "2 hours", "snapshot": "3 days", "window": 100, **online},
    )


def poll(job: Job, state: StreamState | None) -> StreamState:
    """One look at the log, and all that it brings."""
    source = LogSource(job, is_classifier=True)
    engine = Engine(job, source, state)
    begin = (state.bookmark, state.pending.keys.tolist(), state.position) if state else (Bookmark(), (), -1)
    for _ in engine.feed(source.read(*begin)):
        pass
    assert engine.state is not None
    return engine.state


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_rows()


def test_feedback_is_learned_once_whenever_and_however_often_it_comes(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    job = make_job(tmp_path, judged="300 days")
    write_predictions(tmp_path, rows.iloc[:300])
    tell(tmp_path, rows.iloc[:150])
    first = poll(job, None)
    assert len(first.pending.keys) == 150
    assert not np.isnan(first.pending.said[-1]).any(), "scored before its truth is known"
    write_predictions(tmp_path, rows.iloc[300:])
    tell(tmp_path, rows.iloc[100:290])  # fifty of them for the second time
    second = poll(job, first)
    tell(tmp_path, rows)
    last = poll(job, second)
    again = poll(job, last)
    assert last.learned + len(last.held) == len(rows)
    assert (again.learned, again.scored) == (last.learned, last.scored)
    assert not len(last.pending.keys)
    learned = pd.concat([last.recent, last.held])
    assert learned.groupby("color")[TRUTH].sum().to_dict() == rows.groupby("color")["late"].sum().to_dict()


def test_what_was_said_of_a_waiting_event_is_not_said_again(rows: pd.DataFrame, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    write_predictions(tmp_path, rows)
    tell(tmp_path, rows.iloc[:200])
    first = poll(job, None)
    tell(tmp_path, rows)
    last = poll(job, first)
    said = dict(zip(first.pending.keys, first.pending.said[:, 1], strict=True))
    kept = dict(zip(last.scores["key"], last.scores["probability_1"], strict=True))
    assert len(kept) > 3
    assert kept == {key: said[key] for key in kept}


def test_a_truth_later_than_the_lateness_is_left_out(rows: pd.DataFrame, tmp_path: Path) -> None:
    job = make_job(tmp_path, lateness="1 day")
    write_predictions(tmp_path, rows)
    known = rows.drop(index=range(150, 160))
    tell(tmp_path, known)
    first = poll(job, None)
    assert not set(first.pending.keys) & {f"id-{number}" for number in range(150, 160)}
    tell(tmp_path, rows)
    assert poll(job, first).learned == first.learned


def test_a_log_without_truth_says_so(rows: pd.DataFrame, tmp_path: Path) -> None:
    write_predictions(tmp_path, rows)
    with pytest.raises(DataError, match="no prediction of stream whose truth is known"):
        LogSource(make_job(tmp_path), is_classifier=True)
    with pytest.raises(UsageError, match="feedback says when a truth arrived"):
        LogSource(make_job(tmp_path, available="3 hours"), is_classifier=True)
