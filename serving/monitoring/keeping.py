"""Writes a round down as a run in MLflow: figures, tags, a note, pictures and the whole report."""

import json
import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from registry import GreenroomError, RegistryStore, Tag

from .plots import draw_all
from .report import Report, write_document
from .texts import write_note, write_text

__all__ = ["keep_report"]

MAX_NOTE: Final = 4_500
"""MLflow's tags hold 5,000 characters."""


def keep_report(store: RegistryStore, report: Report, experiment_id: str) -> str:
    """Makes the run; returns its id. A run that was cut off is marked as failed.

    Args:
        store: MLflow.
        report: As it stands before anything is done about it.
        experiment_id: Where to.
    """
    last = report.windows[-1].window.text if report.windows else "no window"
    tags = {
        Tag.KIND: "monitor",
        "greenroom.model": report.model,
        "greenroom.version": report.version,
        "greenroom.verdict": report.verdict,
        "mlflow.note.content": write_note(report)[:MAX_NOTE],
    }
    run_id = store.create_run(experiment_id, f"monitor: version {report.version}, {last}", tags).run_id
    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
            folder = Path(scratch)
            document = write_document(report) | {"run_id": run_id, "experiment_id": experiment_id}
            (folder / "report.json").write_text(json.dumps(document, indent=2), "utf-8")
            (folder / "report.txt").write_text(write_text(report) + "\n", "utf-8")
            draw_all(folder, report)
            store.upload(run_id, str(folder))
        store.log_metrics(run_id, dict(_list_metrics(report)))
        store.finish_run(run_id)
    except BaseException:
        with suppress(GreenroomError):  # what went wrong first is what matters
            store.finish_run(run_id, "FAILED")
        raise
    return run_id


def _list_metrics(report: Report) -> Iterator[tuple[str, float]]:
    """Of the newest window and of all together, for MLflow's own charts."""
    yield "alarm", float(bool(report.standing))
    yield "windows", float(len(report.windows))
    drifts = [look.drift for look in report.windows if look.drift]
    if drifts:
        yield "predictions", float(drifts[-1].rows)
        yield "drifted_columns", float(len(drifts[-1].drifted))
        yield from ((f"moved.{_name(column.name)}", column.effect) for column in drifts[-1].columns)
    for look in report.versions:
        prefix = f"version_{_name(look.version)}"
        yield f"{prefix}.truth_share", look.coverage.share
        found = {"estimated": look.estimated}
        if look.quality:
            quality = look.quality
            found |= {quality.metric: quality.value, "lower": quality.lower, "upper": quality.upper}
        yield from (
            (f"{prefix}.{name}", value)
            for name, value in found.items()
            if value is not None and math.isfinite(value)
        )


def _name(text: str) -> str:
    """What MLflow takes as part of a metric's name."""
    return re.sub(r"[^\w.\- ]", "_", text)[:100]
