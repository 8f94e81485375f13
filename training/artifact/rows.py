"""The row layer: raw columns typed, parts of moments, columns of second tables; each row by itself."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

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
            column["name"]: as_type(find_column(frame, column["name"]), column["type"])
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
        keys = [as_key(find_column(raw, key["left"]), key) for key in lookup["keys"]]
        if "as_of" not in lookup:
            return self._open(number).get_indexer(_join(keys))
        moments = as_type(find_column(raw, lookup["as_of"]["left"]), "datetime")
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


def find_column(frame: Any, name: str) -> Any:
    """A column, or a missing value per row where an optional one was not sent."""
    if name in frame:
        return frame[name].reset_index(drop=True)
    return pd.Series(np.nan, index=range(len(frame)), dtype=object)
