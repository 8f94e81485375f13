"""Parts of moments are those that training took."""

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from serving.compiled.features import PARTS, floor_moment
from training.artifact.layers import FLOORS, PARTS as LAYER_PARTS

MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2199, 12, 31))  # noqa: DTZ001 - no zones here


def test_every_part_that_training_takes_is_known() -> None:
    assert PARTS.keys() == LAYER_PARTS.keys()


@pytest.mark.parametrize("part", sorted(PARTS))
@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_a_part_is_what_training_takes(part: str, moments: list[dt.datetime]) -> None:
    theirs = LAYER_PARTS[part](pd.Series(moments, dtype="datetime64[ns]")).astype("float64")
    assert [float(PARTS[part](moment)) for moment in moments] == theirs.tolist()


@pytest.mark.parametrize("floor", [*FLOORS, None])
@given(one=MOMENTS, seconds=st.integers(0, 100_000))
@settings(max_examples=50, deadline=None)
def test_moments_are_the_same_after_flooring_where_training_says_so(
    floor: str | None, one: dt.datetime, seconds: int
) -> None:
    other = one + dt.timedelta(seconds=seconds, microseconds=seconds % 3)
    stamps = [pd.Timestamp(moment).floor(FLOORS[floor]) if floor else moment for moment in (one, other)]
    assert (floor_moment(one, floor) == floor_moment(other, floor)) is (stamps[0] == stamps[1])
