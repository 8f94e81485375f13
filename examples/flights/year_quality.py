"""How good each way was in each month, and how the world drifted. Flights of one day share their weather."""

from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from registry import find_influence, gather

CONFIDENCE: Final = 0.95
CLIP: Final = 1e-15
WEATHER: Final = {
    "humid": "humidity",
    "pressure": "air pressure",
    "wind_speed": "wind",
    "visib": "visibility",
}
REFERENCE_UNTIL: Final = pd.Timestamp("2013-04-01")


def describe_months(told: pd.DataFrame, ways: list[str]) -> pd.DataFrame:
    """Log loss and ROC AUC by month (and ``all``) and way, with half their 95 % intervals over days.

    Args:
        told: ``time``, ``late``, and one column per way: its probability that the flight is late.
        ways: The names of these columns.
    """
    rows = []
    months = [(name, part) for name, part in told.groupby(told["time"].dt.strftime("%B"), sort=False)]
    for month, part in [*months, ("all", told)]:
        for way in ways:
            loss, loss_reach = _read(_lose(part, way), part)
            auc, auc_reach = _read(find_influence(part["late"].to_numpy() == 1, part[way].to_numpy()), part)
            rows.append((month, way, len(part), part["late"].mean(), loss, loss_reach, auc, auc_reach))
    names = ["month", "way", "flights", "late", "loss", "loss_reach", "auc", "auc_reach"]
    return pd.DataFrame(rows, columns=names)


def compare(told: pd.DataFrame, better: str, worse: str) -> tuple[float, float]:
    """By how much the log loss of one way is lower than of another, and half the width of its interval."""
    return _read(_lose(told, worse) - _lose(told, better), told)


def count_late(year: pd.DataFrame) -> "pd.Series[float]":
    """Share of late flights by week; the last days of December are no week."""
    weeks = year.groupby(year["scheduled"].dt.to_period("W").dt.start_time)["late"].agg(["mean", "size"])
    share: pd.Series[float] = weeks["mean"][weeks["size"] > 1000]  # noqa: PLR2004
    return share


def measure_drift(year: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """One row per month: how far each feature is from January to March.

    Numbers: Wasserstein distance in standard deviations of January to March. Categories: total variation
    distance, 0 to 1.

    Source: Villani, Optimal Transport (2009), ch. 6; Gibbs and Su, Int. Statistical Review 70 (2002).
    """
    keys = year.assign(hour=year["scheduled"].dt.floor("h"))
    joined = keys.merge(weather, how="left", on=["origin", "hour"])
    before = joined[joined["scheduled"] < REFERENCE_UNTIL]
    rows = []
    for month, part in joined.groupby(joined["scheduled"].dt.to_period("M").dt.start_time):
        line: dict[str, Any] = {"month": month}
        for column, name in WEATHER.items():
            old, new = before[column].dropna().to_numpy(), part[column].dropna().to_numpy()
            line[name] = stats.wasserstein_distance(old, new) / old.std()
        for column in ("carrier", "dest"):
            shares = [frame[column].value_counts(normalize=True) for frame in (before, part)]
            line[column] = float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)
        rows.append(line)
    return pd.DataFrame(rows)


def _lose(part: pd.DataFrame, way: str) -> Any:
    said = np.clip(part[way].to_numpy(), CLIP, 1 - CLIP)
    return -np.log(np.where(part["late"].to_numpy() == 1, said, 1 - said))


def _read(contributions: Any, part: pd.DataFrame) -> tuple[float, float]:
    days = pd.factorize(part["time"].dt.floor("D"))[0]
    units = gather(np.asarray(contributions, dtype=np.float64), days)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, units.freedom)) * units.standard_error
    return units.mean, reach
