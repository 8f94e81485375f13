"""How far two samples of one column are apart, and how surprising that is for rows by themselves.

One number for all kinds of columns: the *share of rows that moved*. For numbers it is the largest difference
of the two distribution functions (Kolmogorov and Smirnov), for categories the total variation distance. A
shift of a normal distribution by 0.1, 0.3 and 1 standard deviations moves 4 %, 12 % and 38 % of the rows.
A missing value counts as a value of its own: beyond all numbers, or a category. Two samples of one
distribution differ too, the more the fewer rows and the more categories there are: what chance alone would
show is taken off, as squares.

Source: Hodges, Arkiv för Matematik 3 (1958), the two-sample test and its effective size; Cochran, Biometrics
10 (1954), at least five expected in each cell; Gibbs and Su, International Statistical Review 70 (2002),
distances; Vallender, Theory of Probability and Its Applications 18 (1974), Wasserstein's by distribution
functions.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .columns import PairedColumn

__all__ = ["Distance", "collapse", "measure_distance"]

FEWEST_EXPECTED: Final = 5.0
"""Rows expected in a category of the smaller sample; rarer ones are put together."""

MOST_CATEGORIES: Final = 50
"""The most frequent ones are looked at one by one, the rest together."""

KOLMOGOROV_SQUARE: Final = math.pi**2 / 12
"""Mean square of Kolmogorov's distribution: of the largest gap times the root of the effective size."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a window is from its reference in one column.

    Attributes:
        effect: Share of rows that moved, 0 to 1, beyond what chance alone shows.
        p_value: Chance of so much, or more, if both are of one distribution and every row is by itself.
        shift_sd: Mean distance that values moved (Wasserstein), in standard deviations of the reference;
            None for categories and constant references.
    """

    effect: float
    p_value: float
    shift_sd: float | None = None


def measure_distance(column: PairedColumn) -> Distance:
    """Compares the two sides of a column.

    >>> generator = np.random.default_rng(0)
    >>> before, after = generator.normal(size=50_000), generator.normal(0.3, size=50_000)
    >>> found = measure_distance(PairedColumn("x", "number", before, after))
    >>> round(found.effect, 2), found.p_value < 1e-9, round(found.shift_sd or 0, 1)
    (0.12, True, 0.3)
    """
    if column.kind == "number":
        return _compare_numbers(column.reference, column.window)
    return _compare_categories(column.reference, column.window)


def _compare_numbers(reference: NDArray[np.float64], window: NDArray[np.float64]) -> Distance:
    size = len(reference) * len(window) / (len(reference) + len(window))
    values, gaps = _find_gaps(reference, window)
    gap = float(gaps[np.append(values[1:] != values[:-1], True)].max())  # ties count when all have come
    spread = float(np.nanstd(reference)) if not np.isnan(reference).all() else 0.0
    if np.isinf(values[-1]):
        values, gaps = _find_gaps(reference[~np.isnan(reference)], window[~np.isnan(window)])
    shift = float((gaps[:-1] * np.diff(values)).sum()) / spread if spread and len(gaps) else None
    return Distance(_take_off(gap, KOLMOGOROV_SQUARE / size), _find_p_value(gap, size), shift)


def _find_gaps(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All values in order, NaN as infinity, and how far both distribution functions are apart from each on.

    Empty where one side is.
    """
    if not len(before) or not len(after):
        return np.empty(0), np.empty(0)
    both = np.concatenate([before, after])
    both[np.isnan(both)] = np.inf
    order = np.argsort(both, kind="stable")
    steps = np.where(order < len(before), 1 / len(before), -1 / len(after))
    return both[order], np.abs(np.cumsum(steps))


def _find_p_value(gap: float, size: float) -> float:
    """Kolmogorov's limit: on the careful side for two samples of finite size."""
    from scipy.special import kolmogorov  # noqa: PLC0415 - heavy

    return float(kolmogorov(math.sqrt(size) * gap))


def _take_off(distance: float, square: float) -> float:
    """What is left of a distance without the part that chance alone shows (its mean square)."""
    return math.sqrt(max(distance**2 - square, 0.0))


def _find_shift(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    """Wasserstein's distance of the present values; both sides sorted, infinite where missing."""
    from scipy.stats import wasserstein_distance  # noqa: PLC0415 - heavy

    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    spread = float(before.std()) if len(before) else 0.0
    if not spread or not len(after):
        return None
    return float(wasserstein_distance(before, after)) / spread


def _compare_categories(reference: NDArray[Any], window: NDArray[Any]) -> Distance:
    before, after = collapse(reference, window)
    width = int(max(before.max(), after.max())) + 1
    counts = np.stack([np.bincount(side, minlength=width) for side in (before, after)])
    moved = 0.5 * float(np.abs(counts[0] / len(before) - counts[1] / len(after)).sum())
    shares = counts.sum(axis=0) / counts.sum()
    spread = np.sqrt(shares * (1 - shares) * (1 / len(before) + 1 / len(after)))
    chance = 0.5 * float(np.sqrt(2 / np.pi) * spread.sum())  # mean of half the absolute differences
    return Distance(_take_off(moved, chance**2), _test_counts(counts))


def collapse(reference: NDArray[Any], window: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers the categories; those that are rare in both sides together become one.

    Who is rare is decided by both sides together, so that no side is preferred and the test keeps its level.

    Returns:
        Category of each row from 0, of the reference and of the window; every number occurs.

    >>> before, after = (np.array([*"aaaaaa", *rest], dtype=object) for rest in ("bc", "d"))
    >>> [side.tolist() for side in collapse(before, after)]
    [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 1]]
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    codes, _ = pd.factorize(np.concatenate([reference, window]))
    counts = np.bincount(codes)
    smaller = min(len(reference), len(window)) / len(codes)
    frequent = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    kept = frequent[counts[frequent] * smaller >= FEWEST_EXPECTED]
    places = np.full(len(counts), len(kept), dtype=np.intp)
    places[kept] = np.arange(len(kept))
    _, dense = np.unique(places[codes], return_inverse=True)
    return dense[: len(reference)], dense[len(reference) :]


def _test_counts(counts: NDArray[np.intp]) -> float:
    """Chi-square of two rows of counts; one cell alone says nothing."""
    from scipy.special import chdtrc  # noqa: PLC0415 - heavy

    if counts.shape[1] < 2:  # noqa: PLR2004 - see above
        return 1.0
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    return float(chdtrc(counts.shape[1] - 1, ((counts - expected) ** 2 / expected).sum()))
