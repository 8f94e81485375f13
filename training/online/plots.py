"""The curves of a stream: how good the window was at each time, with 95 % bands."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from .state import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_curves"]

WORDS: Final = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "absolute_error": "absolute error",
    "squared_error": "squared error",
}
BLUE: Final = "#2563a8"


def draw_curves(points: Sequence[Point], window: int, *, by_time: bool) -> Iterator[tuple[str, "Figure"]]:
    """``prequential``: one panel per figure.

    Args:
        points: At least one.
        window: How many outcomes a point is over.
        by_time: Whether moments are times, or just the order.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    names = list(points[-1].figures)
    figure = Figure(figsize=(8, 2.4 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for name, axes in zip(names, panels, strict=True):
        told = [point for point in points if name in point.figures]
        where = (
            pd.to_datetime([point.moment for point in told]).to_numpy()
            if by_time
            else np.array([point.known for point in told])
        )
        figures = [point.figures[name] for point in told]
        axes.fill_between(
            where, [one.low for one in figures], [one.high for one in figures], color=BLUE, alpha=0.2, lw=0
        )
        axes.plot(where, [one.value for one in figures], color=BLUE, lw=1.4)
        axes.set_ylabel(WORDS[name])
        axes.grid(alpha=0.3)
    panels[0].set_title(
        f"Scored first, then learned: the last {window:,} truths, 95 % intervals", fontsize=10
    )
    panels[-1].set_xlabel("time" if by_time else "truths known")
    yield "prequential", figure
