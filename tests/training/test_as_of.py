"""Lookups as of a moment: nothing from the future, and what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from registry import DataError, UsageError
from training import Job, plan_training
from training.artifact.layers import RowFeatures

START = pd.Timestamp("2026-01-01")
PLAN: dict[str, Any] = {
    "columns": [{"name": "place", "type": "category"}, {"name": "at", "type": "datetime"}],
    "datetime": {},
    "lookups": [
        {
            "prefix": "",
            "keys": [{"left": "place", "right": "town", "type": "category", "floor": None}],
            "as_of": {"left": "at", "right": "seen", "max_age_s": None},
            "columns": [{"name": "rain", "type": "number"}],
        }
    ],
    "features": ["rain"],
}
PLACES = st.sampled_from(["here", "there"])
MINUTES = st.integers(0, 12)
TABLE = st.dictionaries(st.tuples(PLACES, MINUTES), st.integers(0, 99) | st.none(), min_size=1, max_size=9)
ROWS = st.lists(st.tuples(PLACES, MINUTES), min_size=1, max_size=5)


def look_up(table: dict[tuple[str, int], int | None], rows: list[tuple[str, int]]) -> Any:
    known = [(town, START + pd.Timedelta(minute, "min"), rain) for (town, minute), rain in table.items()]
    frame = pd.DataFrame(rows, columns=["place", "at"])
    frame["at"] = START + pd.to_timedelta(frame["at"], unit="min")
    layer = RowFeatures(PLAN, (pd.DataFrame(known, columns=["town", "seen", "rain"]),))
    return layer.transform(frame)["rain"].to_numpy()


@given(TABLE, TABLE, ROWS)
@settings(max_examples=40, deadline=None)
def test_no_future_row_ever_changes_a_feature(table: Any, other: Any, rows: Any) -> None:
    """Rows that become known after the last event may be changed, added or taken away."""
    latest = max(minute for _, minute in rows)
    past = {key: rain for key, rain in table.items() if key[1] <= latest}
    future = {key: rain for key, rain in other.items() if key[1] > latest}
    if past:
        np.testing.assert_array_equal(look_up(table, rows), look_up({**future, **past}, rows))
        np.testing.assert_array_equal(look_up(table, rows), look_up(past, rows))


@given(TABLE, ROWS)
@settings(max_examples=25, deadline=None)
def test_the_latest_row_by_then_counts_even_if_its_value_is_missing(table: Any, rows: Any) -> None:
    for (place, minute), found in zip(rows, look_up(table, rows), strict=True):
        known = [key for key in table if key[0] == place and key[1] <= minute]
        expected = table[max(known, key=lambda key: key[1])] if known else None
        np.testing.assert_array_equal(found, np.nan if expected is None else float(expected))


def make_job(lookup: dict[str, Any], table: pd.DataFrame, folder: Any) -> Job:
    table.to_csv(folder / "rain.csv", index=False)
    count = 40
    frame = pd.DataFrame(
        {
            "at": [f"2026-01-{1 + number % 28:02d}T06:00" for number in range(count)],
            "size": np.arange(count, dtype=float),
            "place": ["here", "there"] * (count // 2),
            "late": [0, 1, 1, 0] * (count // 4),
        }
    )
    entry = {"source": str(folder / "rain.csv"), "columns": ["rain"], **lookup}
    features = {"numeric": ["size"], "lookup": [entry]}
    return Job.from_frame(frame, name="rain", target="late", features=features)


RAIN = pd.DataFrame(
    {"town": ["here", "here", "there"], "seen": ["2026-01-02", "2026-01-04", "2026-01-03"], "rain": [1, 2, 3]}
)
AS_OF = {"on": {"place": "town"}, "as_of": {"at": "seen"}}


def test_a_moment_written_as_text_finds_what_was_known_by_then(tmp_path: Any) -> None:
    plan = plan_training(make_job({**AS_OF, "max_age": "2d"}, RAIN, tmp_path))
    layer = RowFeatures(plan.features.layers, plan.features.tables)
    found = layer.transform(plan.rows)["rain"].fillna(-1).tolist()
    assert found[:7] == [-1, -1, 1, 3, 2, -1, -1]
    assert found[28:31] == [-1, -1, 1]
    assert [column.type for column in plan.features.raw] == ["number", "category", "datetime"]


@pytest.mark.parametrize(
    ("lookup", "table", "sentence"),
    [
        (
            AS_OF,
            pd.concat([RAIN, RAIN.head(1)]),
            "has the key town = here, seen = 2026-01-02 00:00:00 more than",
        ),
        (AS_OF, RAIN.assign(seen=None), "Column 'seen', row 1 of .*: a lookup's key is missing"),
        (
            AS_OF,
            RAIN.assign(seen=["2027-01-01", "2027-01-02", "2027-01-03"]),
            "matches no row .place = town, at >= seen",
        ),
        ({"as_of": {"at": "when"}}, RAIN, "has no column 'when' .features.lookup.as_of"),
        ({"as_of": {"then": "seen"}}, RAIN, "has no column 'then' .features.lookup.as_of"),
        (
            {"as_of": {"size": "seen"}},
            RAIN,
            "The column 'size' is a number; features.lookup.as_of needs a moment",
        ),
    ],
)
def test_a_lookup_that_cannot_be_told_apart_in_time_is_refused(
    lookup: Any, table: pd.DataFrame, sentence: str, tmp_path: Any
) -> None:
    with pytest.raises(DataError, match=sentence):
        plan_training(make_job(lookup, table, tmp_path))


@pytest.mark.parametrize(
    ("lookup", "sentence"),
    [
        ({}, "a lookup needs on, as_of or both"),
        ({"on": {"place": "town"}, "max_age": "2h"}, "max_age needs as_of"),
        ({**AS_OF, "max_age": "two hours"}, "max_age: it is no length of time such as"),
        ({**AS_OF, "as_of": {"at": "seen", "late": "seen"}}, "as_of: dictionary should have at most 1 item"),
    ],
)
def test_a_lookup_that_is_written_wrongly_is_refused(lookup: Any, sentence: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_job(lookup, RAIN, tmp_path)
