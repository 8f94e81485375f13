"""Paired bootstrap: is the candidate's mean loss lower than the holder's on the same rows?

Rows that depend on each other (flights of one day share the weather) are drawn together, as blocks.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13 (percentile interval);
Davison and Hinkley, Bootstrap Methods and their Application (1997), sec. 3.8 (drawing whole groups).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DRAWS", "Comparison", "compare"]

DRAWS: Final = 4_000
"""Draws: the Monte Carlo error of a 5 % quantile's level is then 0.3 %."""

CHUNK_CELLS: Final = 4_000_000
"""Weights held at a time (32 MB)."""

POWER: Final = 0.8
"""Wanted chance to see an improvement of the size seen, when saying how much data is needed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The holder's mean loss minus the candidate's: positive is better. In the loss's own unit.

    Attributes:
        improvement: Over all rows.
        lower: One-sided lower confidence bound at ``confidence``.
        upper: One-sided upper confidence bound at ``confidence``.
        standard_error: Of the improvement, over the draws.
        confidence: E.g. 0.95.
        rows: Rows compared.
        blocks: Independent blocks among them.
        blocks_needed: Blocks with which an improvement of this size would be seen (power 0.8); None if
            there is no improvement.
    """

    improvement: float
    lower: float
    upper: float
    standard_error: float
    confidence: float
    rows: int
    blocks: int
    blocks_needed: int | None


def compare(
    holder: "NDArray[np.float64]",
    candidate: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None" = None,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compares two models' losses on the same rows.

    Args:
        holder: Loss of each row, shape (n,), finite.
        candidate: The same for the candidate.
        blocks: Block of each row, shape (n,), any values; None: every row by itself.
        confidence: Of each one-sided bound.
        draws: Bootstrap draws.
        seed: So that the same evidence gives the same figures.

    Raises:
        ValueError: Shapes differ, or there are no rows.

    >>> import numpy as np
    >>> found = compare(np.full(40, 0.6), np.full(40, 0.5))
    >>> round(found.lower, 6), found.blocks
    (0.1, 40)
    """
    import numpy as np  # noqa: PLC0415 - heavy

    if holder.shape != candidate.shape or holder.ndim != 1 or not len(holder):
        raise ValueError(f"losses of shapes {holder.shape} and {candidate.shape} cannot be compared")
    differences = holder - candidate
    sums, counts = _sum_blocks(differences, blocks)
    means = _draw_means(sums, counts, draws, seed)
    lower, upper = np.quantile(means, [1 - confidence, confidence])
    improvement, error = float(differences.mean()), float(means.std(ddof=1))
    return Comparison(
        improvement=improvement,
        lower=float(lower),
        upper=float(upper),
        standard_error=error,
        confidence=confidence,
        rows=len(differences),
        blocks=len(sums),
        blocks_needed=_count_blocks_needed(improvement, error, len(sums), confidence),
    )


def _sum_blocks(
    differences: "NDArray[np.float64]", blocks: "NDArray[Any] | None"
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    import numpy as np  # noqa: PLC0415 - heavy

    if blocks is None:
        return differences, np.ones(len(differences))
    _, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, weights=differences).astype(np.float64)
    return sums, np.bincount(places).astype(np.float64)


def _draw_means(
    sums: "NDArray[np.float64]", counts: "NDArray[np.float64]", draws: int, seed: int
) -> "NDArray[np.float64]":
    """Means of ``draws`` resamples of whole blocks, in chunks of bounded memory; shape (draws,)."""
    import numpy as np  # noqa: PLC0415 - heavy

    generator = np.random.default_rng(seed)
    size = len(sums)
    means = np.empty(draws)
    step = max(1, CHUNK_CELLS // size)
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        picks = generator.integers(0, size, size=(stop - start, size))
        means[start:stop] = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return means


def _count_blocks_needed(improvement: float, error: float, blocks: int, confidence: float) -> int | None:
    """Blocks n such that improvement / error(n) = z(confidence) + z(power), error falling with √n."""
    import math  # noqa: PLC0415 - beside its user
    from statistics import NormalDist  # noqa: PLC0415 - beside its user

    if improvement <= 0:
        return None
    z = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(POWER)
    return max(2, math.ceil(blocks * (z * error / improvement) ** 2))
