"""Pictures of a look at the rows, drawn without any global plotting state."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.prediction import PROBABILITY

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
    if material.task == "binary" and _have_probabilities(material):
        _draw_calibration(folder / "calibration.png", material)
    if material.timings:
        _draw_latency(folder / "latency.png", material)


def _have_probabilities(material: Material) -> bool:
    column = PROBABILITY + str(material.classes[-1])
    return all(column in answers for answers in material.answers.values())


def _draw_difference(path: Path, material: Material, policy: "Policy", numbers: Mapping[str, Any]) -> None:
    """The improvement block by block (or over all rows), with its confidence bounds."""
    metric = str(numbers["metric"])
    versions = material.versions
    title = f"Version {versions[CANDIDATE]} against version {versions[HOLDER]}: {WORDS[metric]}"
    figure, axes = _begin(title)
    names, means = _average_blocks(material, policy, metric, float(numbers["improvement"]))
    axes.axhspan(numbers["lower"], numbers["upper"], color=GOOD, alpha=0.12, linewidth=0)
    axes.axhline(numbers["improvement"], color=GOOD, linewidth=1.5)
    axes.bar(range(len(means)), means, color=[GOOD if mean > 0 else WORSE for mean in means], width=0.8)
    axes.axhline(0, color=INK, linewidth=1)
    if numbers["margin"]:
        axes.axhline(-numbers["margin"], color=WORSE, linewidth=1, linestyle="--", label="margin")
        axes.legend(frameon=False)
    step = max(1, len(names) // 8)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("improvement (above 0: candidate is better)")
    axes.set_xlabel(
        f"{numbers['blocks']:,} {numbers['unit']}, {numbers['rows']:,} rows; band: one-sided bounds at level "
        f"{numbers['level']:.2g}: {numbers['lower']:+.4f} and {numbers['upper']:+.4f}"
    )
    _save(figure, path)


def _average_blocks(
    material: Material, policy: "Policy", metric: str, whole: float
) -> tuple[list[str], list[float]]:
    import pandas as pd  # noqa: PLC0415 - heavy

    if material.group is None or metric == ROC_AUC:
        return ["all rows"], [whole]
    losses = {who: losses_of(material, who, metric, policy.metric) for who in (HOLDER, CANDIDATE)}
    difference = pd.Series(losses[HOLDER] - losses[CANDIDATE])
    means = difference.groupby(material.blocks).mean()
    if len(means) > MAX_BARS:
        means = means.iloc[:: -(-len(means) // MAX_BARS)]
    return [str(name) for name in means.index], means.tolist()


def _draw_slices(path: Path, material: Material, numbers: Mapping[str, Any]) -> None:
    """A forest plot: the improvement in every slice with its interval, worst at the top."""
    slices = sorted(numbers["slices"], key=lambda one: float(one["improvement"]))[:MAX_SLICES]
    title = f"Version {material.versions[CANDIDATE]} against version {material.versions[HOLDER]}, by slice"
    figure, axes = _begin(title, height=max(3.0, 1.5 + ROW_IN * len(slices)))
    for place, one in enumerate(slices):
        color = {"worse": WORSE, "fine": GOOD}.get(str(one["verdict"]), UNSURE)
        axes.plot([one["lower"], one["upper"]], [place, place], color=color, linewidth=2)
        axes.plot([one["improvement"]], [place], marker="o", color=color)
    axes.axvline(0, color=INK, linewidth=1)
    if numbers["margin"]:
        axes.axvline(-numbers["margin"], color=WORSE, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(slices)), [f"{one['name']} ({one['rows']:,})" for one in slices], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(
        "improvement (right of 0: candidate is better); red: worse than its margin, grey: too few rows"
    )
    _save(figure, path)


def _draw_calibration(path: Path, material: Material) -> None:
    """Predicted probability against what happened, for everybody, in ten equal groups."""
    positive = str(material.classes[-1])
    figure, axes = _begin(f"Calibration of the probability of {positive!r}")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    for who, points in _list_points(material, positive):
        label = f"{who}, version {material.versions[who]}"
        axes.plot(*zip(*points, strict=True), marker="o", color=COLORS[who], label=label)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share that happened")
    axes.legend(frameon=False)
    _save(figure, path)


def _list_points(material: Material, positive: str) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    import numpy as np  # noqa: PLC0415 - heavy

    from .losses import place_classes  # noqa: PLC0415 - beside its user

    names = [str(value) for value in material.classes]
    happened = (place_classes(material.rows[material.target], names) == 1).astype(float)
    for who, answers in material.answers.items():
        predicted = answers[PROBABILITY + positive].to_numpy()
        parts = np.array_split(np.argsort(predicted), min(BINS, len(predicted)))
        yield who, [(float(predicted[part].mean()), float(happened[part].mean())) for part in parts]


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
    boxes = axes.boxplot(values, tick_labels=labels, patch_artist=True, medianprops={"color": INK})
    for box, color in zip(boxes["boxes"], colors, strict=True):
        box.set_facecolor(color)
    axes.set_yscale("log")
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
