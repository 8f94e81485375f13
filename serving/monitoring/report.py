"""What a round of watching came to, and how it is said as one document."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from registry import format_time

from .diary import Alarm
from .drift import Drift
from .findings import Finding, FindingKind, Series
from .judging import Baseline, VersionLook
from .windows import Window

__all__ = ["Report", "WindowLook", "write_document"]

SCHEMA: Final = "greenroom/monitor/1"


@dataclass(frozen=True, slots=True)
class WindowLook:
    """What one window showed.

    Attributes:
        window: From when to when.
        drift: What moved; None where it was judged before.
        finding: The same as it is counted on.
        quality: Whether quality was worse; None where the truth is still awaited.
        versions: Every version that answered.
        scores: Quantiles (5, 25, 50, 75, 95 %) of the watched version's answers that are numbers, by name.
    """

    window: Window
    drift: Drift | None
    finding: Finding | None
    quality: Finding | None
    versions: tuple[VersionLook, ...]
    scores: Mapping[str, tuple[float, ...]]

    @property
    def since(self) -> str:
        """The window's begin, RFC 3339."""
        return format_time(self.window.since)

    @property
    def until(self) -> str:
        """The window's end, RFC 3339."""
        return format_time(self.window.until)


@dataclass(frozen=True, slots=True)
class Report:
    """What a round came to.

    Attributes:
        model: The registered model.
        version: The version watched.
        origin: What it was compared with, in words.
        grouping: Which rows belong together, in words.
        min_effect: The effect floor.
        reference_scores: As :attr:`WindowLook.scores`, of the reference.
        baseline: What quality is measured in and against; None: there were no predictions.
        windows: Looked at in this round, in order.
        versions: Side by side over all of these.
        earlier: Findings of earlier rounds, oldest first.
        series: After this round.
        standing: Kinds of alarm that stand.
        alarms: Raised or taken up in this round, each with what was done.
        run_id: The run that shows it all; None: nothing new, or a dry run.
        experiment_id: Its experiment.
        notes: Sentences about what a reader should know.
        dry_run: Nothing was written.
    """

    model: str
    version: str
    origin: str
    grouping: str
    min_effect: float
    reference_scores: Mapping[str, tuple[float, ...]]
    baseline: Baseline | None
    windows: tuple[WindowLook, ...]
    versions: tuple[VersionLook, ...]
    earlier: tuple[Finding, ...]
    series: Series
    standing: tuple[FindingKind, ...]
    alarms: tuple[tuple[Alarm, str], ...] = ()
    run_id: str | None = None
    experiment_id: str | None = None
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def verdict(self) -> str:
        """``alarm``, ``quiet``, or ``not_enough_data`` where no window of this round could be judged."""
        if self.standing:
            return "alarm"
        judged = [
            *(look.drift.verdict for look in self.windows if look.drift),
            *(look.quality.verdict for look in self.windows if look.quality),
        ]
        enough = [verdict for verdict in judged if verdict != "not_enough_data"]
        if enough or (not self.windows and self.series.until):
            return "quiet"
        return "not_enough_data"


def write_document(report: Report) -> dict[str, Any]:
    """The report as JSON, without infinities and arrays."""
    baseline = report.baseline
    return {
        "schema": SCHEMA,
        "model": report.model,
        "version": report.version,
        "verdict": report.verdict,
        "standing": list(report.standing),
        "alarms": [_write_alarm(alarm, outcome) for alarm, outcome in report.alarms],
        "windows": [_write_window(look) for look in report.windows],
        "versions": [_write_version(look) for look in report.versions],
        "metric": baseline.metric if baseline else None,
        "reference": {
            "origin": report.origin,
            "grouping": report.grouping,
            "quality": baseline.judged.value if baseline and baseline.judged else None,
            "margin": baseline.margin if baseline else None,
        },
        "judged_until": report.series.until or None,
        "run_id": report.run_id,
        "experiment_id": report.experiment_id,
        "notes": list(report.notes),
        "dry_run": report.dry_run,
    }


def _write_alarm(alarm: Alarm, outcome: str) -> dict[str, Any]:
    names = ("kind", "version", "marks", "until", "action", "reason", "run_id")
    return {name: getattr(alarm, name) for name in names} | {"marks": list(alarm.marks), "outcome": outcome}


def _write_window(look: WindowLook) -> dict[str, Any]:
    finding = look.quality
    return {
        "since": look.since,
        "until": look.until,
        "drift": _write_drift(look.drift) if look.drift else None,
        "quality": {"verdict": finding.verdict, "reason": finding.reason} if finding else None,
        "versions": [_write_version(one) for one in look.versions],
    }


def _write_drift(drift: Drift) -> dict[str, Any]:
    return {
        "verdict": drift.verdict,
        "reason": drift.reason,
        "rows": drift.rows,
        "reference_rows": drift.reference_rows,
        "blocks": drift.blocks,
        "visible": drift.visible,
        "columns": [asdict(column) for column in drift.columns],
        "skipped": drift.skipped,
    }


def _write_version(look: VersionLook) -> Mapping[str, Any]:
    coverage, quality = look.coverage, look.quality
    return {
        "version": look.version,
        "rows": coverage.rows,
        "answered": coverage.answered,
        "known": coverage.known,
        "truth_share": coverage.share,
        "delay_s": coverage.delay_s,
        "late_s": coverage.late_s,
        "quality": {name: value for name, value in asdict(quality).items() if name != "metric"}
        if quality
        else None,
        "estimated": look.estimated,
        "warnings": list(coverage.warnings),
    }
