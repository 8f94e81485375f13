"""Two models right or wrong on the same rows: only the rows on which one is right and the other wrong tell.

*Better* counts the rows that the candidate has right and the holder wrong, *worse* the other way round.
All tests here are exact: their level holds for every number of rows.

Source: McNemar, Psychometrika 12 (1947); Tango, Statistics in Medicine 17 (1998), the score statistic for a
difference of paired proportions; Sidik, Statistics in Medicine 22 (2003), its exact unconditional test;
Berger and Boos, JASA 89 (1994), the largest p-value over an interval of what is not known.
"""

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["bound_difference", "find_power", "rows_needed", "test_discordant", "test_margin"]

GAMMA: Final = 1e-9
"""Chance that the share of discordant rows lies outside the interval searched; added to the p-value."""

GRID: Final = 31
"""Shares of discordant rows tried: the p-value is flat in them (see the tests, which enumerate)."""

WIDE: Final = 8.0
"""Standard deviations of a binomial that are summed; what is left out is below 1e-14."""

MAX_ROWS: Final = 10**12
"""More rows than anybody has: beyond it an effect counts as out of reach."""


def test_discordant(better: int, worse: int) -> float:
    """Exact one-sided McNemar test of "the candidate is not more often right": P(Binomial(b + c, ½) ≥ b).

    >>> test_discordant(10, 2)
    0.019287109375
    >>> test_discordant(0, 0)
    1.0
    """
    _check(better, worse, better + worse)
    return float(_sum_tail(better, better + worse, 0.5))


test_discordant.__test__ = False  # type: ignore[attr-defined] # pytest: a statistic, not a test case


def test_margin(better: int, worse: int, rows: int, margin: float) -> float:
    """Exact test of "the candidate's error rate is higher by the margin or more" (non-inferiority).

    Tango's score statistic orders the outcomes; its p-value is the largest over every share of discordant
    rows that the data leave possible. A negative margin asks for superiority by more than its size.

    Args:
        better: Rows the candidate alone has right.
        worse: Rows the holder alone has right.
        rows: All rows, n.
        margin: Increase of the error rate that is still fine, in (-1, 1).

    Raises:
        ValueError: Counts that are impossible, or a margin outside (-1, 1).

    >>> round(test_margin(30, 30, 1000, 0.02), 4)
    0.0065
    """
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.special import betaincinv  # noqa: PLC0415 - heavy

    _check(better, worse, rows)
    if not -1 < margin < 1:
        raise ValueError(f"a margin of an error rate lies between -1 and 1, not {margin}")
    seen = better + worse
    low = float(betaincinv(seen, rows - seen + 1, GAMMA / 2)) if seen else 0.0
    high = float(betaincinv(seen + 1, rows - seen, 1 - GAMMA / 2)) if seen < rows else 1.0
    if high <= abs(margin):  # fewer discordant rows than the hypothesis needs: excluded up to GAMMA
        return GAMMA
    shares = np.linspace(max(low, abs(margin)), high, GRID)
    counts = _list_counts(rows, shares[0], shares[-1])
    critical = _find_critical(counts, rows, margin, _score(better, worse, rows, margin))
    odds = np.clip((shares - margin) / (2 * np.maximum(shares, 1e-300)), 0.0, 1.0)[:, None]
    tails = _weigh(counts, rows, shares[:, None]) * _sum_tail(critical, counts, odds)
    found = tails.sum(axis=1).max() + GAMMA
    return float(min(1.0, found))


test_margin.__test__ = False  # type: ignore[attr-defined] # pytest: a statistic, not a test case


def bound_difference(better: int, worse: int, rows: int, level: float) -> tuple[float, float]:
    """One-sided score bounds of the improvement (error rate of the holder minus the candidate's).

    Args:
        better: Rows the candidate alone has right.
        worse: Rows the holder alone has right.
        rows: All rows.
        level: Chance that a bound misses, each.

    Source: Tango, Statistics in Medicine 17 (1998), eq. 5.

    >>> lower, upper = bound_difference(12, 2, 100, 0.025)
    >>> round(lower, 3), round(upper, 3)
    (0.031, 0.182)
    """
    from statistics import NormalDist  # noqa: PLC0415 - beside its user

    z = -NormalDist().inv_cdf(level)
    lower = _bisect_margin(better, worse, rows, z)
    return lower, -_bisect_margin(worse, better, rows, z)


def rows_needed(effect: float, discordance: float, level: float, power: float = 0.9) -> int:
    """Rows with which the exact test sees an effect with the chance asked for.

    Args:
        effect: True decrease of the error rate, e.g. 0.01; at most the discordance.
        discordance: Share of rows on which exactly one model is right.
        level: Of the test.
        power: Chance to see it.

    Raises:
        ValueError: An effect that is not positive, or larger than the discordance allows.

    Source: Lachin, Statistics in Medicine 11 (1992) gives the normal approximation; here it is only where
    the search through the exact power begins.

    >>> n = rows_needed(0.01, 0.08, 0.0304)
    >>> find_power(n, 0.01, 0.08, 0.0304) >= 0.9 > find_power(int(n * 0.95), 0.01, 0.08, 0.0304)
    True
    """
    if not 0 < effect <= discordance <= 1:
        raise ValueError(f"an effect of {effect} does not fit a discordance of {discordance}")
    from .power import units_needed  # noqa: PLC0415 - a beginning for the search only

    spread = math.sqrt(max(discordance - effect**2, effect**2 / 4))
    high = max(2, units_needed(effect, spread, level, power))
    while find_power(high, effect, discordance, level) < power:
        high = math.ceil(high * 1.1) + 1
        if high > MAX_ROWS:
            raise ValueError(f"an effect of {effect} is out of reach at level {level}")
    low = 1
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        reached = find_power(middle, effect, discordance, level) >= power
        low, high = (low, middle) if reached else (middle, high)
    return high


def find_power(rows: int, effect: float, discordance: float, level: float) -> float:
    """Chance that :func:`test_discordant` stays at or below the level, to the last digit.

    >>> round(find_power(10_000, 0.01, 0.08, 0.0304), 3)
    0.949
    """
    from scipy.stats import binom  # noqa: PLC0415 - heavy

    counts = _list_counts(rows, discordance, discordance)
    critical = binom.isf(level, counts, 0.5) + 1
    odds = min((discordance + effect) / (2 * discordance), 1.0)
    return float((_weigh(counts, rows, discordance) * _sum_tail(critical, counts, odds)).sum())


def _check(better: int, worse: int, rows: int) -> None:
    if min(better, worse) < 0 or better + worse > rows:
        raise ValueError(f"{better} better and {worse} worse of {rows} rows is impossible")


def _list_counts(rows: int, low: float, high: float) -> "NDArray[np.float64]":
    """Numbers of discordant rows that are not practically impossible for shares in [low, high]."""
    import numpy as np  # noqa: PLC0415 - heavy

    first = rows * low - WIDE * math.sqrt(rows * low * (1 - low)) - 2 * WIDE
    last = rows * high + WIDE * math.sqrt(rows * high * (1 - high)) + 4 * WIDE
    return np.arange(max(0, math.floor(first)), min(rows, math.ceil(last)) + 1, dtype=np.float64)


def _weigh(counts: "NDArray[np.float64]", rows: int, share: Any) -> Any:
    """Binomial probabilities of the counts."""
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.special import gammaln, xlog1py, xlogy  # noqa: PLC0415 - heavy

    ways = gammaln(rows + 1.0) - gammaln(counts + 1) - gammaln(rows - counts + 1)
    return np.exp(ways + xlogy(counts, share) + xlog1py(rows - counts, -np.asarray(share)))


def _sum_tail(least: Any, counts: Any, odds: Any) -> Any:
    """Chance that a Binomial(counts, odds) number is at least ``least``."""
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.special import betainc  # noqa: PLC0415 - heavy

    within = np.clip(least, 1, np.maximum(counts, 1))
    tail = betainc(within, np.maximum(counts - within + 1, 1), odds)
    return np.where(least <= 0, 1.0, np.where(least > counts, 0.0, tail))


def _score(better: Any, worse: Any, rows: int, margin: float) -> Any:
    """Tango's statistic: large where the candidate is surely not worse by the margin."""
    import numpy as np  # noqa: PLC0415 - heavy

    half = (better + worse) + (worse - better) * margin - 2 * rows * margin
    root = np.sqrt(np.maximum(half**2 + 8 * rows * better * margin * (1 - margin), 0))
    share = np.clip((half + root) / (4 * rows), max(0.0, -margin), (1 - margin) / 2)
    spread = np.sqrt(np.maximum(rows * (2 * share + margin - margin**2), 1e-300))
    return (better - worse + rows * margin) / spread


def _find_critical(
    counts: "NDArray[np.float64]", rows: int, margin: float, reached: float
) -> "NDArray[np.float64]":
    """For every number of discordant rows the fewest better ones that score as high as what was seen."""
    import numpy as np  # noqa: PLC0415 - heavy

    low, high = np.zeros_like(counts), counts + 1
    least = reached - 1e-9 * (1 + abs(reached))
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        enough = _score(middle, counts - middle, rows, margin) >= least
        high = np.where((low < high) & enough, middle, high)
        low = np.where((low < high) & ~enough, middle + 1, low)
    return low


def _bisect_margin(better: int, worse: int, rows: int, z: float) -> float:
    """The improvement that the score test just does not refuse from below."""
    low, high = -1 + 1e-12, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        if float(_score(better, worse, rows, middle)) > z:
            high = middle
        else:
            low = middle
    return -high
