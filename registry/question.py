"""Finds the rows that a candidate and a holder are compared on, and what their columns mean."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import DataError, NotFoundError, UsageError
from .evaluation import EvaluationRows, TaskKind, parse_evaluation
from .names import Tag
from .policy import Policy
from .store import ModelVersion, RegistryStore, Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Question", "find_question"]

MAX_CLASSES: Final = 50
"""Distinct integers or texts up to which a target counts as classes."""


@dataclass(frozen=True, slots=True)
class Question:
    """Rows with their truth.

    Attributes:
        rows: Parquet file with features, target and group.
        target: The truth's column.
        task: What is predicted.
        classes: In order; empty for regression.
        features: The columns models are asked with.
        group: Column of blocks; None: every row by itself.
        origin: Where the rows came from, in words.
        digest: sha256 of the Parquet file.
    """

    rows: Path
    target: str
    task: TaskKind
    classes: tuple[Any, ...]
    features: tuple[str, ...]
    group: str | None
    origin: str
    digest: str


def find_question(
    store: RegistryStore, version: ModelVersion, policy: Policy, data: str | None, scratch: Path
) -> Question | None:
    """``--data`` first, then the policy's data, then what the candidate's run kept; None if there is nothing.

    Raises:
        UsageError: Data is given, but no target is known.
        DataError: The data cannot be used, or is not what the run recorded.
    """
    run = _find_run(store, version)
    kept = parse_evaluation(run.tags[Tag.EVALUATION]) if run and Tag.EVALUATION in run.tags else None
    source = data or policy.evaluation.data
    if source:
        return _read_given(source, policy, kept, scratch)
    if run is None or kept is None:
        return None
    return _fetch_kept(store, run, kept, scratch)


def _find_run(store: RegistryStore, version: ModelVersion) -> Run | None:
    if version.run_id is None:
        return None
    try:
        return store.get_run(version.run_id)
    except NotFoundError:
        return None


def _fetch_kept(store: RegistryStore, run: Run, kept: EvaluationRows, scratch: Path) -> Question:
    path = Path(store.download_run_file(run.run_id, kept.path, str(scratch)))
    digest = _hash(path)
    if digest != kept.sha256:
        raise DataError(
            f"The evaluation rows of run {run.run_id} are not those that it recorded ({kept.path}).",
            hint="Supply rows with --data, or train the version again.",
        )
    return Question(
        rows=path,
        target=kept.target,
        task=kept.task,
        classes=kept.classes,
        features=kept.features,
        group=kept.group,
        origin=f"evaluation rows of run {run.run_id}",
        digest=digest,
    )


def _read_given(source: str, policy: Policy, kept: EvaluationRows | None, scratch: Path) -> Question:
    from .sources import read_table  # noqa: PLC0415 - pandas

    table = read_table(source, query=policy.evaluation.query)
    target = policy.evaluation.target or (kept.target if kept else None)
    if target is None:
        raise UsageError(
            f"Which column of {source} is the truth?",
            hint='Say so in the policy: [evaluation] target = "…", and pass it with --policy.',
        )
    if target not in table.columns:
        raise DataError(
            f"{source} has no column {target!r}; it has {', '.join(map(str, table.columns[:20]))}."
        )
    if table.empty:
        raise DataError(f"{source} has no rows.")
    group = policy.evaluation.group or _find_known_group(table, kept)
    if group and group not in table.columns:
        raise DataError(f"{source} has no column {group!r} to group by.")
    task, classes = _find_task(table[target], policy, kept)
    path = scratch / "given.parquet"
    try:
        table.to_parquet(path)
    except (ValueError, TypeError, NotImplementedError) as error:  # as pyarrow's errors are
        raise DataError(f"{source} cannot be used: {str(error).splitlines()[0]}") from error
    return Question(
        rows=path,
        target=target,
        task=task,
        classes=classes,
        features=tuple(name for name in table.columns if name not in (target, group)),
        group=group,
        origin=source,
        digest=_hash(path),
    )


def _find_known_group(table: "pd.DataFrame", kept: EvaluationRows | None) -> str | None:
    """Rows that the training run counted as dependent are not independent in another file."""
    return kept.group if kept and kept.group in table.columns else None


def _find_task(
    truth: "pd.Series[Any]", policy: Policy, kept: EvaluationRows | None
) -> tuple[TaskKind, tuple[Any, ...]]:
    if kept and policy.evaluation.task == "auto":
        return kept.task, kept.classes
    import pandas as pd  # noqa: PLC0415 - heavy

    if truth.isna().any():
        row = int(truth.isna().to_numpy().nonzero()[0][0])
        raise DataError(f"Row {row}, column {truth.name!r}: the truth is missing.")
    values = _sort_values(truth)
    task = policy.evaluation.task
    if task == "auto":
        continuous = pd.api.types.is_float_dtype(truth) and not set(values) <= {0.0, 1.0}
        few = len(values) <= MAX_CLASSES and not continuous
        task = ("binary" if len(values) == 2 else "multiclass") if few else "regression"  # noqa: PLR2004
    return task, () if task == "regression" else tuple(values)


def _sort_values(truth: "pd.Series[Any]") -> list[Any]:
    values = truth.unique().tolist()
    if not all(isinstance(value, str | int | float) for value in values):
        raise DataError(f"Column {truth.name!r}: {values[0]!r} is no number, text or truth value to predict.")
    try:
        return sorted(values)
    except TypeError as error:
        raise DataError(f"Column {truth.name!r} holds both numbers and texts.") from error


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
