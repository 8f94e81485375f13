"""What happened, in the order of time: rows that were to be answered, and when their truth arrived."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError
from training.split import TIME_BLOCKS

__all__ = ["UNKNOWN", "Events", "choose_held", "name_groups", "plain_texts"]

UNKNOWN: Final = np.iinfo(np.int64).max
"""The moment at which a truth arrives that nobody knows yet."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their own time.

    Attributes:
        keys: Who is who, text, unique; shape (n,).
        time: When each was to be answered, nanoseconds since the epoch, ascending; shape (n,).
        available: When its truth arrived, nanoseconds, not before ``time``; ``UNKNOWN`` if it has not.
        truth: The truth, typed; anything where it is unknown; shape (n,).
        frame: Raw feature columns, typed, and others that another version may look at; n rows.
        groups: What rows depend on each other, text; None: none do.
        held: Whether an event is held out: scored, but never learned.
    """

    keys: NDArray[Any]
    time: NDArray[np.int64]
    available: NDArray[np.int64]
    truth: NDArray[Any]
    frame: pd.DataFrame = field(repr=False)
    groups: NDArray[Any] | None
    held: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, places: NDArray[np.intp]) -> "Events":
        """Some of them, in this order."""
        return Events(
            keys=self.keys[places],
            time=self.time[places],
            available=self.available[places],
            truth=self.truth[places],
            frame=self.frame.iloc[places].reset_index(drop=True),
            groups=None if self.groups is None else self.groups[places],
            held=self.held[places],
        )


def choose_held(labels: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows are held out: a share of the labels, chosen by their names, so that nobody must remember.

    >>> labels = np.array(["mon", "mon", "tue", "wed"], dtype=object)
    >>> choose_held(labels, 0.5, seed=0).tolist()
    [False, False, False, False]
    """
    codes, names = pd.factorize(labels)
    limit = share * 2.0**64
    chosen = [
        int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") < limit
        for name in names
    ]
    return np.asarray(chosen, dtype=bool)[codes]


def name_groups(
    group: str | None, frame: pd.DataFrame, time: NDArray[np.int64], text: str
) -> NDArray[Any] | None:
    """One label per row of what depends on each other: a column's text, or the block of time.

    Raises:
        DataError: There is no such column, or a row has no group.
    """
    if group is None:
        return None
    if group in TIME_BLOCKS and group not in frame.columns:
        blocks = pd.Series(pd.to_datetime(time)).dt.to_period(TIME_BLOCKS[group])
        codes, names = pd.factorize(pd.Series(blocks.array))
        labelled: NDArray[Any] = np.asarray([str(name) for name in names], dtype=object)[codes]
        return labelled
    if group not in frame.columns:
        raise DataError(f"{text} has no column {group!r} (split.group).")
    labels = frame[group]
    if labels.isna().any():
        row = int(labels.index[int(labels.isna().to_numpy().argmax())]) + 1
        raise DataError(f"Column {group!r}, row {row} of {text}: no group.")
    texts: NDArray[Any] = np.asarray(labels.map(str), dtype=object)
    return texts


def plain_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts as Python objects, None where missing, whatever pandas made of them."""
    texts = [name for name in frame.columns if isinstance(frame[name].dtype, pd.StringDtype)]
    return frame.assign(
        **{name: frame[name].astype(object).where(frame[name].notna(), None) for name in texts}
    )
