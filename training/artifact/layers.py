"""The layers of this model: raw rows in, answers out.

This file travels inside the model (MLflow's models-from-code) and is also what training fits, so features
are written once. It needs mlflow, numpy, pandas, scikit-learn and skops, and nothing of Greenroom's.

``parts/layers.json`` says what the layers are::

    columns   [{"name", "type"}]         the raw columns; type: number, category, datetime or boolean
    datetime  {"column": ["hour", …]}    parts of a moment that become features
    lookups   [{"file", "prefix", "keys": [{"left", "right", "type", "floor"}],
                "as_of": {"left", "right", "max_age_s"}, "columns": [{"name", "type"}]}]    columns of a
              second table that become features; with as_of those of its latest row by then
    features  ["…"]                      what the pipeline gets, in this order
    task, classes, output, has_probability, serialization
    contract  {"file", "mode", "rules": [{"text", "type", "left", "operator", "right"}]}    only where rows
              that break the contract in ``file`` are refused; a side is {"column"} or {"value"}

With ``GREENROOM_CONTRACT=off`` in the environment no row is refused for breaking the contract.
"""

import json
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from sklearn.base import BaseEstimator, TransformerMixin

OUTPUTS = ("answer", "probability", "full")
TRUSTED = ("sklearn.", "numpy.", "scipy.")
"""Only types from these packages are ever built from ``pipeline.skops``."""

PARTS = {
    "year": lambda moment: moment.dt.year,
    "quarter": lambda moment: moment.dt.quarter,
    "month": lambda moment: moment.dt.month,
    "week": lambda moment: moment.dt.isocalendar().week,
    "day": lambda moment: moment.dt.day,
    "dayofyear": lambda moment: moment.dt.day_of_year,
    "weekday": lambda moment: moment.dt.day_of_week,
    "hour": lambda moment: moment.dt.hour,
    "minute": lambda moment: moment.dt.minute,
    "minute_of_day": lambda moment: moment.dt.hour * 60 + moment.dt.minute,
}
COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
FLOORS = {"minute": "min", "hour": "h", "day": "D"}


class RowFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns raw rows into the pipeline's features, each row by itself; nothing is learned.

    Args:
        plan: The layers as in ``layers.json`` (``columns``, ``datetime``, ``lookups``, ``features``).
        tables: One frame per lookup, its key columns unique together.
    """

    def __init__(self, plan: dict[str, Any], tables: tuple[pd.DataFrame, ...] = ()) -> None:
        self.plan = plan
        self.tables = tables

    def fit(self, frame: pd.DataFrame, y: object = None) -> "RowFeatures":  # noqa: ARG002 - sklearn's shape
        """Learns nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Returns one row per row, same order and index, with the plan's features as columns."""
        raw = {
            column["name"]: as_type(_column(frame, column["name"]), column["type"])
            for column in self.plan["columns"]
        }
        made = dict(raw)
        for name, parts in self.plan["datetime"].items():
            made |= {f"{name}.{part}": PARTS[part](raw[name]).astype("float64") for part in parts}
        for number, lookup in enumerate(self.plan["lookups"]):
            made |= self._look_up(number, lookup, raw)
        features = {name: made[name].to_numpy() for name in self.plan["features"]}
        return pd.DataFrame(features, index=frame.index, columns=list(features))

    def get_feature_names_out(self, names: object = None) -> Any:  # noqa: ARG002 - sklearn's shape
        """The plan's features."""
        return np.asarray(self.plan["features"], dtype=object)

    def find(self, number: int, frame: pd.DataFrame) -> Any:
        """Where each row's keys are in lookup table ``number``; -1 where nowhere."""
        return self._find(number, self.plan["lookups"][number], frame)

    def _find(self, number: int, lookup: dict[str, Any], raw: Any) -> Any:
        keys = [as_key(_column(raw, key["left"]), key) for key in lookup["keys"]]
        if "as_of" not in lookup:
            return self._open(number).get_indexer(_join(keys))
        moments = as_type(_column(raw, lookup["as_of"]["left"]), "datetime")
        return self._open(number).find(keys, moments.to_numpy().astype("int64"))

    def _open(self, number: int) -> Any:
        cache = self.__dict__.setdefault("_indexes", {})
        if number not in cache:
            table, lookup = self.tables[number], self.plan["lookups"][number]
            keys = [as_key(table[key["right"]], key) for key in lookup["keys"]]
            cache[number] = Timelines(lookup["as_of"], keys, table) if "as_of" in lookup else _join(keys)
        return cache[number]

    def _look_up(self, number: int, lookup: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
        positions = self._find(number, lookup, raw)
        found = positions >= 0
        made = {}
        for column in lookup["columns"]:
            values = as_type(self.tables[number][column["name"]], column["type"]).to_numpy()
            taken = values[np.where(found, positions, 0)] if len(values) else np.full(len(found), np.nan)
            made[lookup["prefix"] + column["name"]] = pd.Series(taken).where(found, np.nan)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_indexes"}


class Timelines:
    """The rows of a second table in the order of their times, for each key by itself.

    Args:
        as_of: As in ``layers.json``.
        keys: The table's exact keys, as they are compared; may be none.
        table: No key has two rows of the same time.
    """

    def __init__(self, as_of: dict[str, Any], keys: list[Any], table: pd.DataFrame) -> None:
        self.limit = as_of["max_age_s"]
        self.known = _join(keys).unique() if keys else None
        times = as_type(table[as_of["right"]], "datetime").to_numpy().astype("int64")
        self.times = np.unique(times)
        codes = self._number(keys, times) * len(self.times) + np.searchsorted(self.times, times)
        self.rows = np.argsort(codes, kind="stable")
        self.codes = codes[self.rows]

    def find(self, keys: list[Any], moments: Any) -> Any:
        """Each moment's latest row at or before it (nanoseconds), at most ``max_age_s`` older; -1: none."""
        numbers, ranks = self._number(keys, moments), np.searchsorted(self.times, moments, side="right") - 1
        places = np.searchsorted(self.codes, numbers * len(self.times) + ranks, side="right") - 1
        found = (numbers >= 0) & (ranks >= 0) & (places >= 0)
        places = places[found]
        own, ranks = np.divmod(self.codes[places], max(1, len(self.times)))
        fits = own == numbers[found]
        if self.limit is not None:
            fits &= moments[found] - self.times[ranks] <= self.limit * 1_000_000_000
        rows = np.full(len(moments), -1)
        rows[found] = np.where(fits, self.rows[places], -1)
        return rows

    def _number(self, keys: list[Any], moments: Any) -> Any:
        return np.zeros(len(moments), int) if self.known is None else self.known.get_indexer(_join(keys))


def as_type(values: Any, kind: str) -> Any:
    """One raw column as its layer type: float64, text (object), or datetime64[ns] without a zone (UTC)."""
    if kind == "datetime":
        moments = pd.to_datetime(values, format="ISO8601")
        if moments.dt.tz is not None:
            moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
        return moments.astype("datetime64[ns]")
    if kind == "category":
        text = values.astype(object)
        if pd.api.types.infer_dtype(values, skipna=True) == "string":  # the usual case: nothing to convert
            return text.where(values.notna(), np.nan)
        missing = text.isna()
        return text.where(missing, text.map(str)).where(~missing, np.nan).astype(object)
    if values.dtype == object:  # numbers with None among them
        return pd.to_numeric(values.map(_as_number)).astype("float64")
    return pd.to_numeric(values).astype("float64")


def as_key(values: Any, key: dict[str, Any]) -> Any:
    """A column as it is compared in a lookup: its type, and its floor if it is a moment."""
    typed = as_type(values, key["type"])
    return typed.dt.floor(FLOORS[key["floor"]]) if key.get("floor") else typed


def _join(keys: list[Any]) -> Any:
    return pd.Index(keys[0]) if len(keys) == 1 else pd.MultiIndex.from_arrays(keys)


def _as_number(value: object) -> object:
    return float(value) if isinstance(value, (bool, np.bool_)) else value


def _column(frame: Any, name: str) -> Any:
    """A column, or a missing value per row where an optional one was not sent."""
    if name in frame:
        return frame[name].reset_index(drop=True)
    return pd.Series(np.nan, index=range(len(frame)), dtype=object)


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


def _comparable(frame: pd.DataFrame, name: str, kind: str) -> tuple[Any, Any, Any]:
    """A column's values (moments as microseconds), where there is one, and where it is infinite.

    What MLflow hands over is typed already, and then no Series is made: one row is what most requests have.
    """
    array = frame[name].to_numpy() if name in frame else np.empty(0, dtype=object)
    if kind in {"category", "text"}:
        if name not in frame or pd.api.types.infer_dtype(array, skipna=True) not in {"string", "empty"}:
            array = as_type(_column(frame, name), "category").to_numpy()
        known = pd.notna(array)
        return array, known, np.zeros(len(known), bool)
    if kind == "datetime":
        if array.dtype.kind != "M":
            array = as_type(_column(frame, name), kind).to_numpy()
        return array.astype("datetime64[us]").view("int64"), ~np.isnat(array), np.zeros(len(array), bool)
    if array.dtype != np.float64:
        array = as_type(_column(frame, name), kind).to_numpy()
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


class LayeredModel(PythonModel):
    """Data, features, scoring, evaluation: one after the other."""

    def load_context(self, context: Any) -> None:
        """Opens the parts."""
        folder = Path(context.artifacts["parts"])
        self.plan = json.loads((folder / "layers.json").read_text("utf-8"))
        tables = tuple(pd.read_parquet(folder / lookup["file"]) for lookup in self.plan["lookups"])
        self.rows = RowFeatures(self.plan, tables)
        self.pipeline = load_pipeline(folder, self.plan["serialization"])
        self.contract = load_contract(folder, self.plan)

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow passes it
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Answers every row.

        Args:
            context: Unused; MLflow passes it.
            model_input: Raw rows.
            params: ``output``: ``answer`` (one label or number per row), ``probability`` (one column per
                class) or ``full`` (both).
        """
        output = (params or {}).get("output") or self.plan["output"]
        if output not in OUTPUTS:
            raise MlflowException.invalid_parameter_value(
                f"output must be one of {', '.join(OUTPUTS)}, not {str(output)[:40]!r}."
            )
        if self.contract is not None:
            self.contract.check(model_input)
        features = self.rows.transform(model_input)
        if output == "answer":
            return self.pipeline.predict(features)
        return self._predict_wide(features, output, model_input.index)

    def _predict_wide(self, features: pd.DataFrame, output: str, index: pd.Index) -> pd.DataFrame:
        if output == "probability" and not self.plan["has_probability"]:
            raise MlflowException.invalid_parameter_value("This model gives answers without probabilities.")
        columns = {} if output == "probability" else {"answer": self.pipeline.predict(features)}
        if self.plan["has_probability"]:
            prefix = "" if output == "probability" else "probability_"
            names = [f"{prefix}{label}" for label in self.plan["classes"]]
            columns |= dict(zip(names, self.pipeline.predict_proba(features).T, strict=True))
        return pd.DataFrame(columns, index=index)


def load_contract(folder: Path, plan: dict[str, Any]) -> RowContract | None:
    """Opens the contract that refuses rows; None where there is none, or it is switched off."""
    enforced = plan.get("contract")
    if enforced is None or enforced["mode"] != "refuse" or os.environ.get("GREENROOM_CONTRACT") == "off":
        return None
    columns = json.loads((folder / enforced["file"]).read_text("utf-8"))["columns"]
    return RowContract(columns, enforced["rules"])


def load_pipeline(folder: Path, serialization: str) -> Any:
    """Opens the fitted columns and estimator."""
    if serialization == "cloudpickle":
        import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - only where skops could not store the estimator

        return cloudpickle.loads((folder / "pipeline.pkl").read_bytes())
    from skops.io import get_untrusted_types, load  # noqa: PLC0415 - not needed in training

    file = folder / "pipeline.skops"
    types = get_untrusted_types(file=file)
    refused = [name for name in types if not name.startswith(TRUSTED)]
    if refused:
        raise MlflowException.invalid_parameter_value(
            f"pipeline.skops holds types from outside scikit-learn, NumPy and SciPy: {', '.join(refused)}."
        )
    return load(file, trusted=types)


set_model(LayeredModel())
