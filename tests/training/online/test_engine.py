"""The stream itself, without MLflow: what is scored when, what is learned; stopping changes nothing."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import DataError
from tests.training.online.conftest import MakeJob
from training import Job
from training.online.engine import Engine
from training.online.run import GROUP, MOMENT, TRUTH
from training.online.source import Bookmark, TableSource
from training.online.state import StreamState, read_state, write_state


def play(job: Job, state: StreamState | None = None) -> list[tuple[bytes, str]]:
    """All snapshots from a state on, each as the file it is kept as."""
    source = TableSource(job, is_classifier=True)
    engine = Engine(job, source, state and replace(state, scores=state.scores.iloc[:0]))
    begin = (state.bookmark, state.pending.keys.tolist(), state.position) if state else (Bookmark(), (), -1)
    kept = [write_state(due) for due in engine.feed(source.read(*begin))]
    last = engine.finish()
    return [*kept, *([write_state(last)] if last else [])]


def assert_same(one: StreamState, other: StreamState) -> None:
    for name in [found.name for found in fields(StreamState) if found.type in {int, "int"}]:
        assert getattr(one, name) == getattr(other, name), name
    for key, value in vars(one.learner.pipeline.named_steps["model"]).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, vars(other.learner.pipeline.named_steps["model"])[key])
    assert one.points == other.points
    pd.testing.assert_frame_equal(one.held, other.held)
    pd.testing.assert_frame_equal(one.recent, other.recent)
    pd.testing.assert_frame_equal(one.scores, other.scores)
    assert one.pending.keys.tolist() == other.pending.keys.tolist()
    np.testing.assert_array_equal(one.pending.said, other.pending.said)
    np.testing.assert_array_equal(one.window.said, other.window.said)


@pytest.mark.parametrize("online", [{"step": "45 minutes"}, {"snapshot": "90 events", "warmup": "3 days"}])
def test_a_stream_stopped_at_any_snapshot_ends_as_if_it_had_not_been(
    make_job: MakeJob, online: dict[str, Any]
) -> None:
    job = make_job(**online)
    whole = play(job)
    assert len(whole) >= 3
    for place in (0, len(whole) // 2):
        rest = play(job, read_state(*whole[place]))
        assert len(rest) == len(whole) - place - 1
        assert_same(read_state(*rest[-1]), read_state(*whole[-1]))


def test_every_event_is_learned_once_or_held_out(make_job: MakeJob, rows: pd.DataFrame) -> None:
    job = make_job(judged="300 days")
    last = read_state(*play(job)[-1])
    assert last.learned + len(last.held) == len(rows)
    assert len(last.recent) == last.learned
    assert not len(last.pending.keys)
    learned = pd.concat([last.recent, last.held])[["size", "color", TRUTH, MOMENT]]
    assert (
        learned.value_counts(dropna=False)
        .sort_index()
        .equals(
            rows.rename(columns={"late": TRUTH})
            .assign(**{MOMENT: rows["moment"].astype("datetime64[ns]").astype("int64")})[
                ["size", "color", TRUTH, MOMENT]
            ]
            .value_counts(dropna=False)
            .sort_index()
        )
    )


def test_a_truth_that_has_not_arrived_is_not_known_to_the_score(
    rows: pd.DataFrame, make_job: MakeJob
) -> None:
    """Truths that arrive after the end change nothing of what was said before."""
    late = rows.assign(landed=rows["landed"].where(rows.index < 200, pd.Timestamp("2027-01-01")))
    flipped = late.assign(late=late["late"].where(late.index < 200, 1 - late["late"]))
    one, other = (read_state(*play(make_job(frame, snapshot="20 days"))[0]) for frame in (late, flipped))
    assert one.scored == other.scored > 200
    np.testing.assert_array_equal(one.pending.said, other.pending.said)
    assert len(one.pending.keys) > 100


def test_held_out_rows_never_move_the_model(rows: pd.DataFrame, make_job: MakeJob) -> None:
    job = make_job(judged="300 days")
    source = TableSource(job, is_classifier=True)
    held = source.read(Bookmark(), (), -1).held
    in_time = rows.sort_values("moment", kind="stable", ignore_index=True)
    flipped = in_time.assign(late=np.where(held, 1 - in_time["late"], in_time["late"]))
    one = read_state(*play(job)[-1])
    other = read_state(*play(replace(job, frame=flipped))[-1])
    np.testing.assert_array_equal(
        one.learner.pipeline.named_steps["model"].coef_, other.learner.pipeline.named_steps["model"].coef_
    )
    assert 20 < held.sum() < 80


def test_whole_days_are_held_out_where_days_belong_together(rows: pd.DataFrame, make_job: MakeJob) -> None:
    base = make_job(holdout=0.3, judged="300 days")
    job = Job.from_frame(
        rows,
        name="stream",
        target="late",
        estimator=base.spec.model.estimator,
        params=base.spec.model.params,
        data={"time": "moment"},
        features={"numeric": ["size"], "categorical": ["color"]},
        split={"group": "day"},
        online=base.spec.online.model_dump() if base.spec.online else {},
    )
    last = read_state(*play(job)[-1])
    days = set(last.held[GROUP])
    assert days
    assert not days & set(last.recent[GROUP])


def test_a_table_may_grow_at_its_end_and_nowhere_else(rows: pd.DataFrame, make_job: MakeJob) -> None:
    begun = read_state(*play(make_job(rows.iloc[:300]))[-1])
    grown = play(make_job(rows), begun)
    assert read_state(*grown[-1]).scored == read_state(*play(make_job(rows))[-1]).scored
    changed = rows.assign(late=rows["late"].where(rows.index != 50, 1 - rows["late"]))
    with pytest.raises(DataError, match="not those that the stream has seen"):
        play(make_job(changed), begun)


def test_a_warm_up_that_is_not_complete_begins_nothing(make_job: MakeJob) -> None:
    assert play(make_job(warmup="5000 events")) == []


def test_a_warm_up_of_one_class_says_what_to_do(rows: pd.DataFrame, make_job: MakeJob) -> None:
    first = rows.assign(late=rows["late"].where(rows.index > 150, 0))
    with pytest.raises(DataError, match="one class only, 0"):
        play(make_job(first))
    assert play(make_job(first, classes=[0, 1]))


def test_a_kept_state_that_was_changed_is_refused(make_job: MakeJob) -> None:
    content, sha256 = play(make_job())[0]
    with pytest.raises(DataError, match="not the one that was written"):
        read_state(content[:-1] + b"x", sha256)
