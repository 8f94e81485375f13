"""Lets a compiled plan answer a batch; what it is not sure of is left to MLflow's own code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from serving.compiled.plan import MEDIA_TYPE, open_plan
from serving.errors import BrokenContractError

__all__ = ["PlannedModel"]


class PlannedModel:
    """A plan, asked as a worker of ``serve-model`` asks it.

    Args:
        folder: The plan's.
        params: For every batch.
    """

    def __init__(self, folder: Path, params: Mapping[str, Any]) -> None:
        self._plan = open_plan(folder)
        self._params = {"params": dict(params)} if params else {}

    def predict(self, frame: pd.DataFrame) -> Any:
        """One answer per row; None where only MLflow's own code knows."""
        rows = _write_rows(frame)
        if rows is None:
            return None
        document = {"dataframe_split": {"columns": list(frame.columns), "data": rows}, **self._params}
        try:
            batch = self._plan.parse(orjson.dumps(document), MEDIA_TYPE)
        except BrokenContractError:
            return None  # which rows, MLflow's own code says one by one
        if batch is None:
            return None
        return orjson.loads(self._plan.run([batch])[0])["predictions"]


def _write_rows(frame: pd.DataFrame) -> list[Any] | None:
    columns = [_write_column(frame[name]) for name in frame.columns]
    if any(column is None for column in columns):
        return None
    return list(zip(*columns, strict=True))


def _write_column(values: "pd.Series[Any]") -> list[Any] | None:
    """JSON values as a caller of the scoring server would send them; None for what JSON does not have."""
    kind = values.dtype.kind
    if kind == "f":
        numbers = values.to_numpy()
        missing = np.isnan(numbers)
        if np.isinf(numbers).any():
            return None
        return _blank(numbers, missing)
    if kind == "M":
        moments = values.to_numpy().astype("datetime64[ns]")
        micro = moments.astype("datetime64[us]")
        if (micro.astype("datetime64[ns]") != moments)[~np.isnat(moments)].any():
            return None
        texts = np.datetime_as_string(micro)
        return _blank(texts, np.isnat(moments))
    if kind in "iub":
        return values.tolist()
    return [None if one is None or one != one else one for one in values.tolist()]  # noqa: PLR0124 - NaN


def _blank(values: NDArray[Any], missing: NDArray[np.bool_]) -> list[Any]:
    found: list[Any] = values.tolist()
    if missing.any():
        for place in np.flatnonzero(missing):
            found[place] = None
    return found
