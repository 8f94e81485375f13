"""Keeps what a decision rested on as a run in MLflow: rows, numbers, verdicts, and pictures to look at."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import GreenroomError
from .gates.measured import Measured
from .gates.verdict import GateResult
from .names import Tag
from .store import ModelVersion, RegistryStore
from .texts import link_version

__all__ = ["Evidence", "record_evidence"]

SCHEMA = "greenroom/evidence/1"
MAX_REASON = 600
"""Characters of a gate's reason in the run's note: MLflow's tags are short, evidence.json has all."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the evidence is: a run, and the sha256 of its ``evidence.json``."""

    run_id: str
    digest: str


def record_evidence(
    store: RegistryStore,
    experiment_id: str,
    *,
    version: ModelVersion,
    stage: str,
    was: str | None,
    gates: Sequence[GateResult],
    measured: Measured | None,
    scratch: Path,
    actor: str = "",
) -> Evidence:
    """Writes an evidence run.

    Args:
        store: MLflow.
        experiment_id: The ledger's experiment.
        version: The candidate.
        stage: Where it wants to go.
        was: The version that has the stage.
        gates: What every gate said.
        measured: What was measured, if rows were compared.
        scratch: Folder for the files; the caller removes it.
        actor: Who asked, for MLflow's UI.
    """
    folder = scratch / "evidence"
    folder.mkdir()
    if measured:
        _write_rows(folder, measured)
        _draw(folder, measured, was or "", version.version)
    document = _describe(folder=folder, version=version, stage=stage, was=was, gates=gates, measured=measured)
    text = json.dumps(document, indent=2, sort_keys=True, default=str)
    (folder / "evidence.json").write_text(text, encoding="utf-8")
    tags = {
        Tag.KIND: "evidence",
        "mlflow.note.content": _write_note(version, stage, was, gates),
        "greenroom.model": version.name,
        "greenroom.version": version.version,
        "mlflow.user": actor,
    }
    run = store.create_run(experiment_id, f"evidence: version {version.version} to {stage}", tags)
    try:
        store.upload(run.run_id, str(folder))
        if measured:
            store.log_metrics(run.run_id, _list_metrics(measured))
        store.finish_run(run.run_id)
    except BaseException:
        with suppress(GreenroomError):  # what went wrong first is what matters
            store.finish_run(run.run_id, "FAILED")
        raise
    return Evidence(run.run_id, hashlib.sha256(text.encode()).hexdigest())


def _describe(
    *,
    folder: Path,
    version: ModelVersion,
    stage: str,
    was: str | None,
    gates: Sequence[GateResult],
    measured: Measured | None,
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": version.name,
        "version": version.version,
        "stage": stage,
        "was": was,
        "gates": [asdict(gate) for gate in gates],
    }
    if measured:
        rows = (folder / "rows.parquet").read_bytes()
        document |= {
            "origin": measured.question.origin,
            "question": measured.question.digest,
            "rows": hashlib.sha256(rows).hexdigest(),
            "comparison": asdict(measured.comparison),
        }
    return document


def _list_metrics(measured: Measured) -> dict[str, float]:
    found, losses = measured.comparison, measured.losses
    return {
        f"{losses.metric}_candidate": float(losses.candidate.mean()),
        f"{losses.metric}_holder": float(losses.holder.mean()),
        "improvement": found.improvement,
        "improvement_lower": found.lower,
        "improvement_upper": found.upper,
    }


def _write_note(version: ModelVersion, stage: str, was: str | None, gates: Sequence[GateResult]) -> str:
    against = f" against version {was}" if was else ""
    lines = [f"Evidence for {link_version(version.name, version.version)} to **{stage}**{against}.", ""]
    for gate in sorted(gates, key=lambda gate: (gate.verdict == "yes", gate.name != "metric")):
        said = f"**{gate.verdict}**" + ("" if gate.decides else " (overridden)")
        lines.append(f"- {gate.name}: {said}. {gate.reason[:MAX_REASON]}")
    return "\n".join(lines)


def _write_rows(folder: Path, measured: Measured) -> None:
    import pandas as pd  # noqa: PLC0415 - heavy

    question = measured.question
    columns = [question.target, *([question.group] if question.group else [])]
    table = pd.read_parquet(question.rows, columns=columns)
    for who, answers in measured.answers.items():
        for name in answers.columns:
            table[f"{who}.{name}"] = answers[name].to_numpy()
    table["holder.loss"] = measured.losses.holder
    table["candidate.loss"] = measured.losses.candidate
    table.to_parquet(folder / "rows.parquet")


def _draw(folder: Path, measured: Measured, holder: str, candidate: str) -> None:
    from .gates.plots import draw_calibration, draw_difference  # noqa: PLC0415 - matplotlib

    draw_difference(folder / "difference.png", measured, holder=holder, candidate=candidate)
    if measured.losses.metric == "log_loss" and measured.question.task == "binary":
        draw_calibration(folder / "calibration.png", measured, holder=holder, candidate=candidate)
