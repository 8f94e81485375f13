"""A gate of a team's own: what wrong answers cost, in money.

A false alarm sends somebody out for nothing; a miss loses a customer. Two models with the same error rate can
differ in cost by a factor, and no metric knows which error is the dear one. The policy says it::

    [gates.cost]
    false_alarm = 1.0
    miss = 5.0
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from registry import GateResult, Material

SETTINGS = {"false_alarm", "miss", "max_per_row"}
Z = 1.645
"""One-sided 95 %: how sure the gate is of what is cheaper."""


def judge_cost(material: Material, settings: Mapping[str, Any]) -> GateResult:
    """Yes, if a row costs at most ``max_per_row``; without that, if the candidate is shown to be cheaper.

    It is pure: nothing is read but ``material`` and ``settings``, nothing is drawn by chance, so that
    ``greenroom replay`` gets the same answer.

    Raises:
        ValueError: A setting is missing, unknown, or no amount of money: the answer is no, with this reason.
    """
    false_alarm, miss, limit = _read(settings)
    if material.task != "binary":
        return GateResult("cost", "no", f"It weighs two kinds of errors, and this task is {material.task}.")
    costs = {who: _cost(material, who, false_alarm, miss) for who in material.answers}
    own = float(costs["candidate"].mean())
    numbers = {f"{who}_per_row": float(cost.mean()) for who, cost in costs.items()}
    if limit is not None:
        reason = f"A row costs {own:.4f}; {limit:g} is allowed."
        return GateResult("cost", "yes" if own <= limit else "no", reason, numbers=numbers)
    if "holder" not in costs:
        reason = f"A row costs {own:.4f}; there is no holder to compare with."
        return GateResult("cost", "yes", reason, numbers=numbers)
    return _compare(costs["holder"] - costs["candidate"], material, numbers)


def _read(settings: Mapping[str, Any]) -> tuple[float, float, float | None]:
    """Settings come from somebody's file: a gate checks its own, and names the key."""
    unknown = sorted(set(settings) - SETTINGS)
    if unknown:
        raise ValueError(f"[gates.cost] knows no {unknown[0]!r}; it takes {', '.join(sorted(SETTINGS))}.")
    missing = sorted({"false_alarm", "miss"} - set(settings))
    if missing:
        raise ValueError(f"[gates.cost] needs {missing[0]}: what one of them costs.")
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"[gates.cost] {name}: {value!r} is no amount of money.")
    limit = settings.get("max_per_row")
    return float(settings["false_alarm"]), float(settings["miss"]), None if limit is None else float(limit)


def _cost(material: Material, who: str, false_alarm: float, miss: float) -> "pd.Series[float]":
    """Cost of each row, shape (n,): alarm where it is cheaper than silence, if probabilities come true."""
    answers, positive = material.answers[who], material.classes[-1]
    happened = (material.rows[material.target] == positive).to_numpy()
    if "prediction" in answers:
        alarm = (answers["prediction"] == positive).to_numpy()
    else:
        sure = answers[f"probability.{positive}"].to_numpy()
        alarm = sure * miss > (1 - sure) * false_alarm
    return pd.Series(np.where(alarm & ~happened, false_alarm, np.where(~alarm & happened, miss, 0.0)))


def _compare(saved: "pd.Series[float]", material: Material, numbers: dict[str, float]) -> GateResult:
    """The mean saving with its bounds; rows of a group move together, so their sums are what scatters."""
    mean = float(saved.mean())
    groups = np.arange(len(saved)) if material.blocks is None else material.blocks
    sums = (saved - mean).groupby(groups).sum()
    error = Z * float(np.sqrt((sums**2).sum())) / len(saved)
    numbers |= {"saved": mean, "lower": mean - error, "upper": mean + error}
    said = f"A row costs {numbers['candidate_per_row']:.4f}, the holder's {numbers['holder_per_row']:.4f}"
    if numbers["lower"] > 0:
        return GateResult("cost", "yes", f"{said}: at least {numbers['lower']:.4f} less.", numbers=numbers)
    if numbers["upper"] <= 0:
        return GateResult("cost", "no", f"{said}: it is not cheaper.", numbers=numbers)
    reason = f"{said}; that may be chance ({len(saved):,} rows)."
    return GateResult("cost", "not_enough_data", reason, numbers=numbers)
