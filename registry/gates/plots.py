"""Pictures of a look at the rows, drawn without any global plotting state."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.prediction import PROBABILITY

from .calibration import pick_top_label
from .losses import place_classes
from .material import BEST, CANDIDATE, HOLDER, Material
from .metric import ROC_AUC, WORDS, losses_of
from .verdict import GateResult

if TYPE_CHECKING:
    from registry.policy import Policy

__all__ = ["draw_all"]

INK: Final = "#22313f"
COLORS: Final = {HOLDER: "#8795a1", BEST: "#b98a2f", CANDIDATE: "#1f7a5c"}
GOOD: Final = COLORS[CANDIDATE]
WORSE: Final = "#b5483a"
UNSURE: Final = COLORS[HOLDER]
BINS: Final = 10
MAX_BARS: Final = 120
MAX_SLICES: Final = 40
ROW_IN: Final = 0.28
"""Height of a slice's line, inches."""


def draw_all(folder: Path, material: Material, policy: "Policy", quality: Sequence[GateResult]) -> None:
    """Draws what there is to look at: difference, slices, calibration, latency."""
    gates = {gate.name: gate for gate in quality}
    if "metric" in gates and "improvement" in gates["metric"].numbers:
        _draw_difference(folder / "difference.png", material, policy, gates["metric"].numbers)
    if "slices" in gates and gates["slices"].numbers.get("slices"):
        _draw_slices(folder / "slices.png", material, gates["slices"].numbers)
    if material.classes and _have_probabilities(material):
        _draw_calibration(folder / "calibration.png", material)
    if material.timings:
        _draw_latency(folder / "latency.png", material)


def _have_probabilities(material: Material) -> bool:
    column = PROBABILITY + str(material.classes[-1])
    return all(column in answers for answers in material.answers.values())


def _draw_difference(path: Path, material: Material, policy: "Policy", numbers: Mapping[str, Any]) -> None:
    """The improvement with its confidence bounds; block by block where rows depend on each other."""
    versions, metric = material.versions, str(numbers["metric"])
    title = f"Version {versions[CANDIDATE]} against version {versions[HOLDER]}: {WORDS[metric]}"
    if material.group is None or metric == ROC_AUC:
        _draw_intervals(path, title, dict(_list_rivals(material, numbers)), numbers)
        return
    figure, axes = _begin(title)
    names, means = _average_blocks(material, policy, metric)
    axes.bar(range(len(means)), means, color=[GOOD if mean > 0 else WORSE for mean in means], width=0.8)
    lower, upper = _bound(numbers, min(0.0, *means), max(0.0, *means))
    axes.axhspan(lower, upper, color=INK, alpha=0.15, linewidth=0, label="bounds")
    axes.axhline(numbers["improvement"], color=INK, linewidth=1.5, label="mean")
    axes.axhline(0, color=INK, linewidth=1)
    if numbers["margin"]:
        axes.axhline(-numbers["margin"], color=WORSE, linewidth=1, linestyle="--", label="margin")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    step = max(1, len(names) // 8)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("improvement (above 0: candidate is better)")
    axes.set_xlabel(f"{material.group}: {_word_bounds(numbers)}")
    _save(figure, path)


def _word_bounds(numbers: Mapping[str, Any]) -> str:
    blocks = "" if numbers["unit"] == "rows" else f"{numbers['blocks']:,} {numbers['unit']}, "
    lower, upper = (
        f"{value:+.4f}" if isfinite(value) else "none" for value in (numbers["lower"], numbers["upper"])
    )
    return (
        f"{blocks}{numbers['rows']:,} rows; one-sided bounds at level {numbers['level']:.2g}: "
        f"{lower} and {upper}"
    )


def _bound(numbers: Mapping[str, Any], left: float, right: float) -> tuple[float, float]:
    """Bounds to draw: with too few rows there is none, which is drawn as far as the picture goes."""
    lower, upper = float(numbers["lower"]), float(numbers["upper"])
    return lower if isfinite(lower) else left, upper if isfinite(upper) else right


def _list_rivals(material: Material, numbers: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield f"holder,\nversion {material.versions[HOLDER]}", numbers
    if "best" in numbers:
        yield f"best so far,\nversion {material.versions[BEST]}", numbers["best"]


def _draw_intervals(
    path: Path, title: str, rivals: Mapping[str, Mapping[str, Any]], numbers: Mapping[str, Any]
) -> None:
    """One line for everybody whom the candidate was compared with."""
    figure, axes = _begin(title, height=2.2 + 0.5 * len(rivals))
    left, right = _span([*rivals.values()], -float(numbers["margin"]), float(numbers["effect"]))
    for place, found in enumerate(rivals.values()):
        color = _color(found["lower"] + numbers["margin"], found["upper"] + numbers["margin"])
        axes.plot(_bound(found, left, right), [place, place], color=color, linewidth=3)
        axes.plot([found["improvement"]], [place], marker="o", markersize=9, color=color)
    axes.axvline(0, color=INK, linewidth=1)
    if numbers["margin"]:
        axes.axvline(-numbers["margin"], color=WORSE, linewidth=1, linestyle="--", label="margin")
    elif numbers["effect"]:
        axes.axvline(numbers["effect"], color=INK, linewidth=1, linestyle=":", label="worth a promotion")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_yticks(range(len(rivals)), list(rivals), fontsize=8)
    axes.set_ylim(len(rivals) - 0.5, -0.5)
    axes.set_xlabel(f"improvement (right of 0: candidate is better)\n{_word_bounds(numbers)}")
    _save(figure, path)


def _span(found: Sequence[Mapping[str, Any]], *others: float) -> tuple[float, float]:
    """From the smallest to the largest number that is one, and 0."""
    values = [float(one[name]) for one in found for name in ("improvement", "lower", "upper")]
    finite = [value for value in (*values, *others, 0.0) if isfinite(value)]
    return min(finite), max(finite)


def _color(lower: float, upper: float) -> str:
    return GOOD if lower > 0 else WORSE if upper < 0 else INK


def _average_blocks(material: Material, policy: "Policy", metric: str) -> tuple[list[str], list[float]]:
    """Blocks in their own order (9 before 10), at most as many as can be told apart."""
    import pandas as pd  # noqa: PLC0415 - heavy

    losses = {who: losses_of(material, who, metric, policy.metric) for who in (HOLDER, CANDIDATE)}
    difference = pd.Series(losses[HOLDER] - losses[CANDIDATE])
    means = difference.groupby(material.rows[material.group].to_numpy()).mean()
    if len(means) > MAX_BARS:
        means = means.iloc[:: -(-len(means) // MAX_BARS)]
    return [str(name) for name in means.index], means.tolist()


def _draw_slices(path: Path, material: Material, numbers: Mapping[str, Any]) -> None:
    """A forest plot: the improvement in every slice with its interval, worst at the top."""
    slices = sorted(numbers["slices"], key=lambda one: float(one["improvement"]))[:MAX_SLICES]
    title = f"Version {material.versions[CANDIDATE]} against version {material.versions[HOLDER]}, by slice"
    figure, axes = _begin(title, height=max(3.0, 1.5 + ROW_IN * len(slices)))
    left, right = _span(slices)
    for place, one in enumerate(slices):
        good = GOOD if float(one["improvement"]) > 0 else INK
        color = {"worse": WORSE, "fine": good}.get(str(one["verdict"]), UNSURE)
        axes.plot(_bound(one, left, right), [place, place], color=color, linewidth=2)
        axes.plot([one["improvement"]], [place], marker="o", color=color)
    axes.axvline(0, color=INK, linewidth=1)
    if numbers["margin"]:
        axes.axvline(-numbers["margin"], color=WORSE, linewidth=1, linestyle="--", label="margin")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    axes.set_yticks(range(len(slices)), [f"{one['name']} ({one['rows']:,})" for one in slices], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(
        "improvement (right of 0: candidate is better), with bounds for each slice by itself\n"
        "red: shown to be worse than the margin, corrected for the number of slices; grey: too few rows"
    )
    _save(figure, path)


def _draw_calibration(path: Path, material: Material) -> None:
    """Predicted probability against what happened, for everybody, in ten equal groups."""
    two = len(material.classes) == 2  # noqa: PLR2004 - of two classes one probability says all
    what = f"{material.target} = {material.classes[-1]}" if two else "the likeliest class"
    figure, axes = _begin(f"Calibration of the probability of {what}")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="comes true")
    for who, points in _list_points(material):
        label = f"{who}, version {material.versions[who]}"
        axes.plot(*zip(*points, strict=True), marker="o", color=COLORS[who], label=label)
    axes.set_xlabel("predicted probability (ten groups of equally many rows)")
    axes.set_ylabel("share that happened")
    axes.legend(frameon=False)
    _save(figure, path)


def _list_points(material: Material) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    import numpy as np  # noqa: PLC0415 - heavy

    names = [str(value) for value in material.classes]
    truth = place_classes(material.rows[material.target], names)
    for who, answers in material.answers.items():
        table = answers[[PROBABILITY + name for name in names]].to_numpy()
        happened, sure = (
            (truth == 1, table[:, 1]) if len(names) == 2 else pick_top_label(truth, table)  # noqa: PLR2004 - see above
        )
        parts = np.array_split(np.argsort(sure, kind="stable"), min(BINS, len(sure)))
        yield who, [(float(sure[part].mean()), float(happened[part].mean())) for part in parts]


def _draw_latency(path: Path, material: Material) -> None:
    """How long calls took, everybody in turns."""
    figure, axes = _begin("Time of predicting, milliseconds (log scale)")
    rows = next(iter(material.timings.values())).batch_rows
    labels, values, colors = [], [], []
    for word, kind in (("one row", "one_ms"), (f"{rows:,} rows", "batch_ms")):
        for who, timing in material.timings.items():
            labels.append(f"{word}\n{who}, version {material.versions[who]}")
            values.append(getattr(timing, kind))
            colors.append(COLORS[who])
    medians = {"color": "white", "linewidth": 2}
    boxes = axes.boxplot(values, tick_labels=labels, patch_artist=True, medianprops=medians)
    for box, color in zip(boxes["boxes"], colors, strict=True):
        box.set_facecolor(color)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.set_ylabel("ms")
    _save(figure, path)


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
