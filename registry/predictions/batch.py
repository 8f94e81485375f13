"""Adds whole tables to the prediction log: batch jobs, replays, feedback from a file."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from registry.clock import SystemClock
from registry.errors import DataError

from .parts import PredictionWriter
from .table import PredictionTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["append_feedback", "append_predictions", "check_feedback"]

MAX_ROWS: Final = 100_000
"""Rows in one file: bounds what a reader holds at a time."""


def append_predictions(log: str, model: str, table: PredictionTable) -> None:
    """Adds predictions, and their truths where ``truth.truth_time`` says that they are known.

    Times in ``inputs`` and ``outputs`` become texts (ISO 8601). Files appear one by one, each whole.

    Args:
        log: A folder, or ``s3://bucket/prefix``.
        model: Name of the registered model.
        table: What :func:`read_predictions` returns.

    Raises:
        UsageError: ``log`` is no address of a log.
        DataError: The frames differ in length, a column of ``meta`` is missing, an id, time or version is.
        AccessDeniedError: It may not be written, or the bucket does not exist.
        UnreachableError: No room or no answer; trying again may help.
    """
    _check_meta(table)
    writer = PredictionWriter(log, model)
    writer.sweep()
    for start in range(0, len(table.meta), MAX_ROWS):
        part = slice(start, start + MAX_ROWS)
        meta = table.meta.iloc[part]
        for version, places in meta.groupby("version", sort=True).indices.items():
            rows = meta.iloc[places]
            encoded = writer.encode_predictions(
                str(version),
                ids=rows["id"].astype(str).tolist(),
                times_us=_list_us(rows["time"]),
                paths=rows["path"].astype(str).tolist(),
                inputs=dict(_list_columns(table.inputs.iloc[part].iloc[places])),
                outputs=dict(_list_columns(table.outputs.iloc[part].iloc[places])),
            )
            for one in encoded:
                writer.write(one)
    known = table.truth["truth_time"].notna().to_numpy()
    if known.any():
        columns = {
            "id": table.meta["id"].to_numpy()[known],
            "truth": table.truth["truth"].to_numpy()[known],
            "time": table.truth["truth_time"].array[known],
        }
        append_feedback(log, model, type(table.meta)(columns))


def append_feedback(log: str, model: str, feedback: "pd.DataFrame") -> None:
    """Adds what turned out to be true; late, repeated and unknown ids are welcome.

    Which truth counts for a prediction: see :mod:`registry.predictions.joining`.

    Args:
        log: A folder, or ``s3://bucket/prefix``.
        model: Name of the registered model.
        feedback: Columns ``id``, ``truth`` and, unless all are known since now, ``time`` (times, or texts in
            RFC 3339; without an offset they mean UTC).

    Raises:
        UsageError: ``log`` is no address of a log.
        DataError: A column is missing, or an id, truth or time is; names the row.
        AccessDeniedError: It may not be written, or the bucket does not exist.
        UnreachableError: No room or no answer; trying again may help.
    """
    now = SystemClock().now()
    checked = check_feedback(feedback, now=now)
    now_us = round(now.timestamp() * 1_000_000)
    writer = PredictionWriter(log, model)
    for start in range(0, len(checked), MAX_ROWS):
        rows = checked.iloc[start : start + MAX_ROWS]
        encoded = writer.encode_feedback(
            ids=rows["id"].tolist(),
            truths=_list_values(rows["truth"]),
            times_us=_list_us(rows["time"]),
            arrived_us=[now_us] * len(rows),
        )
        for one in encoded:
            writer.write(one)


def check_feedback(feedback: "pd.DataFrame", *, now: datetime) -> "pd.DataFrame":
    """The same rows with ids as text and times in UTC; ``now`` where there is no column of times.

    Raises:
        DataError: A column is missing, or an id, truth or time is; names the row, counted from 1.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    for name in ("id", "truth"):
        if name not in feedback:
            raise DataError(f"The feedback has no column {name!r}.", hint="It needs id and truth.")
    times = feedback["time"] if "time" in feedback else pd.Series(pd.Timestamp(now), feedback.index)
    moments = pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")
    for name, column in (("id", feedback["id"]), ("truth", feedback["truth"]), ("time", moments)):
        if column.isna().any():
            place = int(column.isna().to_numpy().argmax()) + 1
            raise DataError(
                f"Row {place} of the feedback has no {name}.",
                hint="A time is written as 2026-03-01T12:00:00Z." if name == "time" else "",
            )
    columns = {
        "id": feedback["id"].astype(str).to_numpy(),
        "truth": feedback["truth"].to_numpy(),
        "time": moments.array,
    }
    return pd.DataFrame(columns)


def _check_meta(table: PredictionTable) -> None:
    rows = len(table.meta)
    for name, frame in (("inputs", table.inputs), ("outputs", table.outputs), ("truth", table.truth)):
        if len(frame) != rows:
            raise DataError(f"There are {rows} predictions, and {name} of {len(frame)}.")
    for name in ("id", "time", "version", "path"):
        if name not in table.meta:
            raise DataError(f"The predictions have no column {name!r}.")
        if table.meta[name].isna().any():
            place = int(table.meta[name].isna().to_numpy().argmax()) + 1
            raise DataError(f"Prediction {place} has no {name}.")


def _list_us(times: "pd.Series[Any]") -> list[int]:
    import pandas as pd  # noqa: PLC0415 - heavy

    moments = pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")
    values: list[int] = moments.astype("int64").tolist()
    return values


def _list_columns(frame: "pd.DataFrame") -> "Iterator[tuple[str, list[Any]]]":
    for name in frame.columns:
        yield str(name), _list_values(frame[name])


def _list_values(column: "pd.Series[Any]") -> list[Any]:
    """Python's own values, None where one is missing."""
    import pandas as pd  # noqa: PLC0415 - heavy

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return [None if pd.isna(moment) else moment.isoformat() for moment in column]
    values = column.astype(object)
    return [_simplify(value) for value in values.where(values.notna(), None)]


def _simplify(value: Any) -> Any:
    """NumPy's values as Python's, times as text."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.tolist() if hasattr(value, "tolist") else value
