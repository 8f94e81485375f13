"""Prediction tables for tests."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from registry import PredictionTable

NO_TRUTH = pd.DataFrame(
    {"truth": pd.Series(dtype="float64"), "truth_time": pd.Series(dtype="datetime64[us, UTC]")}
)


def make_table(
    ids: Sequence[str],
    *,
    start: str = "2026-03-01T12:00:00Z",
    version: str = "1",
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
) -> PredictionTable:
    """One prediction a second, none of them known to be true."""
    rows = pd.RangeIndex(len(ids))
    meta = pd.DataFrame(
        {
            "id": list(ids),
            "time": pd.date_range(start, periods=len(ids), freq="s", unit="us"),
            "version": version,
            "path": "compiled",
        }
    )
    return PredictionTable(
        meta.astype({"id": "str", "version": "str", "path": "str"}),
        pd.DataFrame(inputs if inputs is not None else {"size": 1.0}, index=rows),
        pd.DataFrame(outputs if outputs is not None else {"prediction": 2.0}, index=rows),
        NO_TRUTH.reindex(rows),
    )
