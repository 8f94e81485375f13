"""The data layer: rows read, typed and checked, with their target, before anything is trained."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from registry import DataError, TaskKind, UsageError, parse_source, read_source

from .columns import check_columns, convert_column, find_row, infer_type
from .job import Job

__all__ = ["Dataset", "Target", "make_target", "read_rows"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows as they were read.

    Attributes:
        frame: All columns; the index label of a row is its number in the source, from 0. Rows without a
            target are gone if the job says so.
        text: What messages call the source.
        kind: ``files``, ``s3``, ``sql``, ``python`` or ``memory``.
        dropped: How many rows had no target and were dropped.
    """

    frame: pd.DataFrame
    text: str
    kind: str
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """The answers.

    Attributes:
        name: The column.
        task: What kind of answers.
        truth: One per row: int64, bool or text for classes, float64 for regression.
        classes: Sorted; the last one of two is the positive class. Empty for regression.
    """

    name: str
    task: TaskKind
    truth: "pd.Series[Any]"
    classes: tuple[Any, ...]


def read_rows(job: Job) -> Dataset:
    """Reads the job's rows.

    Raises:
        DataError: No rows, no target column, or rows without a target.
    """
    data = job.spec.data
    if job.frame is not None:
        frame, text, kind = job.frame.reset_index(drop=True), "the frame", "memory"
    else:
        source = parse_source(data.source, folder=job.folder, query=data.query, args=data.args)
        frame, text, kind = read_source(source), source.text, source.kind
    check_columns([data.target], frame, text, "the target")
    if frame.empty:
        raise DataError(f"{text} has no rows.")
    missing = frame[data.target].isna().to_numpy()
    if not missing.any():
        return Dataset(frame, text, kind)
    if data.missing_target == "refuse":
        raise DataError(
            f"Column {data.target!r}, row {find_row(frame[data.target], missing)} of {text}: "
            f"the target is missing ({int(missing.sum())} such rows).",
            hint='To leave such rows out, set data.missing_target = "drop".',
        )
    if missing.all():
        raise DataError(f"{text}: the target {data.target!r} is missing in every row.")
    return Dataset(frame[~missing], text, kind, int(missing.sum()))


def make_target(job: Job, dataset: Dataset, *, is_classifier: bool) -> Target:
    """Types the target and finds out what the task is.

    Raises:
        UsageError: The task and the estimator do not go together.
        DataError: One class only, more than two for a binary task, or no numbers for a regression.
    """
    data = job.spec.data
    estimator = job.spec.model.estimator
    if data.task != "auto" and (data.task == "regression") == is_classifier:
        kind = "classifier" if is_classifier else "regressor"
        raise UsageError(
            f"data.task is {data.task}, and {estimator} is a {kind}.", hint="Change one of them."
        )
    column = dataset.frame[data.target]
    if not is_classifier:
        values = convert_column(column, "number", dataset.text)
        if values.min() == values.max():
            raise DataError(f"The target {data.target!r} has the same value in every row of {dataset.text}.")
        return Target(data.target, "regression", values, ())
    labels = _to_labels(column, dataset.text)
    classes = tuple(sorted(labels.unique().tolist()))
    if len(classes) < 2:  # noqa: PLR2004 - a choice needs two
        raise DataError(
            f"The target {data.target!r} has one class only, {classes[0]!r}, in {dataset.text}.",
            hint="A classifier needs rows of at least two.",
        )
    task: TaskKind = "binary" if len(classes) == 2 else "multiclass"  # noqa: PLR2004
    if data.task == "binary" and task != "binary":
        raise DataError(f"The target {data.target!r} has {len(classes)} classes, and data.task is binary.")
    return Target(data.target, "multiclass" if data.task == "multiclass" else task, labels, classes)


def _to_labels(column: "pd.Series[Any]", text: str) -> "pd.Series[Any]":
    """Whole numbers as int64, truth values as bool, everything else as text."""
    kind = infer_type(column)
    if kind == "boolean":
        return column.astype(bool)
    if kind != "number":
        return convert_column(column, "category", text)
    values = convert_column(column, "number", text)
    fractional = (values % 1 != 0).to_numpy()
    if fractional.any():
        row = find_row(values, fractional)
        raise DataError(
            f"Column {column.name!r}, row {row} of {text}: a fractional number cannot be a class.",
            hint="Use a regressor, or write classes as whole numbers or text.",
        )
    return values.astype("int64")
