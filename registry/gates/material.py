"""What quality gates look at: rows with their truth, what each model answered, and what answering cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from registry.evaluation import TaskKind

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BEST", "CANDIDATE", "HOLDER", "Material", "Timing", "Who"]

Who = Literal["candidate", "holder", "best"]
CANDIDATE: Final = "candidate"
HOLDER: Final = "holder"
BEST: Final = "best"


@dataclass(frozen=True, slots=True)
class Timing:
    """What predicting cost one model, in a process of its own.

    Attributes:
        one_ms: Milliseconds of each call with one row.
        batch_ms: Milliseconds of each call with a batch.
        batch_rows: Rows in a batch.
        memory_mb: Resident memory of the process at its highest, MB.
    """

    one_ms: tuple[float, ...]
    batch_ms: tuple[float, ...]
    batch_rows: int
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that the quality gates of one decision look at; ``replay`` reads the same from the evidence.

    Attributes:
        rows: n rows with the target, the group (if any) and the slices' columns.
        target: The truth's column.
        task: What is predicted.
        classes: In order; the last of two is the positive one. Empty for regression.
        group: Column of blocks that depend on each other; None: every row by itself.
        versions: Who → which version: ``candidate``, and ``holder`` and ``best`` where there are any.
        answers: Who → n rows of answers, as :func:`registry.prediction.normalise` leaves them.
        timings: Who → what predicting cost, where it was measured.
    """

    rows: "pd.DataFrame"
    target: str
    task: TaskKind
    classes: tuple[Any, ...]
    group: str | None
    versions: Mapping[str, str]
    answers: "Mapping[str, pd.DataFrame]"
    timings: Mapping[str, Timing] = field(default_factory=dict)

    @property
    def blocks(self) -> Any:
        """Block of each row, shape (n,); None: every row by itself."""
        return self.rows[self.group].astype(str).to_numpy() if self.group else None

    @property
    def unit(self) -> str:
        """What is counted as independent, in words."""
        return "blocks" if self.group else "rows"
