"""How much data it takes, said before it is spent."""

import math
from typing import TYPE_CHECKING, Any, Final

from registry.errors import UsageError
from registry.prediction import PREDICTION, PROBABILITY

from .losses import CLIP, TWO, plain
from .tail import Tail, find_critical

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["detectable", "expect_spread", "find_mean_power", "units_needed"]

FEW: Final = 1_000
"""Units above which the noncentral t is normal, and the skewness of a sample no matter, to three digits."""

MAX_UNITS: Final = 10**12
"""More rows than anybody has: beyond it an effect counts as out of reach."""


def units_needed(effect: float, spread: float, level: float, power: float = 0.9) -> int:
    """Rows (or blocks) with which a mean difference is seen with the chance asked for.

    Counts with the cautious test of :func:`registry.gates.bootstrap.estimate`, so it asks for more than the
    textbook's ((z + z) · spread / effect)² where units are few.

    Args:
        effect: True improvement plus the margin, in the metric's unit; positive.
        spread: Standard deviation of one unit's contribution, in the same unit.
        level: Of the test, one-sided.
        power: Chance to see it.

    Raises:
        ValueError: An effect that is not positive or out of reach.

    Source: Owen, Biometrika 52 (1965), power of Student's t.

    >>> units_needed(0.5, 1.0, 0.05, 0.9), units_needed(0.01, 0.28, 0.0304, 0.9)
    (41, 7816)
    """
    if effect <= 0 or spread < 0:
        raise ValueError(f"no number of units shows an effect of {effect} with a spread of {spread}")
    low, high = 1, max(2, math.ceil(-math.log2(level)))
    while find_mean_power(effect, spread, high, level) < power:
        low, high = high, high * 2
        if high > MAX_UNITS:
            raise ValueError(f"an effect of {effect} is out of reach with a spread of {spread}")
    while high - low > 1:
        middle = (low + high) // 2
        reached = find_mean_power(effect, spread, middle, level) >= power
        low, high = (low, middle) if reached else (middle, high)
    return high


def find_mean_power(effect: float, spread: float, units: int, level: float) -> float:
    """Chance that the cautious t test of so many units sees the effect.

    >>> 0.90 < find_mean_power(0.01, 0.28, 8_000, 0.0304) < 0.91
    True
    """
    from scipy.special import nctdtr, ndtr  # noqa: PLC0415 - heavy

    if units <= 1 or level < math.ldexp(1.0, -min(units, 1000)):
        return 0.0
    if spread == 0:
        return 1.0
    if units > FEW:
        critical = find_critical(level, Tail(units, units - 1.0, 0.0, 1.0, units))
        return float(ndtr(effect / spread * math.sqrt(units) - critical))
    skewness = -math.sqrt(6 / units)  # one standard error: of few units it is as often more as less
    critical = find_critical(level, Tail(units, units - 1.0, skewness, 1.0, units))
    shift = min(effect / spread * math.sqrt(units), 37.0)  # beyond, the power is 1 to all digits
    return 1 - float(nctdtr(units - 1.0, shift, critical))


def detectable(units: int, spread: float, level: float, power: float = 0.9) -> float:
    """The smallest effect that so many units show with the chance asked for; infinite if none.

    >>> round(detectable(10_000, 0.28, 0.0304), 4)
    0.0088
    """
    if find_mean_power(1e3 * spread, spread, units, level) < power:
        return math.inf
    low, high = 0.0, 1e3 * spread
    for _ in range(100):
        middle = (low + high) / 2
        reached = find_mean_power(middle, spread, units, level) >= power
        low, high = (low, middle) if reached else (middle, high)
    return high


def expect_spread(
    task: str,
    metric: str,
    holder: "pd.DataFrame",
    candidate: "pd.DataFrame",
    blocks: "NDArray[Any] | None" = None,
) -> float | None:
    """What the spread will be, from both models' answers alone: no truth is looked at, no attempt spent.

    The truth is thought to be drawn from the average of both models' probabilities; for ``error`` the share
    of rows with different labels bounds the discordance (it *is* the discordance if there are two classes).
    With blocks it is a **floor**: rows of one block may depend on each other, and by how much only the truth
    shows. If not even the floor gives enough units there are too few; the other way round it proves nothing.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        metric: ``error``, ``log_loss`` or ``brier``; others depend on the truth too much.
        holder: Its n answers, as :func:`registry.prediction.normalise` leaves them.
        candidate: The candidate's.
        blocks: Block of each row.

    Returns:
        Standard deviation of one row's (or block's) contribution; None where it cannot be known.

    Raises:
        UsageError: The metric needs probabilities, and an answer has none.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    if task == "regression" or metric not in {"error", "log_loss", "brier"}:
        return None
    if metric == "error":
        square = _differ(holder, candidate)
    else:
        columns = [name for name in holder.columns if name.startswith(PROBABILITY)]
        if not columns or any(name not in candidate.columns for name in columns):
            raise UsageError(f"The metric {metric} needs probabilities from both models.", hint="Use error.")
        tables = [frame[columns].to_numpy(dtype="float64") for frame in (holder, candidate)]
        square = _expect_square(tables[0], tables[1], metric)
    units = len(square) if blocks is None else len(np.unique(blocks))
    return float(np.sqrt(square.mean() * units / len(square)))


def _differ(holder: "pd.DataFrame", candidate: "pd.DataFrame") -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    labels = [_label(holder), _label(candidate)]
    return np.asarray(labels[0] != labels[1], dtype=np.float64)


def _label(answers: "pd.DataFrame") -> "NDArray[Any]":
    """Labels as text, 1, 1.0 and True alike; probabilities become the likeliest class."""
    import numpy as np  # noqa: PLC0415 - heavy

    if PREDICTION in answers:
        texts = answers[PREDICTION].astype(str).to_numpy()
    else:
        columns = [name for name in answers.columns if name.startswith(PROBABILITY)]
        names = np.array([name.removeprefix(PROBABILITY) for name in columns], dtype=object)
        texts = names[answers[columns].to_numpy(dtype="float64").argmax(axis=1)]
    kinds, places = np.unique(texts.astype(str), return_inverse=True)
    return np.array([plain(kind) for kind in kinds.tolist()])[places]


def _expect_square(
    holder: "NDArray[np.float64]", candidate: "NDArray[np.float64]", metric: str
) -> "NDArray[np.float64]":
    """Expected squared difference of the loss of each row."""
    import numpy as np  # noqa: PLC0415 - heavy

    average = (holder + candidate) / 2
    if metric == "log_loss":
        differences = np.log(np.clip(candidate, CLIP, 1)) - np.log(np.clip(holder, CLIP, 1))
    else:  # (1 - p_c)² + Σ p² of the others = 1 - 2 p_c + Σ p²
        squares = (holder**2).sum(axis=1) - (candidate**2).sum(axis=1)
        differences = squares[:, None] - 2 * (holder - candidate)
        differences = differences / (2 if holder.shape[1] == TWO else 1)
    return np.asarray((average * differences**2).sum(axis=1))
