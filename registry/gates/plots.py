"""Pictures of a comparison, drawn without any global plotting state."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.prediction import PROBABILITY

from .verdict import WORDS

if TYPE_CHECKING:
    from .measured import Measured

__all__ = ["draw_calibration", "draw_difference"]

INK: Final = "#22313f"
HOLDER: Final = "#8795a1"
CANDIDATE: Final = "#1f7a5c"
WORSE: Final = "#b5483a"
BINS: Final = 10
MAX_BARS: Final = 120


def draw_difference(path: Path, measured: "Measured", *, holder: str, candidate: str) -> None:
    """The improvement block by block (or over all rows), with its confidence bounds."""
    figure, axes = _begin(f"Version {candidate} against version {holder}: {WORDS[measured.losses.metric]}")
    names, means = _average_blocks(measured)
    found = measured.comparison
    axes.axhspan(found.lower, found.upper, color=CANDIDATE, alpha=0.12, linewidth=0)
    axes.axhline(found.improvement, color=CANDIDATE, linewidth=1.5)
    colors = [CANDIDATE if mean > 0 else WORSE for mean in means]
    axes.bar(range(len(means)), means, color=colors, width=0.8)
    axes.axhline(0, color=INK, linewidth=1)
    step = max(1, len(names) // 8)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("holder's loss minus candidate's loss\n(above 0: candidate is better)")
    axes.set_xlabel(
        f"{found.blocks:,} blocks, {found.rows:,} rows; band: one-sided {found.confidence:.0%} bounds "
        f"{found.lower:+.4f} and {found.upper:+.4f}"
    )
    _save(figure, path)


def draw_calibration(path: Path, measured: "Measured", *, holder: str, candidate: str) -> None:
    """Predicted probability against what happened, for both, in ten equal groups."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    question = measured.question
    positive = str(question.classes[-1])
    truth = pd.read_parquet(question.rows, columns=[question.target])[question.target]
    happened = (truth.astype(str) == positive).to_numpy(dtype=float)
    figure, axes = _begin(f"Calibration of the probability of {positive!r}")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    styles = {"holder": (HOLDER, holder), "candidate": (CANDIDATE, candidate)}
    for who, (color, version) in styles.items():
        predicted = measured.answers[who][PROBABILITY + positive].to_numpy()
        parts = np.array_split(np.argsort(predicted), min(BINS, len(predicted)))
        points = [(predicted[part].mean(), happened[part].mean()) for part in parts]
        axes.plot(*zip(*points, strict=True), marker="o", color=color, label=f"{who}, version {version}")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share that happened")
    axes.legend(frameon=False)
    _save(figure, path)


def _average_blocks(measured: "Measured") -> tuple[list[str], list[float]]:
    import pandas as pd  # noqa: PLC0415 - heavy

    difference = pd.Series(measured.losses.holder - measured.losses.candidate)
    group = measured.question.group
    if group is None:
        return ["all rows"], [float(difference.mean())]
    blocks = pd.read_parquet(measured.question.rows, columns=[group])[group]
    means = difference.groupby(blocks.astype(str).to_numpy()).mean()
    if len(means) > MAX_BARS:
        means = means.iloc[:: -(-len(means) // MAX_BARS)]
    return [str(name) for name in means.index], means.tolist()


def _begin(title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy

    figure = Figure(figsize=(9, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy

    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call] # matplotlib leaves it untyped
