"""Events from the prediction log: what was asked in production, and its truth when feedback brings it.

Remembered are the ids of what was seen, back to the lateness that the job allows: a truth that comes later
after its prediction than that is not learned, and nothing older is read again.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError, UsageError, read_predictions
from training.columns import convert_column
from training.dataset import Dataset, make_target
from training.features import FeaturePlan, plan_features
from training.job import Job

from .amount import parse_duration
from .events import UNKNOWN, Events, choose_held, name_groups
from .source import Bookmark, combine_columns, get_online

__all__ = ["LogSource", "is_log"]

PREFIX: Final = "predictions:"


def is_log(source: str) -> bool:
    """Whether ``data.source`` names a prediction log.

    >>> is_log("predictions:s3://bucket/log"), is_log("rows.csv")
    (True, False)
    """
    return source.startswith(PREFIX)


class LogSource:
    """The log of the job's own model.

    Args:
        job: ``data.source = "predictions:FOLDER"`` or ``predictions:s3://…``.
        is_classifier: Whether the estimator tells classes apart.

    Raises:
        UsageError: The job asks what a log does not have.
        DataError: The log cannot be read, or has too little to tell what the columns are.
    """

    is_endless = True

    def __init__(self, job: Job, *, is_classifier: bool) -> None:
        if get_online(job).available is not None:
            raise UsageError(
                "online.available does not go with a prediction log: feedback says when a truth arrived."
            )
        self._job, self._is_classifier = job, is_classifier
        self._lateness_ns = parse_duration(get_online(job).lateness, "online.lateness")
        place = job.spec.data.source.removeprefix(PREFIX)
        self._log = place if "://" in place else str(job.folder / Path(place).expanduser())
        self.text = f"the prediction log {place}"
        table = self._load(None)
        known = table[table[job.spec.data.target].notna()]
        if known.empty:
            raise DataError(
                f"{self.text} has no prediction of {job.name} whose truth is known yet.",
                hint="Send feedback for some first, or train on a table.",
            )
        target = make_target(job, Dataset(known, self.text, "memory"), is_classifier=is_classifier)
        declared = get_online(job).classes
        self.kind = (target.task, tuple(sorted(declared)) if declared and target.classes else target.classes)
        self._features, _ = plan_features(job, Dataset(table, self.text, "memory"))

    @property
    def features(self) -> FeaturePlan:
        """See :class:`~training.online.source.EventSource`."""
        return self._features

    def read(self, bookmark: Bookmark, pending: Collection[str], position: int) -> Events:
        """See :class:`~training.online.source.EventSource`."""
        table = self._load(position - self._lateness_ns if len(bookmark.keys) else None)
        is_new = ~table["online id"].isin(set(bookmark.keys.tolist())).to_numpy()
        is_told = table[self._job.spec.data.target].notna().to_numpy()
        waits = table["online id"].isin(set(pending)).to_numpy()
        return self._make_events(table[is_new | (waits & is_told)].reset_index(drop=True))

    def advance(
        self, bookmark: Bookmark, events: Events, scored: NDArray[np.intp], position: int
    ) -> Bookmark:
        """See :class:`~training.online.source.EventSource`."""
        keys = np.concatenate([bookmark.keys, events.keys[scored]])
        times = np.concatenate([bookmark.times, events.time[scored]])
        recent = self.may_come(times, position)
        return Bookmark(keys=keys[recent], times=times[recent])

    def may_come(self, times: NDArray[np.int64], position: int) -> NDArray[np.bool_]:
        """See :class:`~training.online.source.EventSource`."""
        return times >= position - self._lateness_ns

    def _load(self, since: int | None) -> pd.DataFrame:
        """Inputs, target, and columns of ours for id, time and arrival; of ids that came twice the first."""
        moment = None if since is None else pd.Timestamp(since, unit="ns", tz="UTC").to_pydatetime(warn=False)
        found = read_predictions(self._log, self._job.name, since=moment)
        data = self._job.spec.data
        time = found.meta["time"].dt.tz_convert("UTC").dt.tz_localize(None)
        columns = {name: found.inputs[name] for name in found.inputs.columns}
        columns |= {data.target: found.truth["truth"]}
        if data.time is not None and data.time not in columns:
            columns[data.time] = time
        table = pd.DataFrame(columns, index=found.meta.index)
        table["online id"] = found.meta["id"].astype(object)
        table["online time"] = _to_ns(time)
        table["online arrival"] = _to_ns(found.truth["truth_time"].dt.tz_convert("UTC").dt.tz_localize(None))
        return table.drop_duplicates("online id", ignore_index=True)

    def _make_events(self, table: pd.DataFrame) -> Events:
        job, text = self._job, self.text
        order = np.argsort(table["online time"].to_numpy(), kind="stable")
        table = table.iloc[order].reset_index(drop=True)
        rows = pd.DataFrame(
            {
                column.name: convert_column(_get(table, column.name), column.type, text)
                for column in self._features.raw
            }
        )
        time = table["online time"].to_numpy(dtype=np.int64)
        told = table[job.spec.data.target].notna().to_numpy()
        arrival = np.where(told, np.maximum(table["online arrival"].to_numpy(dtype=np.int64), time), UNKNOWN)
        keys = np.asarray(table["online id"].tolist(), dtype=object)
        groups = name_groups(job.spec.split.group, table, time, text)
        others = table.drop(columns=["online id", "online time", "online arrival"])
        return Events(
            keys=keys,
            time=time,
            available=arrival,
            truth=self._type_truth(table[job.spec.data.target], told),
            frame=combine_columns(job, rows, others),
            groups=groups,
            held=choose_held(keys if groups is None else groups, get_online(job).holdout, job.spec.job.seed),
        )

    def _type_truth(self, column: "pd.Series[Any]", told: NDArray[np.bool_]) -> NDArray[Any]:
        """Feedback's own values as the classes: 1, 1.0, true and "1" are one class."""
        if self.kind[0] == "regression":
            return convert_column(column, "number", self.text).to_numpy(dtype=np.float64)
        classes = self.kind[1]
        known = {_spell(label): label for label in classes}
        made = np.full(len(column), classes[0], dtype=np.asarray(classes).dtype)
        if made.dtype.kind in "US":
            made = made.astype(object)
        for place in np.flatnonzero(told).tolist():
            value = column.iloc[place]
            if _spell(value) not in known:
                raise DataError(
                    f"{self.text}: feedback says {value!r}, and the stream knows "
                    f"{', '.join(map(str, classes))} only.",
                    hint="Name all classes in online.classes, and online.stream anew to begin again.",
                )
            made[place] = known[_spell(value)]
        return made


def _spell(value: Any) -> str:
    text = str(value)
    return {"True": "1", "False": "0", "true": "1", "false": "0"}.get(text, text.removesuffix(".0"))


def _get(table: pd.DataFrame, name: str) -> "pd.Series[Any]":
    return table[name] if name in table else pd.Series(None, index=table.index, dtype=object, name=name)


def _to_ns(moments: "pd.Series[Any]") -> NDArray[np.int64]:
    return moments.to_numpy().astype("datetime64[ns]").view(np.int64)
