"""The checker of typed rows finds what the checker of single requests finds."""

import datetime as dt
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st

from registry import Contract, parse_contract, word_findings

CONTRACT: Contract = parse_contract(
    """{"schema": "greenroom/contract/1", "mode": "refuse", "columns": {
    "size": {"type": "number", "range": {"low": -1.5, "high": 99.0}},
    "weight": {"type": "number", "nullable": true, "range": {"low": 0.0}},
    "any": {"type": "number"},
    "color": {"type": "category", "categories": ["blue", "red"]},
    "place": {"type": "category", "nullable": true, "categories": ["here"]},
    "text": {"type": "text"},
    "flag": {"type": "boolean"},
    "maybe": {"type": "boolean", "nullable": true},
    "at": {"type": "datetime", "range": {"low": "2026-01-01T00:00:00"}},
    "until": {"type": "datetime", "nullable": true}},
    "rules": ["size <= weight", "at <= until", "flag == true", "color != place", "any < 7",
    "until < '2026-01-03'"]}"""
)
NAMES = list(CONTRACT.columns)[::-1]
CHECKER = CONTRACT.compile_typed(NAMES)
PLAIN = CONTRACT.compile()
NAN = float("nan")
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - moments have no zone here
NUMBER = st.sampled_from([NAN, -1.5, 99.0, np.nextafter(99.0, 100), 0.0, -1e-9, float("inf"), 6.0, 7.0])
MOMENT = st.none() | st.integers(-2, 3).map(lambda days: START + dt.timedelta(days=days))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "size": NUMBER,
    "weight": NUMBER,
    "any": NUMBER,
    "color": st.sampled_from(["blue", "red", "here", "", None]),
    "place": st.sampled_from(["here", "blue", None]),
    "text": st.sampled_from(["", "x", None]),
    "flag": st.sampled_from([1.0, 0.0, NAN]),
    "maybe": st.sampled_from([1.0, 0.0, NAN]),
    "at": MOMENT,
    "until": MOMENT,
}
GOOD = {
    "size": 5.0, "weight": 6.0, "any": 6.0, "color": "blue", "place": None, "text": "x", "flag": 1.0,
    "maybe": NAN, "at": START, "until": None,
}  # fmt: skip
ROW = st.fixed_dictionaries(VALUES) | st.tuples(
    st.sampled_from(sorted(VALUES)), st.fixed_dictionaries(VALUES)
).map(lambda change: {**GOOD, change[0]: change[1][change[0]]})


def untype(row: dict[str, Any]) -> dict[str, Any]:
    """As a request would bring the row."""
    truths = {name: None if row[name] != row[name] else row[name] == 1.0 for name in ("flag", "maybe")}
    return {**row, **truths}


@given(st.lists(ROW, min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_typed_rows_break_the_contract_where_plain_ones_do(rows: list[dict[str, Any]]) -> None:
    expected = PLAIN.check_rows([untype(row) for row in rows])
    columns: list[Any] = [[row[name] for row in rows] for name in NAMES]
    arrays = [
        np.array(column) if CONTRACT.columns[name].type in {"number", "boolean"} else column
        for name, column in zip(NAMES, columns, strict=True)
    ]
    found = CHECKER.check_columns(arrays)
    counted = Counter({(one.column, one.value_class, one.rule): one.count for one in found})
    assert counted == Counter((one.column, one.value_class, one.rule) for one in expected)
    alone = [CHECKER.check_row([row[name] for name in NAMES]) for row in rows]
    assert sum(len(one) for one in alone) == len(expected)
    if expected:
        assert word_findings(found).startswith(expected[0].text)


def test_a_good_row_breaks_nothing() -> None:
    assert CHECKER.check_row([GOOD[name] for name in NAMES]) == []
