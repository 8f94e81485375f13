"""The data contract inside a model: what raw rows must look like, or they are refused."""

import json
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from .rows import as_type, find_column

COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


class RowContract:
    """What raw rows must look like. Messages name row, column and kind of value, never the value.

    Args:
        columns: As in ``contract.json``.
        rules: As in ``layers.json``.
    """

    def __init__(self, columns: dict[str, Any], rules: list[dict[str, Any]]) -> None:
        self.columns = {
            name: {**column, "categories": frozenset(column["categories"])}
            if "categories" in column
            else column
            for name, column in columns.items()
        }
        self.rules = rules

    def check(self, frame: pd.DataFrame) -> None:
        """Raises on the first row that breaks the contract, and says how many more violations there are.

        Raises:
            MlflowException: Which row, column, kind of value and rule; MLflow's server answers 400.
        """
        found = sorted(self._find(frame))
        if found:
            row, _, name, value_class, rule, _ = found[0]
            more = sum(count for *_, count in found) - 1
            raise MlflowException.invalid_parameter_value(
                f"Row {row + 1}, column {name!r}: {value_class}, where the contract asks for {rule}."
                + (f" And {more} more like it or of other kinds." if more else "")
            )

    def _find(self, frame: pd.DataFrame) -> Iterator[tuple[int, int, str, str, str, int]]:
        """First row, place in the contract, column, kind of value, rule, and how many rows."""
        read = {name: _comparable(frame, name, column["type"]) for name, column in self.columns.items()}
        for order, (name, column) in enumerate(self.columns.items()):
            for value_class, wanted, marked in _judge(column, *read[name]):
                if marked.any():
                    yield int(marked.argmax()), order, name, value_class, wanted, int(marked.sum())
        for order, rule in enumerate(self.rules, len(self.columns)):
            broken, names = self._break(rule, read)
            if broken.any():
                row, count = int(broken.argmax()), int(broken.sum())
                yield row, order, ", ".join(names), "against the rule", rule["text"], count

    def _break(self, rule: dict[str, Any], read: dict[str, Any]) -> tuple[Any, list[str]]:
        sides = [rule["left"], rule["right"]]
        names = list(dict.fromkeys(side["column"] for side in sides if "column" in side))
        known = np.logical_and.reduce([read[name][1] & ~read[name][2] for name in names])
        values = [read[side["column"]][0][known] if "column" in side else side["value"] for side in sides]
        broken = np.zeros(len(known), dtype=bool)
        broken[known] = ~np.asarray(COMPARISONS[rule["operator"]](*values), dtype=bool)
        return broken, names


def load_contract(folder: Path, plan: dict[str, Any]) -> RowContract | None:
    """Opens the contract that refuses rows; None where there is none, or it is switched off."""
    enforced = plan.get("contract")
    if enforced is None or enforced["mode"] != "refuse" or os.environ.get("GREENROOM_CONTRACT") == "off":
        return None
    columns = json.loads((folder / enforced["file"]).read_text("utf-8"))["columns"]
    return RowContract(columns, enforced["rules"])


def _comparable(frame: pd.DataFrame, name: str, kind: str) -> tuple[Any, Any, Any]:
    """A column's values (moments as microseconds), where there is one, and where it is infinite.

    What MLflow hands over is typed already, and then no Series is made: one row is what most requests have.
    """
    array = frame[name].to_numpy() if name in frame else np.empty(0, dtype=object)
    if kind in {"category", "text"}:
        if name not in frame or pd.api.types.infer_dtype(array, skipna=True) not in {"string", "empty"}:
            array = as_type(find_column(frame, name), "category").to_numpy()
        known = pd.notna(array)
        return array, known, np.zeros(len(known), bool)
    if kind == "datetime":
        if array.dtype.kind != "M":
            array = as_type(find_column(frame, name), kind).to_numpy()
        return array.astype("datetime64[us]").view("int64"), ~np.isnat(array), np.zeros(len(array), bool)
    if array.dtype != np.float64:
        array = as_type(find_column(frame, name), kind).to_numpy()
    return array, ~np.isnan(array), np.isinf(array)


def _judge(column: dict[str, Any], values: Any, known: Any, infinite: Any) -> Iterator[tuple[str, str, Any]]:
    if not column["nullable"]:
        yield "missing", "a value", ~known
    yield "an infinite number", "a finite number", infinite
    categories, limits = column.get("categories"), column.get("range", {})
    if categories is not None:
        unknown = np.fromiter((value not in categories for value in values), bool, len(values))
        yield "an unknown category", f"one of {len(categories)} known categories", known & unknown
    sound = known & ~infinite
    for end, worse, wanted in (("low", "below", "at least"), ("high", "above", "at most")):
        if end in limits:
            limit, text = limits[end], limits[end]
            if column["type"] == "datetime":
                limit = np.datetime64(limit, "us").astype("int64")
            else:
                text = f"{limit:.12g}"
            beyond = values < limit if end == "low" else values > limit
            yield f"{worse} {text}", f"{wanted} {text}", sound & beyond
