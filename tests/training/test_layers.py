"""The row layer: each row by itself, whatever company it is in."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone

from training.artifact.layers import PARTS, RowFeatures, as_type

PLAN: dict[str, Any] = {
    "columns": [
        {"name": "size", "type": "number"},
        {"name": "color", "type": "category"},
        {"name": "at", "type": "datetime"},
    ],
    "datetime": {"at": ["hour", "weekday"]},
    "lookups": [
        {
            "file": "lookup_0.parquet",
            "prefix": "w_",
            "keys": [
                {"left": "color", "right": "place", "type": "category", "floor": None},
                {"left": "at", "right": "hour", "type": "datetime", "floor": "hour"},
            ],
            "columns": [{"name": "rain", "type": "number"}, {"name": "sky", "type": "category"}],
        }
    ],
    "features": ["size", "at.hour", "at.weekday", "w_rain", "color", "w_sky"],
}
TABLE = pd.DataFrame(
    {
        "place": ["red", "red", "blue"],
        "hour": pd.to_datetime(["2026-01-01 05:00", "2026-01-01 06:00", "2026-01-01 05:00"]),
        "rain": [1.0, 2.0, 3.0],
        "sky": ["grey", None, "blue"],
    }
)
LAYER = RowFeatures(PLAN, (TABLE,))

START = pd.Timestamp("2026-01-01 04:00")
ROW = st.tuples(
    st.none() | st.floats(allow_infinity=False, allow_nan=False, width=32),
    st.none() | st.sampled_from(["red", "blue", "pink", ""]),
    st.none() | st.integers(0, 4 * 3600).map(lambda seconds: START + pd.Timedelta(seconds, "s")),
)


def make_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["size", "color", "at"])
    return frame.assign(at=pd.to_datetime(frame["at"]))


@given(st.lists(ROW, min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_row_alone_gives_what_it_gives_among_others(rows: list[tuple[Any, ...]]) -> None:
    together = LAYER.transform(make_frame(rows))
    alone = pd.concat([LAYER.transform(make_frame([row])) for row in rows], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, check_dtype=False)


def test_moments_are_floored_and_looked_up_by_all_keys() -> None:
    rows = [
        (1.0, "red", "2026-01-01T05:59:59"),
        (2.0, "red", "2026-01-01T06:00"),
        (3.0, "pink", "2026-01-01T05:00"),
    ]
    made = LAYER.transform(pd.DataFrame(rows, columns=["size", "color", "at"]))
    assert made["w_rain"].tolist()[:2] == [1.0, 2.0]
    assert np.isnan(made["w_rain"][2])
    assert made["w_sky"].fillna("none").tolist() == ["grey", "none", "none"]
    assert made["at.hour"].tolist() == [5.0, 6.0, 5.0]
    assert made["at.weekday"].tolist() == [3.0, 3.0, 3.0]


def test_zones_are_turned_to_utc() -> None:
    values = pd.Series(pd.to_datetime(["2026-01-01T05:00-05:00"]))
    assert as_type(values, "datetime").dt.hour.tolist() == [10]


def test_a_column_that_was_not_sent_is_missing_and_others_are_left_aside() -> None:
    made = LAYER.transform(pd.DataFrame({"size": ["1.5"], "surplus": [1]}))
    assert list(made.columns) == PLAN["features"]
    assert made["size"].tolist() == [1.5]
    assert made["color"].isna().all()


def test_index_and_order_are_kept_and_scikit_learn_may_clone_it() -> None:
    frame = make_frame([(1.0, "red", None), (2.0, "blue", None)]).set_axis([7, 3])
    assert clone(LAYER).fit(frame).transform(frame).index.tolist() == [7, 3]


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_part_of_a_moment_is_a_number_and_missing_where_it_is(part: str) -> None:
    moments = pd.Series(pd.to_datetime(["2026-03-05 14:30", ""]))
    made = PARTS[part](moments).astype("float64")
    expected = {"year": 2026, "quarter": 1, "month": 3, "week": 10, "day": 5, "dayofyear": 64}
    expected |= {"weekday": 3, "hour": 14, "minute": 30, "minute_of_day": 870}
    assert made[0] == expected[part]
    assert np.isnan(made[1])


def test_truth_values_among_missing_ones_are_numbers() -> None:
    assert as_type(pd.Series([True, None, False], dtype=object), "boolean").fillna(-1).tolist() == [
        1.0,
        -1.0,
        0.0,
    ]
