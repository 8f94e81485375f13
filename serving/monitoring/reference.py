"""Finds what a model is used to: the rows that its training was judged on, an earlier time, or a file."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from numpy.typing import NDArray

from registry import (
    DataError,
    EvaluationRows,
    ModelVersion,
    NotFoundError,
    RegistryStore,
    Tag,
    UsageError,
    parse_evaluation,
    read_predictions,
    read_table,
)

from .drift import Sample
from .grouping import Grouping, choose_grouping
from .outcomes import PREDICTION, PROBABILITY, Task, find_task, list_scores, read_answers, read_truth
from .windows import parse_moment

__all__ = ["EVALUATION", "Reference", "ReferenceRequest", "find_reference"]

EVALUATION: Final = "evaluation"
ARTIFACT_ROWS: Final = "evaluation/rows.parquet"
JOB: Final = "job.json"
MAX_ROWS: Final = 50_000
"""Reference rows looked at, evenly over all: more sharpen no answer whose effect floor is 5 %."""


@dataclass(frozen=True, slots=True)
class ReferenceRequest:
    """Where the reference is.

    Attributes:
        text: ``evaluation``, ``START..END`` (that part of the log), or a data file's address.
        log: The prediction log.
        model: The registered model.
        version: The version that is watched.
        group: As ``--group`` was given.
    """

    text: str
    log: str
    model: str
    version: ModelVersion
    group: str = "auto"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model is used to.

    Attributes:
        inputs: What it was asked, m rows.
        answers: What it answered, as the losses read it; no columns where nobody knows.
        truth: What was true; missing where nobody knows.
        blocks: Block of each row; None: every row by itself.
        task: What it is about.
        grouping: How a window's rows are to be put in blocks.
        origin: Where it is from, in words.
        digest: Tells it from another one.
    """

    inputs: pd.DataFrame
    answers: pd.DataFrame
    truth: "pd.Series[Any]"
    blocks: NDArray[Any] | None
    task: Task
    grouping: Grouping
    origin: str
    digest: str

    @property
    def sample(self) -> Sample:
        """As drift looks at it."""
        return Sample(self.inputs, list_scores(self.answers, self.task), self.blocks)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the version's training run kept."""

    rows: pd.DataFrame
    what: EvaluationRows
    labels: Mapping[str, str]

    @property
    def groups(self) -> "pd.Series[Any] | None":
        return self.rows[self.what.group] if self.what.group is not None else None

    @property
    def inputs(self) -> pd.DataFrame:
        return self.rows[[name for name in self.what.features if name in self.rows]]

    def find_task(self) -> Task:
        empty = pd.DataFrame(), pd.Series(dtype=object)
        return find_task(*empty, known=(self.what.task, self.what.classes), labels=self.labels)


def find_reference(store: RegistryStore, request: ReferenceRequest) -> Reference:
    """Reads the reference.

    Raises:
        UsageError: It is asked for in a way that is none, or it cannot be grouped so.
        DataError: There is none, or it is not what was recorded.
        GreenroomError: MLflow or the log cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        kept = _fetch_kept(store, request.version, Path(scratch))
        if request.text == EVALUATION:
            return _use_kept(kept, request) if kept else _use_artifact(store, request, Path(scratch))
        if ".." in request.text and "/" not in request.text:
            return _use_log(kept, request)
        return _use_file(kept, request)


def _fetch_kept(store: RegistryStore, version: ModelVersion, scratch: Path) -> _Kept | None:
    if version.run_id is None:
        return None
    try:
        run = store.get_run(version.run_id)
    except NotFoundError:
        return None
    if Tag.EVALUATION not in run.tags:
        return None
    what = parse_evaluation(run.tags[Tag.EVALUATION])
    path = Path(store.download_run_file(run.run_id, what.path, str(scratch)))
    if hashlib.sha256(path.read_bytes()).hexdigest() != what.sha256:
        raise DataError(
            f"The evaluation rows of run {run.run_id} are not those that it recorded ({what.path}).",
            hint="Name another reference, e.g. --reference 2026-01-01..2026-02-01 for a part of the log.",
        )
    return _Kept(_thin(pd.read_parquet(path)), what, _fetch_labels(store, run.run_id, scratch))


def _fetch_labels(store: RegistryStore, run_id: str, scratch: Path) -> Mapping[str, str]:
    """Class → label, where the job gave its classes labels."""
    try:
        job = json.loads(Path(store.download_run_file(run_id, JOB, str(scratch))).read_text("utf-8"))
        return {str(name): str(label) for name, label in job["answer"]["labels"].items()}
    except (NotFoundError, ValueError, KeyError, AttributeError):
        return {}


def _use_kept(kept: _Kept, request: ReferenceRequest) -> Reference:
    grouping, what, task = (
        choose_grouping(request.group, kept.groups, kept.inputs),
        kept.what,
        kept.find_task(),
    )
    renamed = {what.prediction: PREDICTION}
    renamed |= {
        old: PROBABILITY + str(name) for old, name in zip(what.probabilities, what.classes, strict=True)
    }
    given = kept.rows[[name for name in renamed if name in kept.rows]].rename(columns=renamed)
    if PREDICTION in given and task.kind != "regression":
        given[PREDICTION] = read_truth(given[PREDICTION], task)
    return Reference(
        inputs=kept.inputs,
        answers=given,
        truth=read_truth(kept.rows[what.target], task),
        blocks=_group_kept(kept, grouping),
        task=task,
        grouping=grouping,
        origin=f"{len(kept.rows):,} evaluation rows of its training run",
        digest=what.sha256,
    )


def _group_kept(kept: _Kept, grouping: Grouping) -> Any:
    if grouping.kind == "none":
        return None
    if grouping.kind == "column":
        return grouping.find_blocks(pd.Series(dtype=object), kept.inputs)
    if kept.groups is None or choose_grouping("auto", kept.groups, kept.inputs) != grouping:
        raise UsageError(
            f"The evaluation rows do not say which {grouping.name} each is of, so --group {grouping.name} "
            "cannot compare with them.",
            hint="Train with [split] group, or use a part of the log: --reference 2026-01-01..2026-02-01",
        )
    return kept.groups.to_numpy()


def _use_artifact(store: RegistryStore, request: ReferenceRequest, scratch: Path) -> Reference:
    """The rows that travel in the artifact have neither truth nor answers, nor blocks."""
    version = request.version
    lack = DataError(
        f"Version {version.version} of {version.name} brings no evaluation rows to compare with.",
        hint="Name a reference: --reference FILE, or 2026-01-01..2026-02-01 for a part of the log.",
    )
    if ARTIFACT_ROWS not in store.list_files(version):
        raise lack
    folder = scratch / "model"
    folder.mkdir()
    store.download(version, str(folder))
    return _use_table(
        pd.read_parquet(folder / ARTIFACT_ROWS), None, request, "{rows:,} evaluation rows in its artifact"
    )


def _use_file(kept: _Kept | None, request: ReferenceRequest) -> Reference:
    return _use_table(read_table(request.text), kept, request, f"{{rows:,}} rows of {request.text}")


def _use_table(table: pd.DataFrame, kept: _Kept | None, request: ReferenceRequest, origin: str) -> Reference:
    rows = _thin(table)
    grouping = Grouping() if request.group == "auto" else choose_grouping(request.group, None, rows)
    if grouping.kind == "time":
        raise UsageError(
            f"--group {grouping.name} needs the time of each row; {origin.format(rows=len(rows))} have none.",
            hint="Use a part of the log: --reference 2026-01-01..2026-02-01",
        )
    inputs = rows[[name for name in kept.what.features if name in rows]] if kept else rows
    return Reference(
        inputs=inputs,
        answers=pd.DataFrame(index=rows.index),
        truth=pd.Series(None, index=rows.index, dtype=object),
        blocks=grouping.find_blocks(pd.Series(dtype=object), rows),
        task=kept.find_task() if kept else Task("regression"),
        grouping=grouping,
        origin=origin.format(rows=len(rows)),
        digest=_digest(rows),
    )


def _use_log(kept: _Kept | None, request: ReferenceRequest) -> Reference:
    start, _, end = request.text.partition("..")
    since, until = parse_moment(start), parse_moment(end)
    table = read_predictions(
        request.log, request.model, since=since, until=until, versions=[request.version.version]
    )
    if not len(table.meta):
        raise DataError(f"The log has no predictions of version {request.version.version} in {request.text}.")
    task = kept.find_task() if kept else find_task(table.outputs, table.truth["truth"])
    if request.group == "auto" and kept:
        grouping = choose_grouping("auto", kept.groups, kept.inputs)
    else:
        grouping = choose_grouping(request.group, None, table.inputs)
    keep = _thin(table.meta).index
    inputs = table.inputs.loc[keep]
    return Reference(
        inputs=inputs,
        answers=read_answers(table.outputs.loc[keep], task),
        truth=read_truth(table.truth["truth"].loc[keep], task),
        blocks=grouping.find_blocks(table.meta["time"].loc[keep], inputs),
        task=task,
        grouping=grouping,
        origin=f"{len(keep):,} predictions of {request.text}",
        digest=hashlib.sha256(request.text.encode()).hexdigest(),
    )


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    step = -(-len(rows) // MAX_ROWS)
    return rows.iloc[:: max(step, 1)]


def _digest(rows: pd.DataFrame) -> str:
    return hashlib.sha256(pd.util.hash_pandas_object(rows.astype(str)).to_numpy().tobytes()).hexdigest()
