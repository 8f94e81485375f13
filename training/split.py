"""Which rows are learned from and which are held out: by time, at random or stratified; groups stay whole."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError

from .columns import check_columns, convert_column, find_row
from .dataset import Dataset, Target
from .job import JobSpec, SplitSection

__all__ = ["TIME_BLOCKS", "Split", "carve", "make_split", "narrow"]

TIME_BLOCKS: Final = {"hour": "h", "day": "D", "week": "W", "month": "M"}
DEFAULT_FRACTION: Final = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Row positions (int64, ascending) and what ties rows together.

    Attributes:
        train: Rows to learn from.
        evaluate: Rows held out.
        groups: One label per row of the whole table; None if rows are independent.
        moments: The time of each row of the whole table; None without a time column.
        text: How it was split, for people.
    """

    train: NDArray[np.int64]
    evaluate: NDArray[np.int64]
    groups: "pd.Series[Any] | None"
    moments: "pd.Series[Any] | None"
    text: str


def make_split(spec: JobSpec, dataset: Dataset, target: Target) -> Split:
    """Splits the rows.

    Raises:
        DataError: A side is empty, a class is on one side only, or a row has no time.
    """
    moments = _read_moments(spec, dataset)
    groups = _read_groups(spec, dataset, moments)
    kind = spec.split.kind
    if kind == "time" or (kind == "auto" and moments is not None):
        if moments is None:
            raise DataError("A split by time needs data.time.")
        train, evaluate, text = _split_by_time(spec, moments, groups)
    else:
        train, evaluate, text = _split_at_random(spec, target, groups)
    _check_sides(train, evaluate, text, target, dataset.text)
    return Split(train, evaluate, groups, moments, text)


def narrow(dataset: Dataset, target: Target, split: Split) -> tuple[Dataset, Target, Split]:
    """The same with only the rows that either side uses: a year costs no more than its three months."""
    used = np.union1d(split.train, split.evaluate)
    if len(used) == len(dataset.frame):
        return dataset, target, split
    narrowed = Split(
        train=np.searchsorted(used, split.train),
        evaluate=np.searchsorted(used, split.evaluate),
        groups=None if split.groups is None else split.groups.iloc[used],
        moments=None if split.moments is None else split.moments.iloc[used],
        text=split.text,
    )
    frame = dataset.frame.iloc[used]
    return replace(dataset, frame=frame), replace(target, truth=target.truth.iloc[used]), narrowed


def carve(
    spec: JobSpec, target: Target, split: Split, fraction: float, why: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides the rows to learn from once more, in the manner of the job's own split.

    Args:
        spec: The job.
        target: Of the whole table.
        split: Of the whole table.
        fraction: Share that is held out: the last rows, whole groups, or at random.
        why: What the rows that are held out are for.

    Returns:
        Places among ``split.train``, ascending: those left to learn from, and those held out.

    Raises:
        DataError: A side is empty, or a class is not among the rows left to learn from.
    """
    kind = spec.split.kind
    inner = spec.model_copy(
        update={"split": SplitSection(kind=kind, fraction=fraction, group=spec.split.group)}
    )
    part = replace(target, truth=target.truth.iloc[split.train])
    groups = None if split.groups is None else split.groups.iloc[split.train]
    if split.moments is not None and kind in {"auto", "time"}:
        moments = split.moments.iloc[split.train]
        learn, held, text = _split_by_time(inner, moments, groups)
    else:
        learn, held, text = _split_at_random(inner, part, groups)
    _check_sides(learn, held, f"for {why}, {text}", part, "the rows to learn from")
    return learn, held


def _read_moments(spec: JobSpec, dataset: Dataset) -> "pd.Series[Any] | None":
    name = spec.data.time
    if name is None:
        return None
    check_columns([name], dataset.frame, dataset.text, "data.time")
    moments = convert_column(dataset.frame[name], "datetime", dataset.text)
    missing = moments.isna().to_numpy()
    if missing.any():
        row = find_row(moments, missing)
        raise DataError(f"Column {name!r}, row {row} of {dataset.text}: the time is missing.")
    return moments


def _read_groups(
    spec: JobSpec, dataset: Dataset, moments: "pd.Series[Any] | None"
) -> "pd.Series[Any] | None":
    group = spec.split.group
    if group is None:
        return None
    if group in TIME_BLOCKS and group not in dataset.frame.columns:
        if moments is None:
            raise DataError(
                f"split.group = {group!r} needs data.time, the column with the moment of each row."
            )
        blocks = moments.dt.to_period(TIME_BLOCKS[group])
        codes, names = pd.factorize(blocks.array)  # naming each block once, not each row
        return pd.Series(np.asarray([str(name) for name in names], dtype=object)[codes], index=moments.index)
    check_columns([group], dataset.frame, dataset.text, "split.group")
    labels = convert_column(dataset.frame[group], "category", dataset.text)
    missing = labels.isna().to_numpy()
    if missing.any():
        raise DataError(f"Column {group!r}, row {find_row(labels, missing)} of {dataset.text}: no group.")
    return labels


def _split_by_time(
    spec: JobSpec, moments: "pd.Series[Any]", groups: "pd.Series[Any] | None"
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    split = spec.split
    start = _plain(split.train_from) if split.train_from else moments.min()
    until = _plain(split.train_until) if split.train_until else _find_cut(spec, moments, groups, start)
    end = _plain(split.evaluate_until) if split.evaluate_until else None
    train = ((moments >= start) & (moments < until)).to_numpy()
    evaluate = (moments >= until).to_numpy()
    if end is not None:
        evaluate = evaluate & (moments < end).to_numpy()  # pandas lends it read-only
    last = end.isoformat() if end is not None else "the end"
    text = f"time: learn {start.isoformat()} to {until.isoformat()}, evaluate to {last}"
    return np.flatnonzero(train), np.flatnonzero(evaluate), text


def _find_cut(
    spec: JobSpec, moments: "pd.Series[Any]", groups: "pd.Series[Any] | None", start: pd.Timestamp
) -> pd.Timestamp:
    """The moment after which the last ``fraction`` of the rows lies, moved to the beginning of its group."""
    fraction = spec.split.fraction or DEFAULT_FRACTION
    known = moments[moments >= start].sort_values(kind="stable")
    if known.empty:
        return start
    cut = known.iloc[min(int(len(known) * (1 - fraction)), len(known) - 1)]
    if groups is not None and spec.split.group in TIME_BLOCKS:
        cut = cut.to_period(TIME_BLOCKS[spec.split.group]).start_time
    return pd.Timestamp(cut)


def _split_at_random(
    spec: JobSpec, target: Target, groups: "pd.Series[Any] | None"
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    from sklearn.model_selection import GroupShuffleSplit, train_test_split  # noqa: PLC0415 - slow import

    fraction, seed = spec.split.fraction or DEFAULT_FRACTION, spec.job.seed
    positions = np.arange(len(target.truth))
    if groups is not None:
        if groups.nunique() < 2:  # noqa: PLR2004 - one for each side
            raise DataError(
                f"split.group {spec.split.group!r} has one group only: nothing is left to hold out."
            )
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        train, evaluate = next(splitter.split(positions, groups=groups.to_numpy()))
        text = f"random by group {spec.split.group}, {fraction:g} held out, seed {seed}"
        return np.sort(train), np.sort(evaluate), text
    stratified = spec.split.kind == "stratified" or (spec.split.kind == "auto" and target.classes)
    if stratified:
        _check_strata(target)
    try:
        train, evaluate = train_test_split(
            positions, test_size=fraction, random_state=seed, stratify=target.truth if stratified else None
        )
    except ValueError as error:
        raise DataError(f"{len(positions)} rows cannot be split: {error}") from error
    text = f"{'stratified' if stratified else 'random'}, {fraction:g} held out, seed {seed}"
    return np.sort(train), np.sort(evaluate), text


def _check_strata(target: Target) -> None:
    if not target.classes:
        raise DataError("A stratified split needs classes, and the task is regression.", hint="Use 'random'.")
    counts = target.truth.value_counts()
    if counts.min() < 2:  # noqa: PLR2004 - one for each side
        raise DataError(
            f"The class {counts.idxmin()!r} of {target.name!r} has one row only: it cannot be on both sides.",
            hint="Remove it, or use split.kind = 'random'.",
        )


def _check_sides(
    train: NDArray[np.int64], evaluate: NDArray[np.int64], text: str, target: Target, source: str
) -> None:
    for rows, side in ((train, "learn from"), (evaluate, "evaluate on")):
        if not len(rows):
            raise DataError(
                f"The split ({text}) leaves no rows of {source} to {side}.", hint="Check [split]."
            )
    if not target.classes:
        return
    seen = set(target.truth.iloc[train].unique().tolist())
    if len(seen) < 2:  # noqa: PLR2004 - a choice needs two
        only = next(iter(seen))
        raise DataError(
            f"The target {target.name!r} has one class only, {only!r}, in the rows to learn from.",
            hint=f"Check [split] ({text}).",
        )
    unseen = sorted(set(target.classes) - seen)
    if unseen:
        raise DataError(
            f"The class {unseen[0]!r} of {target.name!r} is not in the rows to learn from.",
            hint=f"Check [split] ({text}).",
        )


def _plain(moment: Any) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp
