"""What is inferred from rows, declared over it, written as a file and read back."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from registry import (
    ArtifactError,
    Contract,
    UsageError,
    declare_contract,
    find_violations,
    format_contract,
    infer_contract,
    parse_contract,
)
from registry.compatibility import judge_contract
from registry.contract.columns import Column, Range

FRAME = pd.DataFrame(
    {
        "distance": [17.0, 4983.0, 1000.0],
        "delay": [-30.0, np.nan, 90.0],
        "carrier": ["AA", "UA", None],
        "tail": ["N1", "N2", "N3"],
        "at": pd.to_datetime(["2013-01-01", "2013-01-02", "2013-01-03"]),
        "late": [True, False, True],
    }
)
TYPES = {
    "distance": "number",
    "delay": "number",
    "carrier": "category",
    "tail": "category",
    "at": "datetime",
    "late": "boolean",
}
INFERRED = infer_contract(FRAME, TYPES, max_categories=2)


def test_types_ranges_categories_and_holes_are_inferred() -> None:
    assert dict(INFERRED.columns) == {
        "distance": Column("number", range=Range(0.0, 5480.0, (17.0, 4983.0), 0.1)),
        "delay": Column(
            "number", nullable=True, required=False, range=Range(-42.0, 102.0, (-30.0, 90.0), 0.1)
        ),
        "carrier": Column("category", nullable=True, required=False, categories=("AA", "UA")),
        "tail": Column("text"),
        "at": Column("datetime"),
        "late": Column("boolean"),
    }


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20),
    st.floats(0, 2),
)
@settings(max_examples=200, deadline=None)
def test_rows_that_a_contract_was_inferred_from_never_break_it(values: list[float], tolerance: float) -> None:
    frame = pd.DataFrame({"a": values, "b": [str(value) for value in values]})
    made = infer_contract(frame, {"a": "number", "b": "category"}, tolerance=tolerance, max_categories=5)
    assert find_violations(made, frame) == []
    assert parse_contract(format_contract(made)) == made


def test_what_people_declare_holds_instead_of_what_was_seen() -> None:
    declared = declare_contract(
        INFERRED,
        ranges={"distance": [0, 6000], "delay": "any", "at": {"low": "2013-01-01T00:00:00Z"}},
        categories={"carrier": ["UA", "B6"], "tail": "any"},
        rules=["delay <= distance"],
        mode="refuse",
    )
    assert declared.columns["distance"].range == Range(0.0, 6000.0)
    assert declared.columns["delay"].range is None
    assert declared.columns["carrier"].categories == ("B6", "UA")
    document = format_contract(declared)
    assert parse_contract(document) == declared
    assert '"range": {"low": "2013-01-01T00:00:00"}}' in document
    assert len(document.splitlines()) == len(TYPES) + 7


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"ranges": {"distanse": [0, 1]}}, r"which callers do not send. Did you mean 'distance'\?"),
        ({"ranges": {"distance": [1, 0]}}, "ends before it begins"),
        ({"ranges": {"distance": [1]}}, "is no range"),
        ({"ranges": {"distance": {"least": 1}}}, "is no range"),
        ({"ranges": {"distance": ["a", "b"]}}, "ends with a text"),
        ({"ranges": {"carrier": [0, 1]}}, "column of type category"),
        ({"categories": {"distance": ["a"]}}, "column of type number has no categories"),
        ({"categories": {"carrier": "AA"}}, "is no list of texts"),
        ({"rules": ["delay <= speed"]}, "names the column 'speed'"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_declared(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        declare_contract(INFERRED, **declared)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"schema": "greenroom/contract/2", "columns": {}}',
        '{"schema": "greenroom/contract/1", "columns": {"a": {"type": "colour"}}}',
        '{"schema": "greenroom/contract/1", "columns": {"a": {"type": "number"}}, "rules": ["a < b"]}',
        '{"schema": "greenroom/contract/1", "columns": {"a": {"type": "number"}}, "mode": "maybe"}',
        '{"schema": "greenroom/contract/1", "columns": {"a": {"type": "number", "range": {"low": "x"}}}}',
    ],
)
def test_what_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="contract"):
        parse_contract(text)


def test_the_gate_reads_what_is_written(tmp_path: Any) -> None:
    (tmp_path / "contract.json").write_text(format_contract(INFERRED), "utf-8")
    assert judge_contract(tmp_path).verdict == "yes"
    assert json.loads(format_contract(Contract({})))["columns"] == {}
