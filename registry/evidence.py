"""Keeps what a decision rested on as a run in MLflow: rows, answers, verdicts, pictures. Reads it back."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError, GreenroomError, NotFoundError, TamperedError
from .gates.material import CANDIDATE, Material, Timing
from .gates.verdict import GateResult
from .names import Tag
from .policy import Policy
from .store import ModelVersion, RegistryStore
from .texts import link_version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evidence", "Kept", "Looked", "begin_evidence", "keep_evidence", "read_evidence", "read_material"]

SCHEMA = "greenroom/evidence/2"
DOCUMENT = "evidence.json"
ROWS = "rows.parquet"
MAX_REASON = 600
"""Characters of a gate's reason in the run's note: MLflow's tags are short, evidence.json has all."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the evidence is: a run, and the sha256 of its ``evidence.json``."""

    run_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at the rows was made of.

    Attributes:
        material: The rows and answers.
        policy: What was asked.
        attempt: Which look it was.
        origin: Where the rows came from, in words.
        rows: sha256 of the rows as they came.
    """

    material: Material
    policy: Policy
    attempt: int
    origin: str
    rows: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Evidence as read back: the document, and the run's rows if it has any (in a folder of the caller)."""

    evidence: Evidence
    document: dict[str, Any]
    rows: Path | None

    @property
    def quality(self) -> tuple[GateResult, ...]:
        """What the quality gates said."""
        return tuple(GateResult(**gate) for gate in self.document["quality"])


def begin_evidence(
    store: RegistryStore, experiment_id: str, *, version: ModelVersion, stage: str, actor: str = ""
) -> str:
    """Opens an evidence run, so that a reservation can name it; returns its id."""
    tags = {
        Tag.KIND: "evidence",
        "greenroom.model": version.name,
        "greenroom.version": version.version,
        "mlflow.user": actor,
    }
    return store.create_run(experiment_id, f"evidence: version {version.version} to {stage}", tags).run_id


def keep_evidence(
    store: RegistryStore,
    run_id: str,
    *,
    version: ModelVersion,
    stage: str,
    was: str | None,
    integrity: Sequence[GateResult],
    quality: Sequence[GateResult],
    looked: Looked | None,
    scratch: Path,
) -> Evidence:
    """Writes everything into the run and finishes it; a run that was cut off is marked as failed.

    Args:
        store: MLflow.
        run_id: As :func:`begin_evidence` opened it.
        version: The candidate.
        stage: Where it wants to go.
        was: The version that has the stage.
        integrity: What the integrity gates said.
        quality: What the quality gates said.
        looked: What was looked at, if rows were.
        scratch: Folder for the files; the caller removes it.
    """
    folder = scratch / "evidence"
    folder.mkdir(exist_ok=True)
    gates = [*integrity, *quality]
    try:
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "model": version.name,
            "version": version.version,
            "stage": stage,
            "was": was,
            "gates": [asdict(gate) for gate in gates],
            "quality": [asdict(gate) for gate in quality],
        }
        if looked:
            _write_rows(folder / ROWS, looked.material)
            _draw(folder, looked, quality)
            document |= _describe(looked, folder / ROWS)
        text = json.dumps(document, indent=2, sort_keys=True, default=str)
        (folder / DOCUMENT).write_text(text, encoding="utf-8")
        store.set_run_tag(run_id, "mlflow.note.content", _write_note(version, stage, was, gates))
        store.upload(run_id, str(folder))
        if looked:
            store.log_metrics(run_id, _list_metrics(quality))
        store.finish_run(run_id)
    except BaseException:
        with suppress(GreenroomError):  # what went wrong first is what matters
            store.finish_run(run_id, "FAILED")
        raise
    return Evidence(run_id, hashlib.sha256(text.encode()).hexdigest())


def _describe(looked: Looked, rows: Path) -> dict[str, Any]:
    material = looked.material
    return {
        "attempt": looked.attempt,
        "origin": looked.origin,
        "policy": looked.policy.model_dump(mode="json"),
        "question": {
            "digest": looked.rows,
            "target": material.target,
            "task": material.task,
            "classes": list(material.classes),
            "group": material.group,
            "columns": [str(name) for name in material.rows.columns],
        },
        "rows": hashlib.sha256(rows.read_bytes()).hexdigest(),
        "versions": dict(material.versions),
        "timings": {who: asdict(timing) for who, timing in material.timings.items()},
    }


def _list_metrics(quality: Sequence[GateResult]) -> dict[str, float]:
    """The gates' numbers as the run's metrics: MLflow's UI compares and plots them."""
    found = {
        name if gate.name == "metric" else f"{gate.name}.{name}": float(value)
        for gate in quality
        for name, value in gate.numbers.items()
        if isinstance(value, int | float) and abs(value) < float("inf")
    }
    return {name: value for name, value in found.items() if value == value}  # noqa: PLR0124 - NaN is none


def _write_note(version: ModelVersion, stage: str, was: str | None, gates: Sequence[GateResult]) -> str:
    against = f" against version {was}" if was else ""
    lines = [f"Evidence for {link_version(version.name, version.version)} to **{stage}**{against}.", ""]
    for gate in sorted(gates, key=lambda gate: (gate.verdict == "yes", gate.name != "metric")):
        said = f"**{gate.verdict}**" + ("" if gate.decides else " (overridden)")
        lines.append(f"- {gate.name}: {said}. {gate.reason[:MAX_REASON]}")
    return "\n".join(lines)


def _write_rows(path: Path, material: Material) -> None:
    """The truth, and everybody's answers beside it: all that a replay needs."""
    import pandas as pd  # noqa: PLC0415 - heavy

    answers = {
        f"{who}.{name}": frame[name].to_numpy() for who, frame in material.answers.items() for name in frame
    }
    pd.concat([material.rows.reset_index(drop=True), pd.DataFrame(answers)], axis=1).to_parquet(path)


def _draw(folder: Path, looked: Looked, quality: Sequence[GateResult]) -> None:
    from .gates.plots import draw_all  # noqa: PLC0415 - matplotlib

    draw_all(folder, looked.material, looked.policy, quality)


def read_evidence(store: RegistryStore, run_id: str, folder: Path, *, digest: str | None = None) -> Kept:
    """Reads evidence back and checks that it is whole.

    Args:
        store: MLflow.
        run_id: The evidence run.
        folder: Where to put its files; the caller removes it.
        digest: sha256 of the document, where history recorded it.

    Raises:
        NotFoundError: There is none: the look was interrupted, or the run was deleted.
        TamperedError: It is not what was kept.
    """
    path = Path(store.download_run_file(run_id, DOCUMENT, str(folder)))
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if digest and found != digest:
        raise TamperedError(
            f"The evidence in run {run_id} is not what the decision rested on: {DOCUMENT} was changed "
            f"(sha256 {found[:12]}, recorded {digest[:12]})."
        )
    try:
        document = json.loads(data)
        wanted, known = document.get("rows"), document["schema"] == SCHEMA
    except (ValueError, KeyError, AttributeError) as error:
        raise TamperedError(f"The evidence in run {run_id} cannot be read: {error!r}.") from error
    if not known:
        raise DataError(
            f"The evidence in run {run_id} is of another version of Greenroom ({document['schema']})."
        )
    rows = Path(store.download_run_file(run_id, ROWS, str(folder))) if wanted else None
    if rows and hashlib.sha256(rows.read_bytes()).hexdigest() != wanted:
        raise TamperedError(
            f"The evidence in run {run_id} was changed: {ROWS} is not the one that was judged by."
        )
    return Kept(Evidence(run_id, found), document, rows)


def read_material(kept: Kept) -> Material:
    """What the gates looked at then.

    Raises:
        NotFoundError: No rows were looked at.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    if kept.rows is None:
        raise NotFoundError(f"The decision in run {kept.evidence.run_id} looked at no rows.")
    document, table = kept.document, pd.read_parquet(kept.rows)
    question = document["question"]
    return Material(
        rows=table[question["columns"]],
        target=question["target"],
        task=question["task"],
        classes=tuple(question["classes"]),
        group=question["group"],
        versions=document["versions"],
        answers={
            who: _pick(table, who) for who in document["versions"] if who == CANDIDATE or _has(table, who)
        },
        timings={who: _read_timing(timing) for who, timing in document["timings"].items()},
    )


def _has(table: "pd.DataFrame", who: str) -> bool:
    return any(str(name).startswith(f"{who}.") for name in table.columns)


def _pick(table: "pd.DataFrame", who: str) -> "pd.DataFrame":
    own = {
        name: str(name).removeprefix(f"{who}.") for name in table.columns if str(name).startswith(f"{who}.")
    }
    return table[list(own)].rename(columns=own)


def _read_timing(found: dict[str, Any]) -> Timing:
    return Timing(tuple(found["one_ms"]), tuple(found["batch_ms"]), found["batch_rows"], found["memory_mb"])
