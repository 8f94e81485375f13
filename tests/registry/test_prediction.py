"""Tables as people have them, brought into the types that a model names."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import ColSpec, Schema

from registry.prediction import conform


def fit(kind: str, values: Any) -> Any:
    return conform(pd.DataFrame({"a": values, "other": 1}), Schema([ColSpec(kind, "a")]))["a"]


@pytest.mark.parametrize(
    ("kind", "values", "dtype"),
    [
        ("double", [1, 2], "float64"),
        ("double", pd.array([1, None], dtype="Int64"), "float64"),
        ("long", np.array([1, 2], dtype="int16"), "int64"),
        ("datetime", pd.to_datetime(["2013-01-01"] * 2).astype("datetime64[us]"), "datetime64[ns]"),
        ("string", pd.Categorical(["x", "y"]), "str"),
    ],
)
def test_columns_are_brought_into_the_model_s_types(kind: str, values: Any, dtype: str) -> None:
    assert str(fit(kind, values).dtype) in {dtype, "object"}
    assert fit(kind, values).dropna().tolist() == pd.Series(values).dropna().tolist()


@pytest.mark.parametrize(
    ("kind", "values"),
    [("double", [2**53 + 1, 0]), ("long", [1.5, 2.0]), ("long", pd.array([1, None], dtype="Int64"))],
)
def test_no_value_is_changed_to_make_it_fit(kind: str, values: Any) -> None:
    assert fit(kind, values).dtype == pd.Series(values).dtype


def test_without_names_or_a_schema_a_table_stays_as_it_is() -> None:
    frame = pd.DataFrame({"a": [1]})
    assert conform(frame, None) is frame
    assert conform(frame, Schema([ColSpec("double")])) is frame
