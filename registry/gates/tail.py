"""How surprising a studentised mean is, also far out, where no draw ever comes.

Three readings of one statistic t = improvement / standard error, and the most cautious of them counts:

- Student's t, for few units, with its degrees of freedom reduced where units are of unequal size;
- Hall's monotone transformation, which takes out skewness. A candidate with rare, very bad answers makes the
  differences skewed to the left, and then plain t is too sure. The skewness is taken one and a half standard
  errors worse than it looks, because what is rare was perhaps not seen;
- Student's t, widened by what the bootstrap finds at the level in question.

And no p-value is below 2⁻ᵐ, where m units differ at all: complete agreement of few units can be chance.

Source: Hall, JRSS B 54 (1992), the transformation; Efron, JASA 64 (1969), Student's t under symmetry; Dixon
and Mood, JASA 41 (1946), the sign test. Bahadur and Savage, Annals of Mathematical Statistics 27 (1956), show
that no test of a mean can hold its level for every distribution: what no row shows stays unseen.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Tail", "find_critical", "find_p_value"]

CAUTION: Final = 1.5
"""Standard errors to the cautious side. Simulated with 20 to 60 units and all attempts of a year: at 1 the
budget of 0.05 is overdrawn to 0.052 where units are lognormal to the bad side (skewness 1.75), at 1.5 it is
0.036 to 0.046, and an improvement must look a tenth larger to pass with 30 units."""


@dataclass(frozen=True, slots=True)
class Tail:
    """One tail of a studentised mean.

    Attributes:
        units: Rows or blocks, n.
        freedom: Degrees of freedom of Student's t.
        skewness: Of the units' contributions, positive: the far side is where t is looked for.
        widening: The bootstrap's quantile over Student's, at least 1.
        signs: Units that differ at all, m.
    """

    units: int
    freedom: float
    skewness: float
    widening: float
    signs: int

    @property
    def bend(self) -> float:
        """Hall's skewness / (3√n), to the cautious side.

        Source: Fisher, Proceedings of the London Mathematical Society 30 (1930), variance of a skewness.
        """
        n = self.units
        variance = 6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)) if n > 2 else 1.0  # noqa: PLR2004
        return (self.skewness - CAUTION * math.sqrt(variance)) / (3 * math.sqrt(n))

    @property
    def smallest(self) -> float:
        """The smallest p-value these units can have."""
        return math.ldexp(1.0, -min(self.signs, 1000))


def find_p_value(t: float, tail: Tail) -> float:
    """Chance of a statistic as large as t where nothing is better.

    >>> calm = Tail(units=100_000, freedom=99_999, skewness=0.0, widening=1.0, signs=100_000)
    >>> round(find_p_value(1.96, calm), 3)
    0.025
    >>> round(find_p_value(1.96, Tail(30, 29, -2.0, 1.1, 30)), 3)
    0.097
    """
    return max(
        _spread_t(t / tail.widening, tail.freedom), _spread_t(_bend(t, tail), tail.freedom), tail.smallest
    )


def find_critical(level: float, tail: Tail) -> float:
    """The t whose p-value is ``level`` (below 0.5), apart from the floor: see :attr:`Tail.smallest`.

    >>> tail = Tail(30, 29, -2.0, 1.1, 30)
    >>> round(find_p_value(find_critical(0.01, tail), tail), 12)
    0.01
    """
    quantile = float(find_quantile(level, tail.freedom))
    return max(quantile * tail.widening, _unbend(quantile, tail))


def find_quantile(level: Any, freedom: Any) -> Any:
    """Student's t that is exceeded with the chance ``level``; arrays too.

    >>> round(float(find_quantile(0.025, 30)), 3)
    2.042
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - heavy

    return -stdtrit(freedom, level)


def _spread_t(t: float, freedom: float) -> float:
    from scipy.special import stdtr  # noqa: PLC0415 - heavy

    return float(stdtr(freedom, -t))


def _bend(t: float, tail: Tail) -> float:
    u = tail.bend
    return float(t + u * t**2 + u**2 * t**3 / 3 + u / 2)


def _unbend(value: float, tail: Tail) -> float:
    """The inverse of :func:`_bend`, which is a cube: ((1 + ut)³ - 1) / 3u + u/2."""
    u = tail.bend
    if abs(u) < 1e-9:  # noqa: PLR2004 - the cube is the identity to all digits there
        return value
    return (math.cbrt(1 + 3 * u * (value - u / 2)) - 1) / u
