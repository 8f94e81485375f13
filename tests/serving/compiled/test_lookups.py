"""A compiled lookup finds the row that the model's own layer finds."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from serving.compiled.errors import NotCompilableError
from serving.compiled.features import Maker, make_maker
from serving.compiled.lookups import LookupSlot, compile_lookup
from serving.compiled.values import Doubt
from training.artifact.layers import RowFeatures

NAN = float("nan")
START = dt.datetime(2013, 1, 1)  # noqa: DTZ001 - moments have no zone here
TABLE = pd.DataFrame(
    [
        (place, START + dt.timedelta(hours=7 * number), float(size), number + size / 10)
        for place in ("EWR", "JFK")
        for number in range(9)
        for size in (1, 2)
    ],
    columns=["place", "hour", "size", "rain"],
)
TABLE["sky"] = pd.Series(["grey", None], dtype=object)[(TABLE["rain"] <= 4).astype(int)].to_numpy()


def plan(floor: str | None) -> dict[str, Any]:
    keys = [
        {"left": "origin", "right": "place", "type": "category", "floor": None},
        {"left": "at", "right": "hour", "type": "datetime", "floor": floor},
        {"left": "size", "right": "size", "type": "number", "floor": None},
    ]
    columns = [{"name": "rain", "type": "number"}]
    return {
        "columns": [
            {"name": "origin", "type": "category"},
            {"name": "at", "type": "datetime"},
            {"name": "size", "type": "number"},
        ],
        "datetime": {},
        "lookups": [{"prefix": "", "keys": keys, "columns": columns}],
        "features": ["rain"],
    }


def make(layers: dict[str, Any], slots: list[LookupSlot], table: pd.DataFrame = TABLE) -> Maker:
    compiled = compile_lookup(layers["lookups"][0], table, slots, {"origin": 0, "at": 1, "size": 2})
    maker = {**compiled.maker, "rows": "rows", "places": "places"}
    return make_maker(maker, {"rows": compiled.rows, "places": compiled.places})


RAIN = LookupSlot(0, "rain", None, NAN)
ROW = st.tuples(
    st.sampled_from(["EWR", "JFK", "LGA", None]),
    st.none() | st.integers(-3600, 70 * 3600).map(lambda seconds: START + dt.timedelta(seconds=seconds)),
    st.sampled_from([1.0, 2.0, 3.0, NAN]),
)


@pytest.mark.parametrize("floor", ["hour", "minute", None])
@pytest.mark.parametrize("gaps", [False, True])
@given(rows=st.lists(ROW, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_rows_are_found_as_the_layer_finds_them(floor: str | None, gaps: bool, rows: list[Any]) -> None:
    strange = TABLE.head(1).assign(place="far", size=0.5)
    more = [
        strange.assign(size=10.5 + n, hour=START + dt.timedelta(days=30 + n)) for n in range(9 if gaps else 0)
    ]
    table = pd.concat([TABLE, *more], ignore_index=True)  # keys that seldom meet: found by dictionary
    layers = plan(floor)
    maker = make(layers, [RAIN], table)
    frame = pd.DataFrame(rows, columns=["origin", "at", "size"])
    expected = RowFeatures(layers, (table,)).transform(frame.assign(at=pd.to_datetime(frame["at"])))["rain"]
    slots = np.empty((len(rows), 1))
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    columns[2] = np.array(columns[2])
    maker.fill_many(columns, slots)
    np.testing.assert_array_equal(slots[:, 0], expected)
    for row, value in zip(rows, expected, strict=True):
        filled = [0.0]
        maker.fill(row, filled)
        np.testing.assert_array_equal(filled, [value])


AS_OF = {"left": "at", "right": "hour", "max_age_s": 30_000}


@pytest.mark.parametrize("limit", [None, 30_000, 0])
@pytest.mark.parametrize("names", [["origin", "size"], ["size"], []])
@given(rows=st.lists(ROW, min_size=1, max_size=6))
@settings(max_examples=12, deadline=None)
def test_the_latest_row_by_a_moment_is_found_as_the_layer_finds_it(
    limit: int | None, names: list[str], rows: list[Any]
) -> None:
    layers = plan(None)
    (lookup,) = layers["lookups"]
    lookup["keys"] = [key for key in lookup["keys"] if key["left"] in names]
    lookup["as_of"] = {**AS_OF, "max_age_s": limit}
    rights = [key["right"] for key in lookup["keys"]]
    table = TABLE.sample(frac=1, random_state=1).drop_duplicates([*rights, "hour"])
    compiled = compile_lookup(lookup, table, [RAIN], {"origin": 0, "at": 1, "size": 2})
    assert compiled.times is not None
    arrays = {"rows": compiled.rows, "places": compiled.places, "times": compiled.times}
    maker = make_maker({**compiled.maker, "rows": "rows", "places": "places", "times": "times"}, arrays)
    frame = pd.DataFrame(rows, columns=["origin", "at", "size"])
    frame["at"] = pd.to_datetime(frame["at"])
    expected = RowFeatures(layers, (table,)).transform(frame)["rain"]
    np.testing.assert_array_equal(expected, [find_by_hand(table, lookup, row) for _, row in frame.iterrows()])
    slots = np.empty((len(rows), 1))
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    maker.fill_many(columns, slots)
    np.testing.assert_array_equal(slots[:, 0], expected)
    for row, value in zip(rows, expected, strict=True):
        filled = [0.0]
        maker.fill(row, filled)
        np.testing.assert_array_equal(filled, [value])


def find_by_hand(table: pd.DataFrame, lookup: Any, row: Any) -> float:
    """The rule, word for word."""
    known = table[table["hour"] <= row["at"]]
    for key in lookup["keys"]:
        known = known[known[key["right"]] == row[key["left"]]]
    if lookup["as_of"]["max_age_s"] is not None:
        known = known[row["at"] - known["hour"] <= pd.Timedelta(lookup["as_of"]["max_age_s"], "s")]
    return NAN if known.empty else float(known.sort_values("hour")["rain"].iloc[-1])


def test_two_rows_of_one_key_and_time_are_refused() -> None:
    layers = plan("day")
    layers["lookups"][0]["as_of"] = AS_OF
    with pytest.raises(NotCompilableError, match="key twice"):
        make(layers, [RAIN], pd.concat([TABLE, TABLE.head(1)]))


def test_what_the_model_would_refuse_is_doubtful() -> None:
    sky = LookupSlot(0, "sky", {"grey": 7.0}, None)
    maker = make(plan("hour"), [sky])
    filled = [0.0]
    maker.fill(["EWR", START + dt.timedelta(hours=56), 1.0], filled)
    assert filled == [7.0]
    keys: list[list[Any]] = [["EWR", START, 1.0], ["LGA", START, 1.0]]
    for key in keys:  # a hole in the table; nowhere
        with pytest.raises(Doubt):
            maker.fill(key, filled)
        with pytest.raises(Doubt):
            maker.fill_many([[part] for part in key], np.empty((1, 1)))


def test_a_table_with_a_key_twice_is_refused() -> None:
    with pytest.raises(NotCompilableError, match="key twice"):
        make(plan("day"), [RAIN])
