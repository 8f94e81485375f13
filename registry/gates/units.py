"""What each independent unit (a row, or a block of rows) adds to a mean, and how far such means scatter."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Units", "gather"]

DUST: Final = 1e-12
"""Relative size below which a rest is rounding: a difference that is the same everywhere does not scatter."""


@dataclass(frozen=True, slots=True)
class Units:
    """Sums of differences over independent units.

    Attributes:
        sums: Sum of the differences of each unit, shape (units,).
        counts: Rows of each unit, shape (units,).
    """

    sums: "NDArray[np.float64]"
    counts: "NDArray[np.float64]"

    @property
    def mean(self) -> float:
        """Mean over rows."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def rests(self) -> "NDArray[np.float64]":
        """What a unit adds beyond its share of the mean; they sum to 0. What is rounding counts as 0."""
        import numpy as np  # noqa: PLC0415 - heavy

        shares = self.mean * self.counts
        rests = self.sums - shares
        return np.where(np.abs(rests) <= DUST * np.maximum(np.abs(self.sums), np.abs(shares)), 0.0, rests)

    @property
    def standard_error(self) -> float:
        """Of the mean, by leaving out one unit after the other; 0 for a single unit.

        For units of equal size it is the textbook's s/√n; for unequal ones it is on the careful side (CR3).

        Source: Efron and Stein, Annals of Statistics 9 (1981), the jackknife is biased upwards; MacKinnon,
        Nielsen and Webb, Journal of Applied Econometrics 38 (2023), CR3 for few clusters.
        """
        import numpy as np  # noqa: PLC0415 - heavy

        size = len(self.sums)
        if size < 2:  # noqa: PLR2004 - one unit does not scatter
            return 0.0
        left_out = self.rests / (self.counts.sum() - self.counts)
        return float(np.sqrt((size - 1) / size * (left_out**2).sum()))

    @property
    def freedom(self) -> float:
        """Degrees of freedom: units less one, fewer where a few large units carry the mean.

        Source: Satterthwaite, Biometrics 2 (1946), for rows of a block that move together; compare Carter,
        Schnepel and Steigerwald, Review of Economics and Statistics 99 (2017).
        """
        weights = self.counts**2
        effective = float(weights.sum() ** 2 / (weights**2).sum())
        return max(1.0, min(effective, float(len(self.counts))) - 1)

    @property
    def skewness(self) -> float:
        """Of the units' rests, bias corrected; 0 where they do not differ, or are fewer than three.

        Source: Joanes and Gill, The Statistician 47 (1998), G1.
        """
        import numpy as np  # noqa: PLC0415 - heavy

        rests = self.rests
        size, scale = len(rests), np.sqrt((rests**2).mean())
        if size < 3 or scale == 0:  # noqa: PLR2004 - two units are always symmetric
            return 0.0
        return float(((rests / scale) ** 3).mean() * np.sqrt(size * (size - 1)) / (size - 2))


def gather(differences: "NDArray[np.float64]", blocks: "NDArray[Any] | None") -> Units:
    """Sums differences over blocks; without blocks every row is a unit.

    >>> import numpy as np
    >>> found = gather(np.array([1.0, 2.0, 6.0]), np.array(["mon", "mon", "tue"]))
    >>> found.sums.tolist(), found.counts.tolist(), found.mean
    ([3.0, 6.0], [2.0, 1.0], 3.0)
    """
    import numpy as np  # noqa: PLC0415 - heavy

    if blocks is None:
        return Units(differences, np.ones(len(differences)))
    _, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, weights=differences).astype(np.float64)
    return Units(sums, np.bincount(places).astype(np.float64))
