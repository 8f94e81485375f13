"""What of a training is written down: params, tags, and the files that become the run's artifacts."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype, is_string_dtype

from registry import EvaluationRows, Tag, format_contract, get_user_name

from .columns import infer_type
from .package import CONTRACT_FILE
from .provenance import list_versions, read_commit
from .result import Fitted, Outcome, TrainingPlan
from .tracking import DatasetRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "flatten_job",
    "list_tags",
    "list_warnings",
    "make_dataset_record",
    "write_evaluation_rows",
    "write_job",
    "write_pictures",
]

ROWS_PATH: Final = "evaluation/rows.parquet"
GROUP: Final = "greenroom.group"
PREDICTION: Final = "greenroom.prediction"
PROBABILITY: Final = "greenroom.probability."

_MLFLOW_TYPES: Final = {
    "number": "double",
    "category": "string",
    "datetime": "datetime",
    "boolean": "boolean",
}
_SOURCE_TYPES: Final = {"files": "local", "s3": "s3", "sql": "sql", "python": "code", "memory": "code"}


def list_tags(plan: TrainingPlan) -> dict[str, str]:
    """Tags of the run from its first moment: who, from which code, on which libraries."""
    job = plan.job
    tags = {
        Tag.KIND: "training",
        "greenroom.model": job.name,
        "mlflow.user": get_user_name(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": job.path.name if job.path else "Job.from_frame",
    }
    tags |= {f"greenroom.env.{name}": version for name, version in list_versions().items()}
    commit = read_commit(job.folder)
    if commit is not None:
        tags |= {"mlflow.source.git.commit": commit.sha, "mlflow.source.git.branch": commit.branch}
        tags |= {"greenroom.git_dirty": str(commit.dirty).lower()}
    if plan.contract is not None:
        tags["greenroom.contract_violations"] = str(plan.contract.broken)
    return tags | list_warnings(plan)


def list_warnings(plan: TrainingPlan) -> dict[str, str]:
    """The tag that holds what a person should read; none without a warning."""
    return {"greenroom.warnings": " ".join(plan.warnings)} if plan.warnings else {}


def flatten_job(plan: TrainingPlan, fitted: Fitted) -> dict[str, object]:
    """The job as params: ``section.key``, with what a search chose under ``model.params``."""
    content = json.loads(plan.job.spec.model_dump_json(exclude_none=True))
    labels = content["answer"]["labels"]  # MLflow does not take every class as a part of a param's name
    content["answer"]["labels"] = [f"{name} = {label}" for name, label in labels.items()]
    flat = dict(_flatten(content, ""))
    flat |= {f"model.params.{name}": value for name, value in fitted.params.items()}
    flat |= {
        "data.rows": len(plan.dataset.frame),
        "data.rows_without_target": plan.dataset.dropped,
        "split.rows_train": len(plan.split.train),
        "split.rows_evaluate": len(plan.split.evaluate),
        "task": plan.target.task,
    }
    if "threshold" in fitted.answers.plan:
        flat["answer.threshold"] = fitted.answers.plan["threshold"]
    if fitted.answers.held is not None:
        flat["split.rows_answers"] = len(fitted.answers.held.truth)
    if fitted.guard is not None:
        flat["split.rows_guard"] = len(fitted.guard.plan["scores"])
        flat["guard.rows_compared"] = len(fitted.guard.arrays["numbers"])
    return flat


def make_dataset_record(plan: TrainingPlan, sha256: str) -> DatasetRecord:
    """The data set as MLflow shows it beside the run."""
    frame, dataset = plan.dataset.frame, plan.dataset
    columns = tuple(
        (str(name), _MLFLOW_TYPES[infer_type(frame[name])], not frame[name].isna().any())
        for name in frame.columns
    )
    name = dataset.text.rstrip("/").rpartition("/")[2] or dataset.text
    return DatasetRecord(name[:100], sha256, dataset.text, _SOURCE_TYPES[dataset.kind], columns, len(frame))


def write_job(plan: TrainingPlan, fitted: Fitted, folder: Path) -> None:
    """The job as it ran, overrides and search included: ``job.json``, ``job.toml``; and its contract."""
    content = json.loads(plan.job.spec.model_dump_json(exclude_none=True))
    content["model"]["params"] |= fitted.params
    (folder / "job.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")
    (folder / "job.toml").write_text(_to_toml(content), "utf-8")
    if plan.contract is not None:
        (folder / CONTRACT_FILE).write_text(format_contract(plan.contract.contract), "utf-8")
    (folder / "environment.json").write_text(json.dumps(list_versions(), indent=2), "utf-8")


def write_evaluation_rows(plan: TrainingPlan, outcome: Outcome, folder: Path) -> EvaluationRows:
    """Writes the held-out rows with truth and answers as Parquet, and says what they are.

    Columns that this job does not look at are kept as well (leaks excepted): the version in production may
    look at others, and must be able to answer the same rows.
    """
    held = plan.rows.iloc[plan.split.evaluate]
    others = plan.dataset.frame.loc[held.index]  # by label: the data set has rows that neither side uses
    frame = held.reset_index(drop=True)
    for name in _list_other_columns(plan):
        frame[name] = others[name].to_numpy()
    frame[plan.target.name] = outcome.truth
    if plan.split.groups is not None:
        frame[GROUP] = plan.split.groups.iloc[plan.split.evaluate].to_numpy()
    frame[PREDICTION] = outcome.answers
    if outcome.probabilities is not None:
        for number, label in enumerate(outcome.classes):
            frame[f"{PROBABILITY}{label}"] = outcome.probabilities[:, number]
    kept = frame.iloc[_choose_rows(plan, len(frame))].reset_index(drop=True)
    path = folder / ROWS_PATH
    path.parent.mkdir(parents=True)
    kept.to_parquet(path, index=False)
    return EvaluationRows(
        path=ROWS_PATH,
        target=plan.target.name,
        task=plan.target.task,
        group=GROUP if plan.split.groups is not None else None,
        features=tuple(column.name for column in plan.features.raw),
        classes=plan.target.classes,
        rows=len(kept),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _list_other_columns(plan: TrainingPlan) -> list[str]:
    taken = {*plan.rows.columns, *plan.job.spec.features.leaks, plan.target.name}
    frame = plan.dataset.frame
    return [
        str(name)
        for name in frame.columns
        if name not in taken
        and (
            is_numeric_dtype(frame[name])
            or is_string_dtype(frame[name])
            or is_datetime64_any_dtype(frame[name])
        )
    ]


def write_pictures(figures: Iterable[tuple[str, "Figure"]], folder: Path) -> None:
    """``plots/*.png``."""
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    for name, figure in figures:
        figure.savefig(plots / f"{name}.png", pil_kwargs={"compress_level": 1})


def _choose_rows(plan: TrainingPlan, rows: int) -> Any:
    """Positions to keep: all, or a seeded choice of whole groups (of rows, without groups) up to the cap."""
    limit = plan.job.spec.evaluation.max_rows
    if rows <= limit:
        return np.arange(rows)
    generator = np.random.default_rng(plan.job.spec.job.seed)
    if plan.split.groups is None:
        return np.sort(generator.permutation(rows)[:limit])
    codes, names = pd.factorize(plan.split.groups.iloc[plan.split.evaluate])
    sizes = np.bincount(codes)
    order = generator.permutation(len(names))
    fitting = order[np.cumsum(sizes[order]) <= limit]
    kept = fitting if len(fitting) else order[:1]
    return np.flatnonzero(np.isin(codes, kept))


def _flatten(content: Mapping[str, Any], prefix: str) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            lines.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
        else:
            lines.append((f"{prefix}{key}", value))
    return lines


def _to_toml(content: Mapping[str, Any]) -> str:
    """TOML with one table per section; deeper values inline, which TOML allows everywhere."""
    lines = []
    for section, keys in content.items():
        lines.append(f"[{section}]")
        lines += [f"{_to_key(key)} = {_to_value(value)}" for key, value in keys.items()]
        lines.append("")
    return "\n".join(lines)


def _to_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _to_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_to_key(key)} = {_to_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_to_value(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)
