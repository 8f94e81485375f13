"""Infers a contract from the rows that a model learned from."""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from .columns import Column, Contract, Range

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_CATEGORIES", "TOLERANCE", "infer_contract"]

TOLERANCE: Final = 0.1
"""Share of the width of what was seen that is allowed beyond either end. A new extreme is usually a little
beyond the old one, a wrong unit far beyond."""
MAX_CATEGORIES: Final = 100
"""More distinct texts than this are names or numbers of things, and new ones are to be expected."""
HUGE: Final = 1e300
"""Beyond this there is no room for a tolerance."""
DIGITS: Final = 3
"""Ends are rounded outwards to this many digits of the width, so that people can read them."""


def infer_contract(
    frame: "pd.DataFrame",
    types: Mapping[str, str],
    *,
    required: Collection[str] | None = None,
    tolerance: float = TOLERANCE,
    max_categories: int = MAX_CATEGORIES,
) -> Contract:
    """Says what these rows look like.

    Numbers get a range: from the smallest to the largest one seen, wider by ``tolerance`` times the distance
    between them at either end, but not across zero where nothing was. Texts get their known categories, or
    are of type ``text`` if there are more than ``max_categories``. Moments get no range: the next ones are
    later than all that were seen. A value may be missing where one was.

    Args:
        frame: n training rows, typed: float64, text, datetime64, bool.
        types: Each column's type, in order: ``number``, ``category``, ``datetime`` or ``boolean``.
        required: Columns that must be there; None: those without a missing value.
        tolerance: 0 or more.
        max_categories: 1 or more.

    Returns:
        A contract in mode ``warn``, without rules.
    """
    columns = {}
    for name, kind in types.items():
        values = frame[name]
        nullable = bool(values.isna().any())
        must = not nullable if required is None else name in required
        columns[name] = _infer_column(values.dropna(), kind, tolerance, max_categories, (nullable, must))
    return Contract(columns)


def _infer_column(
    known: "pd.Series[Any]", kind: str, tolerance: float, max_categories: int, missing: tuple[bool, bool]
) -> Column:
    nullable, required = missing
    if kind == "number":
        return Column(kind, nullable, required, range=_infer_range(known, tolerance))
    if kind == "category":
        found = known.unique()
        if len(found) > max_categories:
            return Column("text", nullable, required)
        return Column(kind, nullable, required, categories=tuple(sorted(map(str, found))))
    return Column(kind, nullable, required)


def _infer_range(known: "pd.Series[Any]", tolerance: float) -> Range | None:
    if known.empty:
        return None
    low, high = float(known.min()), float(known.max())
    low_end, high_end = _widen(low, high, tolerance)
    return Range(low_end, high_end, seen=(low, high), tolerance=tolerance)


def _widen(low: float, high: float, tolerance: float) -> tuple[float, float]:
    """The ends with tolerance.

    >>> _widen(17.0, 4983.0, 0.1)
    (0.0, 5480.0)
    """
    width = high - low
    if width == 0 or tolerance == 0 or max(abs(low), abs(high)) * (1 + tolerance) > HUGE:
        return low, high
    digits = DIGITS - 1 - math.floor(math.log10(width))
    step = 10.0**-digits
    if not (0 < step < math.inf):  # narrower than any float can say
        return low, high
    down, up = round(low - tolerance * width, digits), round(high + tolerance * width, digits)
    down = down if down <= low - tolerance * width else round(down - step, digits)
    up = up if up >= high + tolerance * width else round(up + step, digits)
    return max(down, 0.0) if low >= 0 else down, min(up, 0.0) if high <= 0 else up
