"""What the evaluation rows of a training run are, as training writes it and the gates read it.

A training run keeps the rows its metrics were computed from as one Parquet artifact: all raw feature
columns, the target, and the run's own predictions. The run tag ``Tag.EVALUATION`` holds this description.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from .errors import DataError

__all__ = ["EvaluationRows", "TaskKind", "format_evaluation", "parse_evaluation"]

TaskKind = Literal["binary", "multiclass", "regression"]

GROUP_COLUMN: Final = "greenroom.group"
PREDICTION_COLUMN: Final = "greenroom.prediction"
PROBABILITY_PREFIX: Final = "greenroom.probability."
ROWS_PATH: Final = "evaluation/rows.parquet"


@dataclass(frozen=True, slots=True)
class EvaluationRows:
    """Where a run's evaluation rows are, and what their columns mean.

    Attributes:
        path: Artifact path inside the run; a Parquet file.
        target: The column with the ground truth.
        task: ``binary``, ``multiclass`` or ``regression``.
        group: The column whose equal values mark rows that depend on each other; None: independent rows.
        features: The raw columns a model is sent, in order.
        classes: The labels, sorted; the last one of two is the positive class. Empty for regression.
        rows: Number of rows.
        sha256: Of the Parquet file.
    """

    path: str
    target: str
    task: TaskKind
    group: str | None
    features: tuple[str, ...]
    classes: tuple[Any, ...]
    rows: int
    sha256: str

    @property
    def prediction(self) -> str:
        """The column with the run's own answers."""
        return PREDICTION_COLUMN

    @property
    def probabilities(self) -> tuple[str, ...]:
        """The columns with the run's own probabilities, one per class (absent if the model gave none)."""
        return tuple(f"{PROBABILITY_PREFIX}{label}" for label in self.classes)


def format_evaluation(rows: EvaluationRows) -> str:
    """Writes the description as the JSON of the run tag."""
    return json.dumps(asdict(rows), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def parse_evaluation(text: str) -> EvaluationRows:
    """Reads the run tag's JSON. Unknown keys are left aside: a newer Greenroom may add some.

    Raises:
        DataError: It is no such description.

    >>> rows = EvaluationRows("evaluation/rows.parquet", "late", "binary", None, ("a",), (0, 1), 9, "ab")
    >>> parse_evaluation(format_evaluation(rows)) == rows
    True
    """
    try:
        fields = json.loads(text)
        rows = EvaluationRows(
            path=str(fields["path"]),
            target=str(fields["target"]),
            task=fields["task"],
            group=None if fields["group"] is None else str(fields["group"]),
            features=tuple(str(name) for name in fields["features"]),
            classes=tuple(fields["classes"]),
            rows=int(fields["rows"]),
            sha256=str(fields["sha256"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            "The run's tag greenroom.evaluation does not describe evaluation rows.",
            hint="Supply rows with --data, or train the version again.",
        ) from error
    if rows.task not in get_args(TaskKind):
        raise DataError(f"The run's tag greenroom.evaluation names an unknown task, {rows.task!r}.")
    return rows
