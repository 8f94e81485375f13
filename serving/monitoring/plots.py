"""Pictures of a round, drawn without any global plotting state: drift, scores, quality, each over windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from registry import parse_time

from .findings import Finding
from .judging import WORDS, VersionLook
from .report import Report, WindowLook

__all__ = ["draw_all"]

INK: Final = "#22313f"
GOOD: Final = "#1f7a5c"
WORSE: Final = "#b5483a"
QUIET: Final = "#8795a1"
COLORS: Final = ("#1f7a5c", "#b98a2f", "#3b6ea5", "#8a4f9e", "#8795a1")
MAX_COLUMNS: Final = 30
ROW_IN: Final = 0.28
"""Height of a column's line, inches."""

MAX_VERSIONS: Final = 5


def draw_all(folder: Path, report: Report) -> None:
    """Draws what there is to look at."""
    drifts = [look for look in report.windows if look.drift and look.drift.columns]
    if drifts:
        _draw_columns(folder / "drift.png", report, drifts[-1])
    findings = _list_drift_findings(report)
    if len(findings) > 1:
        _draw_windows(folder / "drift_over_windows.png", report, findings)
    if any(look.scores for look in report.windows):
        _draw_scores(folder / "scores.png", report)
    if any(version.quality or version.estimated is not None for version in report.versions):
        _draw_quality(folder / "quality.png", report)


def _list_drift_findings(report: Report) -> list[Finding]:
    now = [look.finding for look in report.windows if look.finding]
    known = {finding.until for finding in now}
    earlier = [one for one in report.earlier if one.kind == "drift" and one.until not in known]
    return [one for one in (*earlier, *now) if one.numbers]


def _draw_columns(path: Path, report: Report, look: WindowLook) -> None:
    """The newest window, column by column."""
    assert look.drift is not None, "chosen for it"
    columns = look.drift.columns[:MAX_COLUMNS][::-1]
    more = len(look.drift.columns) - len(columns)
    title = f"How far each column moved: {look.window.text} against the reference"
    figure, axes = _begin(title, height=1.6 + ROW_IN * len(columns))
    colors = [WORSE if column.drifted else QUIET for column in columns]
    axes.barh(range(len(columns)), [100 * column.effect for column in columns], color=colors, height=0.7)
    for place, column in enumerate(columns):
        chance = "p < 0.001" if column.p_value < 0.001 else f"p = {column.p_value:.3f}"  # noqa: PLR2004 - a digit
        shift = "" if column.shift_sd is None else f", {column.shift_sd:.2f} sd"
        axes.annotate(f" {chance}{shift}", (100 * column.effect, place), va="center", fontsize=8, color=INK)
    axes.axvline(100 * report.min_effect, color=INK, linewidth=1, linestyle="--", label="effect floor")
    axes.set_xlim(0, max(1.35 * max(100 * column.effect for column in columns), 200 * report.min_effect))
    axes.set_yticks(range(len(columns)), [_cut(column.name) for column in columns], fontsize=8)
    axes.set_ylim(-0.6, len(columns) - 0.4)
    axes.set_xlabel(
        "rows that moved, % (red: drifted; p: chance of so much in any column of a quiet window)"
        + (f"\n{more} columns that moved less are left out" if more else "")
    )
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _draw_windows(path: Path, report: Report, findings: Sequence[Finding]) -> None:
    """Every window a column of the picture, every column a line; the darker, the farther."""
    largest: dict[str, float] = {}
    for finding in findings:
        for name, value in finding.numbers.items():
            largest[name] = max(largest.get(name, 0.0), float(value))
    names = sorted(largest, key=lambda name: -largest[name])[:MAX_COLUMNS]
    table = np.array([[100 * finding.numbers.get(name, np.nan) for finding in findings] for name in names])
    figure, axes = _begin(
        f"How far columns moved, version {report.version}", height=2.2 + ROW_IN * len(names)
    )
    top = max(float(np.nanmax(table)), 200 * report.min_effect)
    image = axes.imshow(table, aspect="auto", cmap="YlOrRd", vmin=0, vmax=top, interpolation="nearest")
    for place, finding in enumerate(findings):
        for mark in finding.marks:
            if mark in names:
                axes.plot([place], [names.index(mark)], marker="o", color=INK, markersize=4)
    axes.set_yticks(range(len(names)), [_cut(name) for name in names], fontsize=8)
    _label_windows(axes, [parse_time(finding.since) for finding in findings])
    figure.colorbar(image, ax=axes, label="rows that moved, %", pad=0.01)
    axes.set_xlabel("window (dot: drifted)")
    _save(figure, path)


def _draw_scores(path: Path, report: Report) -> None:
    """How the answers were spread, window by window, and on the reference."""
    named = next(look.scores for look in report.windows if look.scores)
    name = next(iter(named))
    looks = [look for look in report.windows if name in look.scores]
    figure, axes = _begin(f"Answers of version {report.version}: {name}")
    bands = np.array([look.scores[name] for look in looks])
    places = np.arange(len(looks))
    if name in report.reference_scores:
        reference = report.reference_scores[name]
        axes.axhspan(
            reference[1], reference[3], color=QUIET, alpha=0.18, linewidth=0, label="reference, middle half"
        )
        axes.axhline(reference[2], color=QUIET, linewidth=1.5, label="reference, median")
    axes.vlines(places, bands[:, 0], bands[:, 4], color=GOOD, linewidth=1, alpha=0.6, label="middle 90 %")
    axes.vlines(places, bands[:, 1], bands[:, 3], color=GOOD, linewidth=5, alpha=0.6, label="middle half")
    axes.plot(places, bands[:, 2], marker="o", color=INK, markersize=4, linewidth=1, label="median")
    axes.set_xlim(-0.7, len(looks) - 0.3)
    _label_windows(axes, [look.window.since for look in looks])
    axes.set_ylabel(name)
    axes.legend(frameon=False, ncols=5, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_title(axes.get_title(loc="left"), loc="left", color=INK, pad=26)
    _save(figure, path)


def _draw_quality(path: Path, report: Report) -> None:
    """Every version over the windows, with intervals; open marks: the estimate without truth."""
    assert report.baseline is not None, "no quality without one"
    metric, points = report.baseline.metric, _list_points(report)
    figure, axes = _begin(f"Live {WORDS[metric]} by version, with 95 % intervals")
    moments = sorted({point.since for point in points})
    versions = sorted({point.version for point in points}, key=lambda name: (len(name), name))[-MAX_VERSIONS:]
    for number, version in enumerate(versions):
        shift = 0.16 * (number - (len(versions) - 1) / 2)
        own = [(moments.index(one.since) + shift, one) for one in points if one.version == version]
        _draw_version(axes, f"version {version}", own, COLORS[number])
    if report.baseline.judged:
        reference = report.baseline.judged.value
        axes.axhline(reference, color=INK, linewidth=1, linestyle="--", label="on the reference")
    axes.set_xlim(-0.7, len(moments) - 0.3)
    _label_windows(axes, [parse_time(moment) for moment in moments])
    better = "higher" if metric == "roc_auc" else "lower"
    axes.set_ylabel(f"{WORDS[metric]} ({better} is better)")
    axes.legend(frameon=False, ncols=3, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_title(axes.get_title(loc="left"), loc="left", color=INK, pad=26 + 13 * (len(versions) > 1))
    _save(figure, path)


@dataclass(frozen=True, slots=True)
class _Point:
    """One version in one window."""

    version: str
    since: str
    value: float | None
    lower: float | None
    upper: float | None
    estimated: float | None


def _list_points(report: Report) -> list[_Point]:
    """This round's windows, and what earlier rounds judged of the watched version."""
    now = [_make_point(look, version) for look in report.windows for version in look.versions]
    shown = {(point.version, point.since) for point in now}
    earlier = [
        _Point(
            version=report.version,
            since=one.since,
            value=one.numbers.get("value"),
            lower=one.numbers.get("lower"),
            upper=one.numbers.get("upper"),
            estimated=one.numbers.get("estimated"),
        )
        for one in report.earlier
        if one.kind == "quality" and (report.version, one.since) not in shown
    ]
    return [*earlier, *now]


def _make_point(look: WindowLook, version: VersionLook) -> _Point:
    quality = version.quality
    return _Point(
        version=version.version,
        since=look.since,
        value=quality.value if quality else None,
        lower=quality.lower if quality else None,
        upper=quality.upper if quality else None,
        estimated=version.estimated,
    )


def _draw_version(axes: Any, name: str, points: Sequence[tuple[float, _Point]], color: str) -> None:
    for x, point in points:
        if point.lower is not None and point.upper is not None:
            axes.vlines(x, point.lower, point.upper, color=color, linewidth=2)
    known = sorted((x, point.value) for x, point in points if point.value is not None)
    if known:
        axes.plot(*zip(*known, strict=True), marker="o", linewidth=1, color=color, label=name)
    guessed = sorted((x, point.estimated) for x, point in points if point.estimated is not None)
    if guessed:
        style = {"marker": "o", "linestyle": ":", "linewidth": 1, "markerfacecolor": "white"}
        label = f"{name}, estimated without truth"
        axes.plot(*zip(*guessed, strict=True), color=color, label=label, **style)


def _label_windows(axes: Any, moments: Sequence[datetime]) -> None:
    step = max(1, -(-len(moments) // 10))
    form = "%Y-%m-%d" if all(not (one.hour or one.minute) for one in moments) else "%m-%d %H:%M"
    labels = [f"{moment:{form}}" for moment in moments[::step]]
    axes.set_xticks(range(0, len(moments), step), labels, rotation=30, ha="right", fontsize=8)


def _cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:38]} …"  # noqa: PLR2004 - what fits beside a picture


def _begin(title: str, *, height: float = 4.5) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy

    figure = Figure(figsize=(9, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy

    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call] # matplotlib leaves it untyped
