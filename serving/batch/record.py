"""The record of a batch: what was scored with what, and what became of its rows (``greenroom/scoring/1``)."""

from collections.abc import Mapping
from typing import Any, Final

from .job import find_begun, read_done
from .order import PartReport
from .planning import ScorePlan
from .settings import ScoreSettings
from .storage import OutputStorage

__all__ = ["describe_counts", "describe_dry_run", "describe_plan", "write_note"]

SCHEMA: Final = "greenroom/scoring/1"
NAMED: Final = 5
"""Reasons in the run's note; the record has all."""


def describe_plan(settings: ScoreSettings, plan: ScorePlan) -> dict[str, Any]:
    """What was asked for, and what it came to."""
    order, target = plan.order, plan.order.target
    return {
        "schema": SCHEMA,
        "model": order.model,
        "stage": settings.stage if settings.version is None else None,
        "version": target.version,
        "seq": target.seq or None,
        "manifest": target.manifest,
        "input": settings.input,
        "input_sha256": plan.about["input"],
        "output": settings.output,
        "engine": settings.engine,
        "engine_path": order.path,
        "params": dict(order.params),
        "keep": list(order.keep),
        "bad_rows": plan.about["bad_rows"],
        "batch_rows": order.batch_rows,
    }


def describe_counts(total: PartReport) -> dict[str, Any]:
    """What became of the rows."""
    return {
        "rows_read": total.read,
        "rows_written": total.written,
        "rows_quarantined": total.quarantined,
        "rows_warned": total.warned,
        "rows_native": total.native,
        "reasons": dict(sorted(total.reasons.items(), key=lambda item: -item[1])),
    }


def describe_dry_run(settings: ScoreSettings, plan: ScorePlan, storage: OutputStorage) -> dict[str, Any]:
    """What would be done; reads what is there without the lock."""
    begun = None if settings.restart else find_begun(storage, plan.about)
    there = len(storage.list("part-")) if begun is not None else 0
    return {
        **describe_plan(settings, plan),
        "rows": plan.rows,
        "parts": len(plan.parts),
        "resumed_parts": there,
        "complete": begun is not None and read_done(storage) is not None,
        "dry_run": True,
    }


def write_note(document: Mapping[str, Any]) -> str:
    """The same as people read it in MLflow's UI: Markdown."""
    what = f"Version {document['version']} of **{document['model']}** scored `{document['input']}`"
    counts = (
        f"- {document['rows_read']:,} rows read, {document['rows_written']:,} written, "
        f"{document['rows_quarantined']:,} set aside"
    )
    lines = [
        f"{what} into `{document['output']}`.",
        "",
        counts,
        f"- {document['seconds']:,} s, {document['rows_per_s']:,} rows/s",
        f"- manifest `{document['manifest']}`",
    ]
    lines += [f"- {count:,} × {reason}" for reason, count in list(document["reasons"].items())[:NAMED]]
    return "\n".join(lines)
