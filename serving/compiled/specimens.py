"""Rows to compare a plan with MLflow on: the model's own, and ones made from them that sit on its edges.

Columns permuted, missing values, unknown categories, numbers at the trees' thresholds and beside them,
extremes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from .artifacts import Opened
from .assembly import Assembly
from .symbols import Encoded, Number, is_missing
from .values import Doubt, make_reader

__all__ = ["make_rows", "read_rows"]

_EXTREMES: Final = (0.0, -0.0, 1.0, -1.0, 1e-300, 5e-324, 0.1, 1e6, -1e6, 1e9, -1e9)
_STRANGE: Final = ("", " ", "no such category", "Ünïcode ✓", "nan", "None", "0", "1.0")
_START: Final = pd.Timestamp("2013-01-01")
_EVALUATION: Final = "evaluation/rows.parquet"
MAX_OWN: Final = 2000

Row = list[Any]


def read_rows(folder: Path, opened: Opened) -> list[Row]:
    """The model's own rows, as JSON values in the order of its columns: evaluation rows, input example."""
    if opened.input["kind"] == "matrix":
        return _read_matrix(folder, opened)
    names = [column["name"] for column in opened.input["columns"]]
    kinds = {column["name"]: column["type"] for column in opened.input["columns"]}
    frames = [_read_example(folder, opened)]
    if (folder / _EVALUATION).is_file():
        frames.append(pd.read_parquet(folder / _EVALUATION).head(MAX_OWN))
    rows: list[Row] = []
    for frame in frames:
        if frame is not None and set(names) <= set(frame.columns):
            columns = [[_to_json(value, kinds[name]) for value in frame[name]] for name in names]
            rows.extend(list(row) for row in zip(*columns, strict=True))
    return rows


def _read_example(folder: Path, opened: Opened) -> "pd.DataFrame | None":
    info = opened.native.metadata.saved_input_example_info or {}
    path = folder / str(info.get("artifact_path", ""))
    if not path.is_file():
        return None
    example = json.loads(path.read_text("utf-8"))
    if not isinstance(example, dict) or not {"columns", "data"} <= example.keys():
        return None
    return pd.DataFrame(example["data"], columns=example["columns"], dtype=object)


def _read_matrix(folder: Path, opened: Opened) -> list[Row]:
    info = opened.native.metadata.saved_input_example_info or {}
    path = folder / str(info.get("serving_input_path", ""))
    if not path.is_file():
        return []
    example = json.loads(path.read_text("utf-8"))
    rows = example.get("inputs")
    return [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else []


def _to_json(value: Any, kind: str) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if kind == "datetime":
        return pd.Timestamp(value).isoformat()
    if kind == "string":
        return str(value)
    if kind == "boolean":
        return bool(value)
    return float(value) if kind in {"double", "float"} else int(value)


class _Pools:
    """Values that each column may take, most of them ordinary."""

    def __init__(
        self,
        assembly: Assembly,
        opened: Opened,
        document: Mapping[str, Any],
        own: Sequence[Row],
        rng: np.random.Generator,
    ) -> None:
        self._assembly, self._opened, self._rng = assembly, opened, rng
        self._limit: float = document["limit"]
        self.columns = _list_columns(document["input"])
        self.pools = [self._pool(place, column, own) for place, column in enumerate(self.columns)]
        self._keys = _list_keys(opened)

    def _pool(self, place: int, column: Mapping[str, Any], own: Sequence[Row]) -> list[Any]:
        """Only values that the plan reads: any other would take its whole row from the comparison."""
        features = [f for f in self._assembly.features if f.source == ("column", column["name"])]
        encoded = [feature for feature in features if isinstance(feature, Encoded)]
        read = make_reader(column["type"], missing=column["missing"], limit=self._limit)
        pool = []
        for value in self._list_values(column, [row[place] for row in own]):
            try:
                key = read(value)
            except Doubt:
                continue
            if all(f.unknown is not None or key in f.codes for f in encoded if not is_missing(key)):
                pool.append(value)
        return pool

    def _list_values(self, column: Mapping[str, Any], seen: Sequence[Any]) -> list[Any]:
        kind = column["type"]
        if kind == "boolean":
            return [True, False, *seen]
        if kind == "datetime":
            return [*seen, *self._make_moments(seen), None]
        features = [f for f in self._assembly.features if f.source == ("column", column["name"])]
        known = [key for f in features if isinstance(f, Encoded) for key in f.codes]
        if kind == "string":
            return [*seen, *map(str, known), *_STRANGE, None]
        numbers = [value for value in seen if value is not None] + known
        for number, feature in enumerate(self._assembly.features):
            if isinstance(feature, Number) and feature.source == ("column", column["name"]):
                numbers += self._at_thresholds(number, feature)
        spread = float(np.std(numbers)) if numbers else 1.0
        middle = float(np.mean(numbers)) if numbers else 0.0
        numbers += self._rng.normal(middle, spread or 1.0, 40).tolist()
        if kind in {"double", "float"}:
            return [*map(float, numbers), *_EXTREMES, None]
        return [*(int(number) for number in numbers), 0, 1, -1, 2**31 - 1]

    def _at_thresholds(self, number: int, feature: Number) -> list[float]:
        """Where trees split, undone to the raw column, and the next numbers above and below."""
        found = self._assembly.model.splits.get(number)
        if found is None:
            return []
        raw = self._rng.choice(found, min(60, len(found)), replace=False)
        for name, operand in reversed(feature.steps):
            raw = _UNDO[name](raw, operand) if name in _UNDO else raw
        with np.errstate(all="ignore"):
            single = raw.astype(np.float32)
            near = [
                single,
                np.nextafter(single, np.float32(np.inf)),
                np.nextafter(single, np.float32(-np.inf)),
            ]
        raw = np.concatenate([raw, np.nextafter(raw, np.inf), np.nextafter(raw, -np.inf), *near])
        return [float(value) for value in raw if np.isfinite(value) and abs(value) < 1e15]  # noqa: PLR2004

    def _make_moments(self, seen: Sequence[Any]) -> list[str]:
        first = pd.Timestamp(min((text for text in seen if text), default=str(_START)))
        offsets = self._rng.integers(-30 * 86400, 400 * 86400, 60)
        return [(first + pd.Timedelta(int(offset), "s")).floor("s").isoformat() for offset in offsets]

    def draw(self) -> Row:
        """One row; every second one is found in a lookup."""
        row = [pool[int(self._rng.integers(len(pool)))] for pool in self.pools]
        if self._keys and self._rng.random() < 0.5:  # noqa: PLR2004
            places, rows = self._keys[int(self._rng.integers(len(self._keys)))]
            for place, value in zip(places, rows[int(self._rng.integers(len(rows)))], strict=True):
                row[place] = value
        return row


def _list_columns(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if given["kind"] == "table":
        return list(given["columns"])
    column = {"type": given["type"], "missing": given["missing"]}
    return [{"name": place, **column} for place in range(given["width"])]


def _list_keys(opened: Opened) -> list[tuple[list[int], list[list[Any]]]]:
    """For each lookup: its raw columns, and keys that are found."""
    if opened.layers is None:
        return []
    places = {column["name"]: place for place, column in enumerate(opened.input["columns"])}
    kinds = {column["name"]: column["type"] for column in opened.input["columns"]}
    found = []
    for lookup, whole in zip(opened.layers["lookups"], opened.tables, strict=True):
        keys = [(key["left"], key["right"]) for key in lookup["keys"]]
        table = whole.sample(min(400, len(whole)), random_state=0)
        if "as_of" in lookup:
            table = _step_away(table, lookup["as_of"])
            keys.append((lookup["as_of"]["left"], lookup["as_of"]["right"]))
        columns = [[_to_json(value, kinds[left]) for value in table[right]] for left, right in keys]
        rows = [list(row) for row in zip(*columns, strict=True)]
        found += [([places[left] for left, _ in keys], rows)] if rows else []
    return found


def _step_away(table: "pd.DataFrame", as_of: Mapping[str, Any]) -> "pd.DataFrame":
    """Times at which a row is found, a second before and after, and at its greatest age.

    Whole seconds, for moments of two formats in one request are MLflow's to read.
    """
    limit = as_of["max_age_s"] or 3600
    steps = pd.to_timedelta([0, -1, 1, limit, limit + 1] * (len(table) // 5 + 1), unit="s")[: len(table)]
    moments = pd.to_datetime(table[as_of["right"]], format="ISO8601").dt.floor("s")
    return table.assign(**{as_of["right"]: moments + steps})


def make_rows(
    assembly: Assembly, opened: Opened, document: Mapping[str, Any], own: Sequence[Row], count: int
) -> list[Row]:
    """Makes rows; the same ones for the same model.

    Args:
        assembly: The plan in the making, for what its encoders and trees know.
        opened: The loaded model, for its lookups.
        document: The plan's, for what it reads.
        own: The model's own rows.
        count: How many rows, beside a fourth as many of its own that are changed.
    """
    rng = np.random.default_rng(0)
    pools = _Pools(assembly, opened, document, own, rng)
    made = [pools.draw() for _ in range(count)]
    for row in own[: count // 4]:  # the model's own rows with one value changed
        changed = list(row)
        place = int(rng.integers(len(row)))
        changed[place] = pools.draw()[place]
        made.append(changed)
    return made


_UNDO: Final[Mapping[str, Any]] = {
    "subtract": np.add,
    "add": np.subtract,
    "divide": np.multiply,
    "multiply": np.divide,
}
