"""Decides the features: which raw columns, which parts of moments, which columns of which second table.

What it decides becomes ``layers.json``; ``artifact/layers.py`` does it, in training and in serving alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from registry import DataError, UsageError, parse_source, read_source

from .columns import ColumnType, RawColumn, check_columns, convert_column, find_row, infer_type
from .dataset import Dataset
from .job import FeaturesSection, Job, LookupSection

__all__ = ["FeaturePlan", "plan_features"]


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """The features of a job, decided for its data.

    Attributes:
        raw: The raw columns, in the order callers see them.
        numeric: Names of numeric features after the row layer.
        categorical: Names of categorical features after the row layer.
        layers: The row layer's part of ``layers.json``.
        tables: The lookup tables, keys and wanted columns only.
        matched: Share of rows found in each lookup, by its source.
    """

    raw: tuple[RawColumn, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    layers: dict[str, Any]
    tables: tuple[pd.DataFrame, ...] = field(default=(), repr=False)
    matched: tuple[tuple[str, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All features after the row layer."""
        return (*self.numeric, *self.categorical)


@dataclass(slots=True)
class _Draft:
    """Features being collected; refuses a name that comes twice."""

    types: dict[str, ColumnType] = field(default_factory=dict)
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)

    def add(self, name: str, *, numeric: bool) -> None:
        if name in self.numeric or name in self.categorical:
            raise UsageError(
                f"[features] makes {name!r} twice.", hint="Remove one, or give the lookup a prefix."
            )
        (self.numeric if numeric else self.categorical).append(name)


def plan_features(job: Job, dataset: Dataset) -> tuple[FeaturePlan, pd.DataFrame]:
    """Decides the features, and returns the raw columns typed.

    Raises:
        DataError: A column is missing or of the wrong type, a declared leak or the target is a feature, a
            lookup has a key twice or matches nothing.
        UsageError: A feature is made twice, or there are none.
    """
    section = job.spec.features
    _refuse_leaks(job, section)
    draft = _Draft()
    _add_columns(job, dataset, draft)
    lookups, tables = _read_lookups(job, dataset, draft)
    if not draft.numeric and not draft.categorical:
        raise UsageError(
            "[features] leaves no feature.", hint="Name some in numeric, categorical or datetime."
        )
    rows = pd.DataFrame(
        {name: convert_column(dataset.frame[name], kind, dataset.text) for name, kind in draft.types.items()}
    )
    raw = tuple(RawColumn(name, kind, not rows[name].isna().any()) for name, kind in draft.types.items())
    layers = {
        "columns": [{"name": column.name, "type": column.type} for column in raw],
        "datetime": {name: list(parts) for name, parts in section.datetime.items()},
        "lookups": lookups,
        "features": [*draft.numeric, *draft.categorical],
    }
    matched = _check_matches(job, layers, tables, rows)
    plan = FeaturePlan(raw, tuple(draft.numeric), tuple(draft.categorical), layers, tables, matched)
    return plan, rows


def _refuse_leaks(job: Job, section: FeaturesSection) -> None:
    asked = {
        *(section.numeric or ()),
        *(section.categorical or ()),
        *section.datetime,
        *(name for lookup in section.lookup for name in (*lookup.on, *(lookup.as_of or ()), *lookup.columns)),
    }
    for name in section.leaks:
        if name in asked:
            raise DataError(
                f"The column {name!r} is declared in features.leaks and used as a feature.",
                hint="It would tell the answer in advance; remove it from one of them.",
            )
    if job.spec.data.target in {*(section.numeric or ()), *(section.categorical or ()), *section.datetime}:
        raise DataError(f"The target {job.spec.data.target!r} is used as a feature.", hint="Remove it.")


def _add_columns(job: Job, dataset: Dataset, draft: _Draft) -> None:
    section, frame, declared = job.spec.features, dataset.frame, job.spec.data.types
    check_columns(declared, frame, dataset.text, "data.types")
    check_columns(section.numeric or (), frame, dataset.text, "features.numeric")
    check_columns(section.categorical or (), frame, dataset.text, "features.categorical")
    check_columns(section.datetime, frame, dataset.text, "features.datetime")
    if section.is_automatic:
        _add_all(job, dataset, draft)
        return
    for name in section.numeric or ():
        kind = declared.get(name, infer_type(frame[name]))
        draft.types[name] = kind if kind == "boolean" else "number"
        draft.add(name, numeric=True)
    for name in section.categorical or ():
        kind = declared.get(name, infer_type(frame[name]))
        draft.types[name] = "category" if kind == "datetime" else kind
        draft.add(name, numeric=False)
    for name, parts in section.datetime.items():
        draft.types[name] = "datetime"
        for part in parts:
            draft.add(f"{name}.{part}", numeric=True)


def _add_all(job: Job, dataset: Dataset, draft: _Draft) -> None:
    """Every column but the target, leaks, time and group; moments are left out, their parts must be named."""
    spec = job.spec
    left_out = {spec.data.target, spec.data.time, spec.split.group, *spec.features.leaks}
    for name in dataset.frame.columns:
        if name in left_out:
            continue
        kind = spec.data.types.get(name, infer_type(dataset.frame[name]))
        if kind != "datetime":
            draft.types[name] = kind
            draft.add(name, numeric=kind in {"number", "boolean"})


def _read_lookups(
    job: Job, dataset: Dataset, draft: _Draft
) -> tuple[list[dict[str, Any]], tuple[pd.DataFrame, ...]]:
    lookups, tables = [], []
    for number, section in enumerate(job.spec.features.lookup):
        source = parse_source(section.source, folder=job.folder, query=section.query, args=section.args)
        table = read_source(source)
        check_columns(section.on, dataset.frame, dataset.text, "features.lookup.on")
        check_columns(section.on.values(), table, source.text, "features.lookup.on")
        check_columns(section.columns, table, source.text, "features.lookup.columns")
        keys = [_plan_key(job, section, left, table, (dataset, draft)) for left in section.on]
        as_of = _plan_as_of(section, table, draft, (dataset, source.text))
        columns = [_plan_column(table, name, section.prefix, draft, source.text) for name in section.columns]
        every = [*keys, *({"right": one["right"], "type": "datetime"} for one in as_of.values())]
        typed = _type_table(table, every, columns, source.text)
        _refuse_doubles(typed, every, source.text)
        entry = {"file": f"lookup_{number}.parquet", "prefix": section.prefix, "keys": keys}
        lookups.append({**entry, **as_of, "columns": columns})
        tables.append(typed)
    return lookups, tuple(tables)


def _plan_key(
    job: Job, section: LookupSection, left: str, table: pd.DataFrame, known: tuple[Dataset, _Draft]
) -> dict[str, Any]:
    dataset, draft = known
    right = section.on[left]
    kind = draft.types.get(left) or job.spec.data.types.get(left) or infer_type(dataset.frame[left])
    if kind == "category" and infer_type(table[right]) == "datetime":
        kind = "datetime"  # a moment written as text, as CSV has it
    draft.types.setdefault(left, kind)
    floor = section.floor if draft.types[left] == "datetime" else None
    return {"left": left, "right": right, "type": draft.types[left], "floor": floor}


def _plan_as_of(
    section: LookupSection, table: pd.DataFrame, draft: _Draft, known: tuple[Dataset, str]
) -> dict[str, Any]:
    """The entry ``as_of`` of a lookup that has one."""
    dataset, text = known
    if section.as_of is None:
        return {}
    ((left, right),) = section.as_of.items()
    check_columns((left,), dataset.frame, dataset.text, "features.lookup.as_of")
    check_columns((right,), table, text, "features.lookup.as_of")
    if draft.types.setdefault(left, "datetime") != "datetime":
        raise DataError(
            f"The column {left!r} is a {draft.types[left]}; features.lookup.as_of needs a moment.",
            hint="Declare it in [data.types].",
        )
    return {"as_of": {"left": left, "right": right, "max_age_s": section.max_age}}


def _plan_column(table: pd.DataFrame, name: str, prefix: str, draft: _Draft, text: str) -> dict[str, Any]:
    kind = infer_type(table[name])
    if kind == "datetime":
        raise DataError(
            f"The column {name!r} of {text} holds moments; a lookup takes numbers and categories."
        )
    draft.add(f"{prefix}{name}", numeric=kind != "category")
    return {"name": name, "type": "category" if kind == "category" else "number"}


def _type_table(
    table: pd.DataFrame, keys: Iterable[dict[str, Any]], columns: Iterable[dict[str, Any]], text: str
) -> pd.DataFrame:
    typed = {key["right"]: convert_column(table[key["right"]], key["type"], text) for key in keys}
    for key, values in typed.items():
        missing = values.isna().to_numpy()
        if missing.any():
            row = find_row(values, missing)
            raise DataError(f"Column {key!r}, row {row} of {text}: a lookup's key is missing.")
    typed |= {
        column["name"]: convert_column(table[column["name"]], column["type"], text) for column in columns
    }
    return pd.DataFrame(typed)


def _refuse_doubles(table: pd.DataFrame, keys: list[dict[str, Any]], text: str) -> None:
    from .artifact.layers import as_key  # noqa: PLC0415 - imports mlflow

    made = pd.DataFrame({key["right"]: as_key(table[key["right"]], key) for key in keys})
    double = made.duplicated().to_numpy()
    if double.any():
        row = made.iloc[int(np.argmax(double))]
        key = ", ".join(f"{name} = {value}" for name, value in row.items())
        raise DataError(
            f"The lookup table {text} has the key {key} more than once ({int(double.sum())} rows too many).",
            hint="Which row should count? Keep one per key.",
        )


def _check_matches(
    job: Job, layers: dict[str, Any], tables: tuple[pd.DataFrame, ...], rows: pd.DataFrame
) -> tuple[tuple[str, float], ...]:
    if not tables:
        return ()
    from .artifact.layers import RowFeatures  # noqa: PLC0415 - imports mlflow

    layer = RowFeatures(layers, tables)
    shares = []
    for number, section in enumerate(job.spec.features.lookup):
        share = float((layer.find(number, rows) >= 0).mean())
        if share == 0:
            keys = ", ".join(
                [f"{left} = {right}" for left, right in section.on.items()]
                + [f"{left} >= {right}" for left, right in (section.as_of or {}).items()]
            )
            raise DataError(
                f"The lookup {section.source} matches no row ({keys}).", hint="Compare a few keys."
            )
        shares.append((section.source, share))
    return tuple(shares)
