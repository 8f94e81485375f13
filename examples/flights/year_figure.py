"""One figure of the year: how good each way was, how many flights were late, and what drifted when."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

COLOURS: Final = {"once": "#b3423a", "monthly": "#d98e04", "online": "#2563a8", "frozen": "#8aa8c7"}
STYLES: Final = {"frozen": "--"}
SUMMER: Final = (pd.Timestamp("2013-06-01"), pd.Timestamp("2013-08-15"))
WINTER: Final = (pd.Timestamp("2013-12-01"), pd.Timestamp("2014-01-01"))
CATEGORIES: Final = {"carrier": "#555555", "dest": "#999999"}


def draw_year(
    table: pd.DataFrame, late: "pd.Series[float]", drift: pd.DataFrame, ways: Mapping[str, str]
) -> Figure:
    """Four panels over the same months.

    Args:
        table: As :func:`year_quality.describe_months` makes it.
        late: Share of late flights by week.
        drift: As :func:`year_quality.measure_drift` makes it.
        ways: Way → what it is, for the legend.
    """
    figure = Figure(figsize=(10, 12), layout="constrained")
    losses, areas, share, shift = figure.subplots(4, 1, sharex=True, height_ratios=[3, 3, 2, 2.4])
    _draw_quality(losses, table, ways, "loss")
    losses.set_ylabel("log loss\n(lower is better)")
    figure.legend(fontsize=8.5, loc="outside upper center", ncols=2)
    _draw_quality(areas, table, ways, "auc")
    areas.set_ylabel("ROC AUC\n(higher is better)")
    _draw_late(share, late)
    _draw_shift(shift, drift)
    for axes in (losses, areas, share, shift):
        axes.axvspan(*SUMMER, color="#f3d9a4", alpha=0.35, lw=0)
        axes.axvspan(*WINTER, color="#bcd3ea", alpha=0.45, lw=0)
        axes.grid(alpha=0.3)
        axes.set_xlim(pd.Timestamp("2013-01-01"), pd.Timestamp("2014-01-01"))
    losses.set_title("Flights from New York, 2013, in the order of time, truth at landing", fontsize=12)
    shift.set_xlabel("shaded: the two times when most flights are late, early summer and December")
    return figure


def _draw_quality(axes: Any, table: pd.DataFrame, ways: Mapping[str, str], what: str) -> None:
    """Monthly means with 95 % intervals over days, a little beside each other."""
    for place, (way, words) in enumerate(ways.items()):
        rows = table[(table["way"] == way) & (table["month"] != "all")]
        middle = pd.to_datetime("15 " + rows["month"] + " 2013", format="%d %B %Y")
        axes.errorbar(
            middle + pd.Timedelta(days=3 * (place - (len(ways) - 1) / 2)),
            rows[what],
            rows[f"{what}_reach"],
            color=COLOURS[way],
            ls=STYLES.get(way, "-"),
            marker="o",
            ms=3.5,
            lw=1.4,
            elinewidth=0.9,
            capsize=2,
            label=f"{way}: {words}",
        )


def _draw_late(axes: Any, late: "pd.Series[float]") -> None:
    usual = float(np.average(late[late.index < pd.Timestamp("2013-04-01")]))
    axes.step(late.index, late, where="post", color="#333333", lw=1.3)
    axes.axhline(usual, color="#b3423a", lw=0.9, ls=":")
    axes.annotate(
        "January to March",
        (pd.Timestamp("2013-08-20"), usual),
        (0, 4),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set_ylabel("late flights\nper week")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _draw_shift(axes: Any, drift: pd.DataFrame) -> None:
    middle = drift["month"] + pd.Timedelta(days=14)
    for name in drift.columns.drop(["month", *CATEGORIES]):
        axes.plot(middle, drift[name], marker="o", ms=3, lw=1.2, label=f"{name} (sd)")
    for name, colour in CATEGORIES.items():
        label = {"carrier": "carriers", "dest": "destinations"}[name]
        axes.step(middle, drift[name], where="post", lw=1.2, ls="--", color=colour, label=f"{label} (share)")
    axes.set_ylabel("distance from\nJanuary to March")
    axes.set_ylim(0, 1.45 * float(drift.drop(columns="month").to_numpy().max()))
    axes.legend(fontsize=8, ncols=3, loc="upper left")
