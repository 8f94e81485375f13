import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from serving.batch.conversion import convert_columns
from serving.batch.order import Column


def convert(values: pa.Array, kind: str) -> tuple[list[Any], str, list[tuple[int, str]]]:
    """A column's values, its type, and what is wrong in which row."""
    frame, faults = convert_columns(pa.table({"x": values}), [Column("x", kind)])
    told = [(int(row), fault.found) for fault in faults for row in fault.rows]
    return frame["x"].tolist(), str(frame["x"].dtype), sorted(told)


def test_texts_become_numbers_as_python_reads_them() -> None:
    texts = ["0.1", "1e-5", "-3", "123456789.123456789", None]
    found, kind, faults = convert(pa.array(texts), "double")
    assert found[:4] == [float(text) for text in texts[:4] if text]
    assert (np.isnan(found[4]), kind, faults) == (True, "float64", [])
    found, _, faults = convert(pa.array([" 2", "zwei", "1_0", "٣", "inf", None, "0.1"]), "double")
    assert (found[0], found[4], found[6]) == (2.0, float("inf"), 0.1)
    assert faults == [(1, "a text"), (2, "a text"), (3, "a text")]


def test_whole_numbers_keep_their_value_or_are_bad() -> None:
    assert convert(pa.array([1, None, 2**53]), "double")[2] == []
    assert convert(pa.array([2**53 + 2]), "double")[2] == [(0, "a whole number of more than 53 bits")]
    found, kind, faults = convert(pa.array(["1", "2.0", "2.5", None, "x", str(2**63)]), "long")
    assert (found[:2], kind) == ([1, 2], "int64")
    assert faults == [(2, "a text"), (3, "missing"), (4, "a text"), (5, "a text")]
    _, kind, faults = convert(pa.array([1, None, 2**31]), "integer")
    assert (kind, faults) == ("int32", [(1, "missing"), (2, "a whole number beyond its type")])
    assert convert(pa.array([str(2**62 + 1)]), "long")[0] == [2**62 + 1]


def test_moments_are_those_of_utc_and_texts_are_iso_8601() -> None:
    noon = pd.Timestamp("2020-06-01 12:00")
    zoned = pa.array([dt.datetime(2020, 6, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=-4)))])
    assert convert(zoned.cast(pa.timestamp("ms", "America/New_York")), "datetime")[0] == [noon]
    found, kind, faults = convert(
        pa.array(["2020-06-01T12:00", "2020-06-01 14:00:00+02:00", None, "gestern"]), "datetime"
    )
    assert (found[:2], kind, faults) == ([noon, noon], "datetime64[ns]", [(3, "a text that is no moment")])
    assert convert(pa.array([dt.date(2020, 6, 1)]), "datetime")[0] == [pd.Timestamp("2020-06-01")]
    assert convert(pa.array([dt.date(9999, 1, 1)]), "datetime")[2] == [(0, "a moment too far away")]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array(["true", "FALSE"]), "boolean", [True, False]),
        (pa.array([True, False]), "boolean", [True, False]),
        (pa.array(["a", "b"]).dictionary_encode(), "string", ["a", "b"]),
        (pa.array([Decimal("1.25"), Decimal("0.10")]), "double", [1.25, 0.1]),
        (pa.array([1.5, 2.5], pa.float32()), "double", [1.5, 2.5]),
        (pa.array([["a"], []]), "", [["a"], []]),
    ],
)
def test_what_files_hold_becomes_what_models_take(values: pa.Array, kind: str, expected: list[Any]) -> None:
    found, _, faults = convert(values, kind)
    assert ([list(one) if isinstance(one, np.ndarray) else one for one in found], faults) == (expected, [])


def test_a_text_that_is_no_truth_value_is_bad() -> None:
    assert convert(pa.array(["true", "yes", None]), "boolean")[2] == [(1, "a text")]


def test_columns_come_in_the_models_order_with_a_fresh_index() -> None:
    table = pa.table({"b": [1.0, 2.0], "a": ["x", None]})
    frame, _ = convert_columns(table, [Column("a", "string"), Column("b", "double")])
    assert (list(frame), list(frame.index)) == (["a", "b"], [0, 1])
