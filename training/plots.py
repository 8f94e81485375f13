"""The pictures people look at before they trust a model; drawn with matplotlib's objects, no global state.

Drawing is bounded: curves are thinned and scatter plots show a sample, so that a million rows cost no more.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .result import Outcome

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_calibrated", "draw_costs", "draw_importance", "draw_outcome", "draw_typicality"]

MAX_POINTS: Final = 3_000
MAX_CURVE_POINTS: Final = 500
MAX_CLASSES: Final = 12
MAX_FEATURES: Final = 20
FEW_CLASSES: Final = 4
BINS: Final = 10

HALVES: Final = (0, 0.5, 1)
"""Few ticks: each costs more to draw than the curve."""

INK: Final = "#2b2f36"
FAINT: Final = "#9aa3af"
BLUE: Final = "#1f6feb"
SERIES: Final = (BLUE, "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#854d0e", "#be185d")

Draw = Callable[["Axes"], None]


def draw_outcome(outcome: Outcome, target: str) -> Iterator[tuple[str, "Figure"]]:
    """Yields (file name without ending, figure) for every plot that these answers allow."""
    if outcome.task == "regression":
        yield "predicted_vs_actual", _draw(lambda axes: _draw_predicted(axes, outcome))
        yield "residuals", _draw(lambda axes: _draw_residuals(axes, outcome))
        return
    yield "confusion_matrix", _draw(lambda axes: _draw_confusion(axes, outcome))
    if outcome.probabilities is not None:
        chances = _list_chances(outcome, target)
        yield "roc_curve", _draw(lambda axes: _draw_roc(axes, chances))
        yield "precision_recall_curve", _draw(lambda axes: _draw_precision_recall(axes, chances))
        yield "calibration", _draw(lambda axes: _draw_calibration(axes, chances))


def draw_importance(importance: "pd.DataFrame", outcome: Outcome) -> Iterator[tuple[str, "Figure"]]:
    """Yields the one figure of the importances."""
    yield "permutation_importance", _draw(lambda axes: _draw_importance(axes, importance, outcome))


def draw_calibrated(raw: Outcome, outcome: Outcome) -> Iterator[tuple[str, "Figure"]]:
    """Yields the one figure of probabilities before and after calibration, every class against the others."""
    assert raw.probabilities is not None
    assert outcome.probabilities is not None
    places = range(len(raw.classes)) if len(raw.classes) > 2 else (1,)  # noqa: PLR2004 - of two one says all
    hits = np.concatenate([raw.truth == raw.classes[place] for place in places])
    chances = [
        (name, hits, np.concatenate([table[:, place] for place in places]))
        for name, table in (("before", raw.probabilities), ("after", outcome.probabilities))
    ]
    yield "calibration_before_and_after", _draw(lambda axes: _draw_calibration(axes, chances))


def draw_costs(
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], threshold: float
) -> Iterator[tuple[str, "Figure"]]:
    """Yields the one figure of the mean cost of a row, by threshold; ``curves`` by the rows' role."""
    yield "cost", _draw(lambda axes: _draw_costs(axes, curves, threshold))


def draw_typicality(typicality: NDArray[np.float64], limit: float) -> Iterator[tuple[str, "Figure"]]:
    """Yields the one figure of how typical the guard finds the held-out rows; up to ``limit``, refused."""
    yield "typicality", _draw(lambda axes: _draw_typicality(axes, typicality, limit))


Chance = tuple[str, NDArray[np.bool_], NDArray[np.float64]]


def _list_chances(outcome: Outcome, target: str) -> list[Chance]:
    """(name, is it, how sure) per curve: one for two classes, else one per class against the others."""
    assert outcome.probabilities is not None
    labels = outcome.classes[-1:] if outcome.task == "binary" else outcome.classes[: len(SERIES)]
    return [
        (
            f"{target} = {label}",
            outcome.truth == label,
            outcome.probabilities[:, outcome.classes.index(label)],
        )
        for label in labels
    ]


def _draw(draw: Draw) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    figure = Figure(figsize=(5.6, 4.4), dpi=100, facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    draw(axes)
    axes.title.set(color=INK, fontsize=12, fontweight="bold")
    figure.subplots_adjust(left=0.13, right=0.96, top=0.9, bottom=0.13)
    if axes.get_label():  # long names at the left
        figure.subplots_adjust(left=0.36)
    return figure


def _label(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", pad=10)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)


def _draw_roc(axes: "Axes", chances: list[Chance]) -> None:
    from sklearn.metrics import auc, roc_curve  # noqa: PLC0415 - slow import

    axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1, label="chance")
    for (name, hits, chance), color in zip(chances, SERIES, strict=False):
        if not 0 < hits.sum() < len(hits):
            continue
        false, true, _ = roc_curve(hits, chance)
        keep = _thin(len(false))
        axes.plot(
            false[keep], true[keep], color=color, linewidth=2, label=f"{name} (AUC {auc(false, true):.3f})"
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xticks=HALVES, yticks=HALVES)
    _label(axes, "ROC curve", "false positive rate", "true positive rate")
    axes.legend(frameon=False, loc="lower right", fontsize=9)


def _draw_precision_recall(axes: "Axes", chances: list[Chance]) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve  # noqa: PLC0415 - slow import

    for (name, hits, chance), color in zip(chances, SERIES, strict=False):
        if not 0 < hits.sum() < len(hits):
            continue
        precision, recall, _ = precision_recall_curve(hits, chance)
        keep = _thin(len(recall))
        text = f"{name} (AP {average_precision_score(hits, chance):.3f})"
        axes.plot(recall[keep], precision[keep], color=color, linewidth=2, label=text)
        axes.axhline(float(hits.mean()), color=color, linewidth=1, linestyle=":", alpha=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xticks=HALVES, yticks=HALVES)
    _label(axes, "Precision and recall (dotted: share of the class)", "recall", "precision")
    axes.legend(frameon=False, loc="upper right", fontsize=9)


def _draw_calibration(axes: "Axes", chances: list[Chance]) -> None:
    axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1, label="as often as said")
    for (name, hits, chance), color in zip(chances, SERIES, strict=False):
        edges = np.unique(np.quantile(chance, np.linspace(0, 1, BINS + 1)))
        places = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, max(len(edges) - 2, 0))
        counts = np.bincount(places, minlength=max(len(edges) - 1, 1))
        full = counts > 0
        said = np.bincount(places, weights=chance, minlength=len(counts))[full] / counts[full]
        was = np.bincount(places, weights=hits, minlength=len(counts))[full] / counts[full]
        axes.plot(said, was, "o-", color=color, linewidth=2, markersize=5, label=name)
    everything = np.concatenate([chance for _, _, chance in chances])
    counts, edges = np.histogram(everything, bins=2 * BINS, range=(0, 1))
    axes.stairs(counts / max(int(counts.max()), 1) / 3, edges, fill=True, color=FAINT, alpha=0.25)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xticks=HALVES, yticks=HALVES)
    _label(axes, "Calibration (grey: how often it says so)", "predicted probability", "observed share")
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def _draw_costs(
    axes: "Axes", curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], threshold: float
) -> None:
    for (name, (thresholds, costs)), color in zip(curves.items(), SERIES, strict=False):
        keep = _thin(len(thresholds))
        axes.plot(thresholds[keep], costs[keep], color=color, linewidth=2, label=name)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set(xlim=(0, 1), xticks=HALVES)
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    _label(
        axes, "What mistakes cost", "probability from which the answer is the second class", "cost per row"
    )
    axes.legend(frameon=False, fontsize=9)


def _draw_typicality(axes: "Axes", typicality: NDArray[np.float64], limit: float) -> None:
    counts, edges = np.histogram(typicality, bins=2 * BINS, range=(0, 1))
    axes.stairs(counts / len(typicality), edges, fill=True, color=BLUE, alpha=0.6)
    axes.axhline(
        1 / (2 * BINS), color=FAINT, linestyle="--", linewidth=1, label="rows like those learned from"
    )
    refused = float(np.mean(typicality <= limit))
    axes.axvline(limit, color=SERIES[4], linewidth=1, label=f"{refused:.1%} of the held-out rows refused")
    axes.set(xlim=(0, 1), xticks=HALVES)
    axes.locator_params(axis="y", nbins=4)
    _label(
        axes, f"How typical held-out rows are ({len(typicality):,})", "typicality (p-value)", "share of rows"
    )
    axes.legend(frameon=False, fontsize=9)


def _draw_confusion(axes: "Axes", outcome: Outcome) -> None:
    """Rows: the truth. Shade: share of the row. Many classes: the most frequent ones."""
    labels = list(outcome.classes)
    if len(labels) > MAX_CLASSES:
        frequent = sorted(labels, key=lambda label: -int(np.sum(outcome.truth == label)))[:MAX_CLASSES]
        labels = [label for label in labels if label in frequent]
    counts = np.array(
        [
            [int(np.sum((outcome.truth == row) & (outcome.answers == column))) for column in labels]
            for row in labels
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    few = len(labels) <= FEW_CLASSES
    for row, column in np.ndindex(*counts.shape):
        text = f"{counts[row, column]:,}" + (f"\n{shares[row, column]:.0%}" if few else "")
        ink = "white" if shares[row, column] > 0.55 else INK  # noqa: PLR2004 - where dark blue begins
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=11 if few else 8)
    names = [str(label)[:14] for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=45 if len(labels) > 6 else 0)  # noqa: PLR2004
    axes.set_yticks(range(len(labels)), names)
    _label(axes, "Confusion matrix", "answer", "truth")


def _draw_predicted(axes: "Axes", outcome: Outcome) -> None:
    truth, answers = _sample(outcome)
    low, high = float(min(truth.min(), answers.min())), float(max(truth.max(), answers.max()))
    axes.plot([low, high], [low, high], "--", color=FAINT, linewidth=1)
    axes.scatter(truth, answers, s=12, color=BLUE, alpha=0.35, linewidths=0)
    _label(axes, f"Predicted and actual ({len(truth):,} rows)", "actual", "predicted")


def _draw_residuals(axes: "Axes", outcome: Outcome) -> None:
    truth, answers = _sample(outcome)
    axes.axhline(0, color=FAINT, linestyle="--", linewidth=1)
    axes.scatter(answers, truth - answers, s=12, color=BLUE, alpha=0.35, linewidths=0)
    _label(axes, f"Residuals ({len(truth):,} rows)", "predicted", "actual - predicted")


def _draw_importance(axes: "Axes", importance: "pd.DataFrame", outcome: Outcome) -> None:
    top = importance.head(MAX_FEATURES).iloc[::-1]
    names = [str(name)[-28:] for name in top["feature"]]
    axes.barh(names, top["importance"], xerr=top["std"], color=BLUE, ecolor=FAINT, height=0.65)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.locator_params(axis="x", nbins=3)
    axes.set_label("long names")
    loss = "squared error" if outcome.task == "regression" else "log loss"
    if outcome.task != "regression" and outcome.probabilities is None:
        loss = "error rate"
    _label(axes, "Permutation importance", f"increase of the {loss} when shuffled", "")


def _sample(outcome: Outcome) -> tuple[NDArray[Any], NDArray[Any]]:
    chosen = np.random.default_rng(0).permutation(len(outcome.truth))[:MAX_POINTS]
    return outcome.truth[chosen], outcome.answers[chosen]


def _thin(points: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, points - 1, min(points, MAX_CURVE_POINTS)).astype(np.int64))
