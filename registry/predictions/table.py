"""What comes out of the prediction log: one row per prediction, in four frames."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PredictionTable"]


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """Predictions, ordered by time; the four frames share one RangeIndex.

    Attributes:
        meta: ``id`` (str), ``time`` (datetime64[us, UTC]), ``version`` (str), ``path`` (``compiled`` or
            ``native``).
        inputs: One column per input that any request named: float64 where all values are numbers, else
            object (texts, booleans; times as they were sent). Missing is NaN or None.
        outputs: One column per output, typed the same way: ``answer``, ``probability_<class>`` …, or
            ``prediction`` where the model answers one plain value.
        truth: ``truth`` (float64, or object where it is not numbers alone) and ``truth_time``
            (datetime64[us, UTC]); None or NaN, and NaT, where nobody has told yet.
    """

    meta: "pd.DataFrame"
    inputs: "pd.DataFrame"
    outputs: "pd.DataFrame"
    truth: "pd.DataFrame"
