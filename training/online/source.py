"""Where events come from: what a source owes the stream, and the job's own table as one.

A table is replayed in the order of its rows' own time. What was replayed is remembered by number and digest:
a table that has grown goes on where it ended, and one that was changed behind the stream's back is refused.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype, is_string_dtype

from registry import DataError, UsageError
from training.columns import check_columns, convert_column
from training.dataset import Dataset, make_target, read_rows
from training.features import FeaturePlan, plan_features
from training.job import Job, OnlineSection

from .amount import parse_duration
from .events import Events, choose_held, name_groups, plain_texts

__all__ = ["Bookmark", "EventSource", "TableSource", "combine_columns", "get_online"]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What of a source was scored already.

    Attributes:
        cuts: Table: how many rows had been replayed at each snapshot.
        digest: Table: sha256 over them, chained from cut to cut.
        keys: Log: ids that may not come again; text, shape (k,).
        times: Log: when they were predicted, nanoseconds, shape (k,).
    """

    cuts: tuple[int, ...] = ()
    digest: str = ""
    keys: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=object))
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


class EventSource(Protocol):
    """Gives events, each key once. ``is_endless``: more may come after the last one."""

    text: str
    is_endless: bool

    @property
    def features(self) -> FeaturePlan:
        """What the model looks at."""

    @property
    def kind(self) -> tuple[Any, tuple[Any, ...]]:
        """The task, and the classes."""

    def read(self, bookmark: Bookmark, pending: Collection[str], position: int) -> Events:
        """New events, and those pending whose truth may be known by now.

        Args:
            bookmark: What came before.
            pending: Keys of events that were scored and whose truth is awaited.
            position: The moment that the stream has reached, nanoseconds.

        Raises:
            DataError: What came before is not what it was.
        """

    def advance(
        self, bookmark: Bookmark, events: Events, scored: NDArray[np.intp], position: int
    ) -> Bookmark:
        """The bookmark after these positions of ``events`` were scored, in this order."""

    def may_come(self, times: NDArray[np.int64], position: int) -> NDArray[np.bool_]:
        """Of pending events with these own times, whether the truth may still come."""


def get_online(job: Job) -> OnlineSection:
    """The job's section ``online``, or its defaults."""
    return job.spec.online or OnlineSection()


class TableSource:
    """The job's own table, replayed.

    Args:
        job: With ``data.time`` unless the rows' order is the time.
        is_classifier: Whether the estimator tells classes apart.

    Raises:
        DataError: The table cannot be used as asked.
        UsageError: The job asks what makes no sense.
    """

    is_endless = False

    def __init__(self, job: Job, *, is_classifier: bool) -> None:
        dataset = read_rows(job)
        self.text = dataset.text
        target = make_target(job, dataset, is_classifier=is_classifier)
        self._features, rows = plan_features(job, dataset)
        time, available = _read_moments(job, dataset)
        self._refuse_leak(get_online(job).available)
        self.kind = (target.task, _join_classes(job, target.classes))
        order = np.argsort(time, kind="stable")
        frame = combine_columns(job, rows, dataset.frame)
        groups = name_groups(job.spec.split.group, dataset.frame, time, self.text)
        keys = np.asarray([str(number) for number in range(len(order))], dtype=object)
        groups = None if groups is None else groups[order]
        self._events = Events(
            keys=keys,
            time=time[order],
            available=available[order],
            truth=target.truth.to_numpy()[order],
            frame=frame.iloc[order].reset_index(drop=True),
            groups=groups,
            held=choose_held(keys if groups is None else groups, get_online(job).holdout, job.spec.job.seed),
        )

    @property
    def features(self) -> FeaturePlan:
        """See :class:`EventSource`."""
        return self._features

    def read(
        self,
        bookmark: Bookmark,
        pending: Collection[str],
        position: int,  # noqa: ARG002 - the order tells all
    ) -> Events:
        """See :class:`EventSource`."""
        done = bookmark.cuts[-1] if bookmark.cuts else 0
        if self._compute_digest(bookmark.cuts) != bookmark.digest:
            raise DataError(
                f"The first {done:,} rows of {self.text}, in the order of time, are not those that the "
                "stream has seen.",
                hint="Rows may be added after them only. To begin again: online.stream = a new name.",
            )
        waiting = sorted(int(key) for key in pending)
        return self._events.take(np.asarray([*waiting, *range(done, len(self._events))], dtype=np.intp))

    def advance(
        self,
        bookmark: Bookmark,
        events: Events,  # noqa: ARG002
        scored: NDArray[np.intp],
        position: int,  # noqa: ARG002
    ) -> Bookmark:
        """See :class:`EventSource`."""
        done = bookmark.cuts[-1] if bookmark.cuts else 0
        if not len(scored):
            return bookmark
        until = done + len(scored)
        digest = self._chain(bookmark.digest, done, until)
        return replace(bookmark, cuts=(*bookmark.cuts, until), digest=digest)

    def may_come(self, times: NDArray[np.int64], position: int) -> NDArray[np.bool_]:  # noqa: ARG002
        """See :class:`EventSource`."""
        return np.ones(len(times), dtype=bool)

    def _compute_digest(self, cuts: tuple[int, ...]) -> str:
        digest, start = "", 0
        for cut in cuts:
            digest, start = self._chain(digest, start, cut), cut
        return digest

    def _chain(self, before: str, start: int, end: int) -> str:
        events, span = self._events, slice(start, end)
        raw = [column.name for column in self._features.raw]
        digest = hashlib.sha256(before.encode())
        digest.update(
            pd.util.hash_pandas_object(events.frame[raw].iloc[span], index=False).to_numpy().tobytes()
        )
        digest.update(events.time[span].tobytes() + events.available[span].tobytes())
        digest.update(pd.util.hash_array(events.truth[span]).tobytes())
        return digest.hexdigest()

    def _refuse_leak(self, available: str | None) -> None:
        if any(column.name == available for column in self._features.raw):
            raise DataError(
                f"The column {available!r} says when the truth arrived, and is used as a feature.",
                hint="It is known only afterwards: name it in features.leaks.",
            )


def combine_columns(job: Job, rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The raw feature columns, typed, and what else another version may look at: no target, no leaks."""
    left_out = {*rows.columns, job.spec.data.target, *job.spec.features.leaks, get_online(job).available}
    others = [
        name
        for name in frame.columns
        if name not in left_out
        and (
            is_numeric_dtype(frame[name])
            or is_string_dtype(frame[name])
            or is_datetime64_any_dtype(frame[name])
        )
    ]
    return plain_texts(pd.concat([rows, frame[others]], axis=1))


def _join_classes(job: Job, found: tuple[Any, ...]) -> tuple[Any, ...]:
    declared = get_online(job).classes
    if declared is None or not found:
        return found
    strange = [label for label in found if label not in declared]
    if strange:
        raise DataError(
            f"The class {strange[0]!r} of {job.spec.data.target!r} is not among online.classes.",
            hint="Add it.",
        )
    return tuple(sorted(declared))


def _read_moments(job: Job, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Own time and arrival of the truth of each row, nanoseconds."""
    name, available = job.spec.data.time, get_online(job).available
    if name is None:
        if available is not None:
            raise UsageError("online.available needs data.time, the column with the moment of each row.")
        order = np.arange(len(dataset.frame), dtype=np.int64)
        return order, order
    time = _to_ns(dataset, name, "data.time")
    if available is None:
        return time, time
    if available in dataset.frame.columns:
        arrival = _to_ns(dataset, available, "online.available")
    else:
        arrival = time + parse_duration(available, "online.available")
    early = arrival < time
    if early.any():
        row = int(dataset.frame.index[int(early.argmax())]) + 1
        raise DataError(
            f"Column {available!r}, row {row} of {dataset.text}: the truth comes before the row's own time.",
            hint=f"Is it in the same time zone as {name!r}?",
        )
    return time, arrival


def _to_ns(dataset: Dataset, name: str, role: str) -> NDArray[np.int64]:
    check_columns([name], dataset.frame, dataset.text, role)
    moments = convert_column(dataset.frame[name], "datetime", dataset.text)
    missing = moments.isna()
    if missing.any():
        row = int(moments.index[int(missing.to_numpy().argmax())]) + 1
        raise DataError(f"Column {name!r}, row {row} of {dataset.text}: the time is missing ({role}).")
    return moments.to_numpy().astype("datetime64[ns]").view(np.int64)
