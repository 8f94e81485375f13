"""What was measured when two models answered the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.question import Question

from .bootstrap import Comparison
from .losses import Losses

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Both models' answers to a question, their losses, and the comparison.

    ``answers`` has a frame of n rows for ``holder`` and one for ``candidate``.
    """

    question: Question
    losses: Losses
    comparison: Comparison
    answers: "Mapping[str, pd.DataFrame]"
