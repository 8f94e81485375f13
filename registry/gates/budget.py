"""How much error each look at a holder may spend, so that all looks together stay within one budget."""

import math
from typing import Final

__all__ = ["level_of_attempt"]

SHARE: Final = 6 / math.pi**2
"""1 / (1 + 1/4 + 1/9 + …), so that the levels of all attempts add up to alpha (Euler 1735)."""


def level_of_attempt(alpha: float, attempt: int) -> float:
    """Level at which attempt k may decide: 6 alpha / (π² k²).

    The levels of all attempts add up to alpha, however many there will be and however they depend on each
    other, so the chance that any of them promotes a model that is no better is at most alpha (Boole).

    Args:
        alpha: Chance of a false promotion allowed against one holder, over all attempts; in (0, 1).
        attempt: k, from 1.

    Raises:
        ValueError: alpha is no probability, or there is no such attempt.

    Source: Foster and Stine, JRSS B 70 (2008), sec. 2: alpha spending over a stream of tests, where a
    summable schedule such as 1/k² needs no end to be fixed beforehand.

    >>> [round(level_of_attempt(0.05, attempt), 6) for attempt in (1, 2, 3, 500)]
    [0.030396, 0.007599, 0.003377, 0.0]
    >>> 0.04999 < sum(level_of_attempt(0.05, attempt) for attempt in range(1, 100_000)) <= 0.05
    True
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt}")
    return SHARE * alpha / attempt**2
