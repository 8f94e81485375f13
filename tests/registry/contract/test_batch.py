"""Whole tables and single requests are told the same, and neither tells a value."""

import datetime as dt
import decimal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from registry import Contract, Violation, count_violations, find_bad_rows, find_violations
from registry.contract.columns import Column, Range

SECRET = "Geheimrat"
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - moments without a zone are the data's own
DAY_US = 86_400_000_000
NEW_YEAR = 20_454 * DAY_US
CONTRACT = Contract(
    {
        "size": Column("number", range=Range(-1.5, 99.0)),
        "price": Column("number", nullable=True, required=False, range=Range(low=0.0)),
        "color": Column("category", nullable=True, categories=("blue", "red")),
        "note": Column("text", nullable=True, required=False),
        "at": Column("datetime", range=Range(low=NEW_YEAR)),
        "until": Column("datetime", nullable=True, required=False),
        "flag": Column("boolean", nullable=True),
    },
    ("at <= until", "size < price", "note != color", "price != 7", "flag == true", "until < '2026-06-01'"),
)
GOOD: dict[str, Any] = {
    "size": 1.0,
    "price": 2.0,
    "color": "red",
    "note": "x",
    "at": START,
    "until": START + dt.timedelta(days=1),
    "flag": True,
}

NUMBER = st.floats(-200, 200) | st.sampled_from([-1.5, 99.0, 99.00001, 7.0, float("nan")])
TEXT = st.sampled_from(["red", "blue", "pink", "", SECRET])
MOMENT = st.datetimes(dt.datetime(2025, 12, 25), dt.datetime(2026, 7, 1))  # noqa: DTZ001 - as above
ZONED = MOMENT.map(lambda moment: moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))))
WRITTEN = (MOMENT | ZONED).map(dt.datetime.isoformat) | st.sampled_from(["2026-02-30", "soon", "2026-01-31"])
ODD = st.sampled_from(
    [
        *(None, pd.NA, pd.NaT, float("inf"), -float("inf"), True, np.True_, 3, 10**400, np.int64(5)),
        *(np.float32(0.5), decimal.Decimal("1.5"), decimal.Decimal("NaN"), SECRET, START, START.date()),
        *(np.datetime64("2026-02-01"), np.datetime64("NaT"), pd.Timestamp("2026-03-01T00:00:00.0000005Z")),
        *((1, 2), {"a": 1}, 1j, "1.0"),
    ]
)
ANYTHING: dict[str, st.SearchStrategy[Any]] = {
    "size": NUMBER,
    "price": NUMBER,
    "color": TEXT,
    "note": TEXT,
    "at": MOMENT | ZONED | WRITTEN,
    "until": MOMENT | ZONED | WRITTEN,
    "flag": st.booleans(),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: kind | ODD for name, kind in ANYTHING.items()}), min_size=1, max_size=5
)
TYPED = st.lists(
    st.tuples(NUMBER, NUMBER, TEXT | st.none(), TEXT | st.none(), MOMENT | st.none(), MOMENT, st.booleans()),
    min_size=1,
    max_size=6,
)


def make_typed(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(CONTRACT.columns))
    return frame.assign(at=pd.to_datetime(frame["at"]), until=pd.to_datetime(frame["until"]))


@given(ROWS, st.sets(st.sampled_from(list(GOOD)), max_size=3))
@settings(max_examples=150, deadline=None)
def test_batch_and_single_rows_agree_on_anything(rows: list[dict[str, Any]], absent: set[str]) -> None:
    sent = [{name: value for name, value in row.items() if name not in absent} for row in rows]
    frame = pd.DataFrame(index=range(len(rows)))
    for name in GOOD:
        if name not in absent:
            frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    batch = find_violations(CONTRACT, frame)
    assert batch == CONTRACT.compile().check_rows(sent)
    assert find_bad_rows(CONTRACT, frame).tolist() == [
        any(found.row == row for found in batch) for row in range(len(rows))
    ]
    assert sum(count_violations(CONTRACT, frame).values()) == len(batch)


@given(TYPED)
@settings(max_examples=100, deadline=None)
def test_batch_and_single_rows_agree_on_typed_tables(rows: list[tuple[Any, ...]]) -> None:
    frame = make_typed(rows)
    columns = {str(name): frame[name].tolist() for name in frame}
    expected = CONTRACT.compile().check_columns(columns)
    assert find_violations(CONTRACT, frame) == expected
    others = frame.assign(
        color=frame["color"].astype("category"),
        flag=frame["flag"].astype("boolean"),
        price=frame["price"].astype("Float64"),
        at=frame["at"].dt.tz_localize("UTC").dt.tz_convert("America/New_York"),
        until=frame["until"].astype("datetime64[ns]"),
    )
    assert find_violations(CONTRACT, others) == expected
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert CONTRACT.compile().check_rows(records) == expected


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("size", SECRET, "a text, where the contract asks for a number"),
        ("size", None, "missing, where the contract asks for a value"),
        ("size", 99.5, "above 99, where the contract asks for at most 99"),
        ("size", -2, "below -1.5, where the contract asks for at least -1.5"),
        ("size", float("inf"), "an infinite number, where the contract asks for a finite number"),
        ("size", True, "a truth value, where the contract asks for a number"),
        ("size", [SECRET], "a list, where the contract asks for a number"),
        ("color", SECRET, "an unknown category, where the contract asks for one of 2 known categories"),
        ("color", 5, "a number, where the contract asks for a text"),
        ("at", SECRET, "a text that is no moment, where the contract asks for a moment"),
        (
            "at",
            "2025-12-31T23:59:59.999999",
            "below 2026-01-01T00:00:00, where the contract asks for at least 2026-01-01T00:00:00",
        ),
        ("flag", "true", "a text, where the contract asks for true or false"),
    ],
)
def test_what_is_wrong_is_said_without_the_value(column: str, value: Any, said: str) -> None:
    contract = Contract(CONTRACT.columns)
    (found,) = contract.compile().check_rows([GOOD, {**GOOD, column: value}])
    assert found.text == f"Row 2, column {column!r}: {said}."
    assert SECRET not in repr(found)


def test_a_rule_names_its_columns_and_needs_both_values() -> None:
    checker = CONTRACT.compile()
    late = {**GOOD, "until": START - dt.timedelta(days=1)}
    assert checker.check_rows([late]) == [Violation(0, "at, until", "against the rule", "at <= until")]
    assert checker.check_rows([{**late, "until": None}]) == []
    assert checker.check_rows([GOOD]) == []


def test_a_required_column_that_is_not_sent_is_missing_in_every_row_and_an_optional_one_is_not() -> None:
    frame = pd.DataFrame([GOOD, GOOD]).drop(columns=["size", "color", "price"])
    assert [(found.row, found.column) for found in find_violations(CONTRACT, frame)] == [
        (0, "size"),
        (0, "color"),
        (1, "size"),
        (1, "color"),
    ]
    assert [found.row for found in CONTRACT.compile().check_columns({"surplus": [1, 2]})].count(1) == 4


def test_only_the_first_violations_are_listed_where_a_limit_is_given() -> None:
    frame = pd.DataFrame([{**GOOD, "size": None}] * 5 + [{**GOOD, "color": "pink"}])
    assert [found.row for found in find_violations(CONTRACT, frame, limit=3)] == [0, 1, 2]
    assert count_violations(CONTRACT, frame) == {
        ("size", "missing", "a value"): 5,
        ("color", "an unknown category", "one of 2 known categories"): 1,
    }


def test_a_single_row_takes_microseconds_and_needs_no_pandas() -> None:
    checker, fastest = CONTRACT.compile(), 1.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            checker.check_rows([GOOD])
        fastest = min(fastest, (time.perf_counter() - start) / 50)
    assert fastest < 200e-6  # 20 µs on an idle machine; a frame alone would take more than this


def test_the_checker_of_requests_imports_neither_pandas_nor_numpy() -> None:
    command = "import sys, registry.contract.checker; print({'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
