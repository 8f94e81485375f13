"""Which rows depend on each other: nobody's, those of one hour or day, or those that share a column's value.

The same must hold for reference and window, else they could not be compared.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import UsageError

__all__ = ["Grouping", "choose_grouping"]

AUTO: Final = "auto"
NONE: Final = "none"
CLOCKS: Final = {"hour": "h", "day": "D"}


@dataclass(frozen=True, slots=True)
class Grouping:
    """How blocks are made.

    Attributes:
        kind: ``none``, ``time`` or ``column``.
        name: ``hour`` or ``day``, or the column.
    """

    kind: Literal["none", "time", "column"] = "none"
    name: str = ""

    @property
    def text(self) -> str:
        """As people read it."""
        return "every row by itself" if self.kind == "none" else f"rows of one {self.name} belong together"

    def find_blocks(self, times: "pd.Series[Any]", inputs: pd.DataFrame) -> NDArray[Any] | None:
        """Block of each row; None: every row by itself.

        Raises:
            UsageError: There is no such column.
        """
        if self.kind == "none":
            return None
        if self.kind == "time":
            return np.asarray(times.dt.floor(CLOCKS[self.name]).to_numpy())
        if self.name not in inputs:
            raise UsageError(f"--group: there is no column {self.name!r} to group by.")
        return np.asarray(inputs[self.name].astype(str).to_numpy())


def choose_grouping(asked: str, groups: "pd.Series[Any] | None", inputs: pd.DataFrame) -> Grouping:
    """What to do where nobody says it: as the training run did, so far as a log can do the same.

    Args:
        asked: ``auto``, ``none``, ``hour``, ``day`` or a column.
        groups: The evaluation rows' own blocks, if the training run said that rows depend on each other.
        inputs: The evaluation rows.

    >>> days = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"]))
    >>> choose_grouping("auto", days, pd.DataFrame()).name
    'day'
    """
    if asked != AUTO:
        return _parse(asked)
    if groups is None:
        return Grouping()
    if _are_days(groups):
        return Grouping("time", "day")
    texts = groups.astype(str).to_numpy()
    for name in map(str, inputs.columns):
        if (inputs[name].astype(str).to_numpy() == texts).all():
            return Grouping("column", name)
    return Grouping()


def _parse(asked: str) -> Grouping:
    if asked == NONE:
        return Grouping()
    return Grouping("time", asked) if asked in CLOCKS else Grouping("column", asked)


def _are_days(groups: "pd.Series[Any]") -> bool:
    if pd.api.types.is_numeric_dtype(groups.dtype):
        return False
    moments = pd.to_datetime(groups, errors="coerce", format="ISO8601", utc=True)
    return bool(moments.notna().all() and (moments == moments.dt.floor("D")).all())
