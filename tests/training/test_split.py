"""Splits: nothing on both sides, groups whole, the future never in the past."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from registry import DataError
from training.dataset import Dataset, Target
from training.job import JobSpec
from training.jobfile import check_spec
from training.split import Split, make_split, narrow


def make_spec(split: dict[str, Any], time: str | None = None) -> JobSpec:
    data = {"source": "rows.csv", "target": "y"} | ({"time": time} if time else {})
    return check_spec(
        {"job": {"name": "j"}, "data": data, "model": {"estimator": "a.B"}, "split": split}, "the job"
    )


def split_frame(frame: pd.DataFrame, split: dict[str, Any], time: str | None = None) -> Split:
    target = Target("y", "binary", frame["y"], (0, 1))
    return make_split(make_spec(split, time), Dataset(frame, "rows.csv", "memory"), target)


def make_frame(rows: int = 200) -> pd.DataFrame:
    moments = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows) * 3, unit="h")
    frame = pd.DataFrame({"at": moments, "shop": np.arange(rows) % 7, "y": np.arange(rows) % 2})
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


@given(st.floats(0.05, 0.9), st.integers(0, 5), st.sampled_from(["random", "stratified"]))
@settings(max_examples=25, deadline=None)
def test_no_row_is_on_both_sides_and_none_is_lost(fraction: float, seed: int, kind: str) -> None:
    frame = make_frame()
    split = split_frame(frame, {"kind": kind, "fraction": fraction})
    assert sorted([*split.train, *split.evaluate]) == list(range(len(frame)))
    assert len(split.evaluate) == pytest.approx(fraction * len(frame), abs=2)


@given(st.floats(0.1, 0.8))
@settings(max_examples=15, deadline=None)
def test_groups_of_a_random_split_stay_whole(fraction: float) -> None:
    frame = make_frame()
    split = split_frame(frame, {"kind": "random", "fraction": fraction, "group": "shop"})
    sides = (set(frame["shop"].iloc[split.train]), set(frame["shop"].iloc[split.evaluate]))
    assert not sides[0] & sides[1]


@given(st.floats(0.1, 0.8))
@settings(max_examples=15, deadline=None)
def test_a_split_by_time_learns_from_the_past_only_and_keeps_days_whole(fraction: float) -> None:
    frame = make_frame()
    split = split_frame(frame, {"fraction": fraction, "group": "day"}, time="at")
    assert frame["at"].iloc[split.train].max() < frame["at"].iloc[split.evaluate].min()
    assert split.groups is not None
    assert not set(split.groups.iloc[split.train]) & set(split.groups.iloc[split.evaluate])


def test_dates_are_half_open() -> None:
    frame = make_frame()
    dates = {"train_from": "2026-01-03", "train_until": "2026-01-10", "evaluate_until": "2026-01-12"}
    split = split_frame(frame, dates, time="at")
    train, evaluate = frame["at"].iloc[split.train], frame["at"].iloc[split.evaluate]
    assert (train.min(), train.max()) == (pd.Timestamp("2026-01-03"), pd.Timestamp("2026-01-09 21:00"))
    assert (evaluate.min(), evaluate.max()) == (pd.Timestamp("2026-01-10"), pd.Timestamp("2026-01-11 21:00"))


def test_narrowing_keeps_the_same_rows() -> None:
    frame = make_frame()
    dates = {"train_until": "2026-01-10", "evaluate_until": "2026-01-12", "group": "day"}
    split = split_frame(frame, dates, time="at")
    target = Target("y", "binary", frame["y"], (0, 1))
    dataset, truth, narrowed = narrow(Dataset(frame, "rows.csv", "memory"), target, split)
    for side, before in ((narrowed.train, split.train), (narrowed.evaluate, split.evaluate)):
        assert dataset.frame.index[side].tolist() == before.tolist()
        assert truth.truth.iloc[side].tolist() == frame["y"].iloc[before].tolist()


@pytest.mark.parametrize(
    ("frame", "split", "sentence"),
    [
        (
            make_frame().assign(y=lambda rows: (rows.index == 5) * 1),
            {"kind": "stratified"},
            "has one row only",
        ),
        (make_frame().assign(shop=1), {"kind": "random", "group": "shop"}, "has one group only"),
        (make_frame().assign(shop=None), {"kind": "random", "group": "shop"}, "row 1 of rows.csv: no group."),
        (make_frame(), {"kind": "random", "group": "day"}, "needs data.time"),
        (make_frame(1), {"kind": "random"}, "1 rows cannot be split"),
    ],
)
def test_what_cannot_be_split_is_refused(frame: pd.DataFrame, split: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        split_frame(frame, split)
    assert sentence in str(caught.value)


def test_a_class_on_one_side_only_is_refused() -> None:
    frame = make_frame().assign(y=lambda rows: (rows["at"] >= "2026-01-20") * 1)
    with pytest.raises(DataError, match="has one class only, 0, in the rows to learn from"):
        split_frame(frame, {"train_until": "2026-01-15"}, time="at")


def test_a_row_without_a_time_is_refused_by_its_number() -> None:
    frame = make_frame()
    frame.loc[3, "at"] = pd.NaT
    with pytest.raises(DataError, match=r"Column 'at', row 4 of rows\.csv: the time is missing"):
        split_frame(frame, {}, time="at")
