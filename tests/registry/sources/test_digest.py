from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from registry import compute_table_digest, read_table


def make_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [1.0, None, 3.0, 4.0],
            "count": [1, 2, 3, 4],
            "text": ["a", None, "é", ""],
            "moment": pd.Series(pd.to_datetime(["2013-01-01", "", "2013-01-03", "2013-01-04"])),
            "truth": [True, False, True, False],
            "kind": pd.Categorical(["x", "y", "x", None]),
            "mixed": [1, "1", None, (2, 3)],
        }
    )


@pytest.mark.parametrize("name", list(make_frame().columns))
@pytest.mark.parametrize("row", [0, 1, 3])
def test_every_single_value_changes_the_digest(name: str, row: int) -> None:
    frame = make_frame()
    others = {"number": 9.0, "count": 9, "text": "other", "moment": pd.Timestamp("1999-01-01"), "kind": "y"}
    changed = frame.copy()
    if name == "truth":
        changed.loc[row, name] = not frame.loc[row, name]
    elif name == "kind" and frame.loc[row, name] == "y":
        changed.loc[row, name] = "x"
    else:
        changed[name] = [*frame[name][:row], others.get(name, "other"), *frame[name][row + 1 :]]
    assert compute_table_digest(changed) != compute_table_digest(frame)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.rename(columns={"count": "number of"}),
        lambda frame: frame.astype({"count": "float64"}),
        lambda frame: frame.astype({"count": "int32"}),
        lambda frame: frame.astype({"truth": "int64"}),
        lambda frame: frame.iloc[::-1],
        lambda frame: frame.iloc[:3],
        lambda frame: frame[frame.columns[::-1]],
        lambda frame: frame.drop(columns="text"),
    ],
)
def test_names_types_and_order_change_the_digest(change: object) -> None:
    frame = make_frame()
    assert callable(change)
    assert compute_table_digest(change(frame)) != compute_table_digest(frame)


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=2, max_size=30), st.data())
def test_the_digest_does_not_depend_on_how_rows_were_chunked(
    values: list[str | None], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    whole = pd.DataFrame({"text": pd.Series(values, dtype="str"), "row": np.arange(len(values))})
    table = pa.Table.from_pandas(whole)
    parts = pa.concat_tables([table.slice(0, cut), table.slice(cut)]).to_pandas()
    assert compute_table_digest(parts) == compute_table_digest(whole)


@given(
    st.lists(st.text(max_size=3), min_size=1, max_size=5),
    st.lists(st.text(max_size=3), min_size=1, max_size=5),
)
def test_texts_that_join_to_the_same_are_not_the_same(left: list[str], right: list[str]) -> None:
    equal = compute_table_digest(pd.DataFrame({"a": left})) == compute_table_digest(
        pd.DataFrame({"a": right})
    )
    assert equal == (left == right)


def test_a_late_row_counts_too() -> None:
    frame = pd.DataFrame({"a": np.zeros(50_000)})
    changed = frame.copy()
    changed.loc[49_999, "a"] = 1.0
    assert compute_table_digest(changed) != compute_table_digest(frame)


def test_the_index_does_not_count_and_missing_values_are_all_alike() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan]})
    assert compute_table_digest(frame) == compute_table_digest(frame.set_axis([7, 9]))
    payload = np.array([0x7FF8000000000001], dtype="uint64").view("float64")[0]
    assert compute_table_digest(frame) == compute_table_digest(pd.DataFrame({"a": [1.0, payload]}))


def test_parquet_keeps_the_digest(tmp_path: Path) -> None:
    frame = make_frame().drop(columns=["mixed", "kind"])
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=2)
    assert compute_table_digest(read_table(str(tmp_path / "rows.parquet"))) == compute_table_digest(frame)
