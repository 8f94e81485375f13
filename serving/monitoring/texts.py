"""Words for people: what a round came to, on a terminal and in the note of its run."""

from collections.abc import Iterator
from typing import Final

from .judging import WORDS, VersionLook
from .report import Report, WindowLook
from .truths import word_seconds

__all__ = ["write_note", "write_text"]

BLIND: Final = (
    "The estimate without truth supposes that probabilities still come true as they did on the reference: it "
    "sees harder inputs, and does not see that the same inputs mean something else now (concept drift)."
)
SHOWN: Final = 12
"""Windows told one by one, the newest."""

VERDICTS: Final = {"alarm": "ALARM", "quiet": "Quiet", "not_enough_data": "Not enough data"}


def write_text(report: Report) -> str:
    """What a person reads on a terminal."""
    return "\n".join(_list_lines(report))


def write_note(report: Report) -> str:
    """The same as the run's note, Markdown."""
    head, *rest = _list_lines(report)
    return "\n".join([f"**{head}**", "", *(f"- {line.strip()}" for line in rest if line.strip())])


def _list_lines(report: Report) -> Iterator[str]:
    yield f"{VERDICTS[report.verdict]}: {report.model} version {report.version}, {_word_verdict(report)}."
    yield f"  compared with {report.origin}; {report.grouping}"
    if len(report.windows) > SHOWN:
        yield f"  ({len(report.windows) - SHOWN} earlier windows are in the report)"
    for look in report.windows[-SHOWN:]:
        yield from _list_window(look)
    for version in report.versions:
        yield f"  {_word_version(report, version)}"
    if any(version.estimated is not None for version in report.versions):
        yield f"  {BLIND}"
    for alarm, outcome in report.alarms:
        yield f"  alarm: {alarm.reason}"
        yield f"  done about it: {outcome}"
    yield from (f"  note: {note}" for note in report.notes)
    if report.run_id:
        yield f"  run {report.run_id}"
    if report.dry_run:
        yield "  dry run: nothing was written, nothing was done"


def _word_verdict(report: Report) -> str:
    if report.standing:
        words = {"drift": "what comes in has drifted", "quality": "live quality is worse"}
        return " and ".join(words[kind] for kind in report.standing)
    if report.windows:
        return f"{len(report.windows)} window{'s' * (len(report.windows) > 1)} looked at"
    return f"judged until {report.series.until}" if report.series.until else "no window is over yet"


def _list_window(look: WindowLook) -> Iterator[str]:
    if look.drift:
        said = {"drift": "drift", "quiet": "no drift", "not_enough_data": "not enough data"}[
            look.drift.verdict
        ]
        yield f"  {look.window.text}: {said}, {look.drift.rows:,} predictions: {look.drift.reason}"
    if look.quality:
        said = {"bad": "worse", "quiet": "fine", "not_enough_data": "not enough data"}[look.quality.verdict]
        yield f"  {look.window.text}: quality {said}: {look.quality.reason}"


def _word_version(report: Report, look: VersionLook) -> str:
    coverage = look.coverage
    parts = [f"version {look.version}: {coverage.rows:,} predictions"]
    if coverage.answered < coverage.rows:
        parts.append(f"{coverage.rows - coverage.answered:,} of them without an answer")
    delay = "" if coverage.delay_s is None else f" (half of it within {word_seconds(coverage.delay_s)})"
    parts.append(f"truth known of {coverage.share:.0%}{delay}")
    if look.quality and report.baseline:
        quality = look.quality
        ends = (
            ""
            if quality.lower is None or quality.upper is None
            else f" [{quality.lower:.4g}, {quality.upper:.4g}]"
        )
        parts.append(f"{WORDS[quality.metric]} {quality.value:.4g}{ends}")
    if look.estimated is not None:
        parts.append(f"estimated without truth {look.estimated:.4g}")
    return ", ".join(parts)
