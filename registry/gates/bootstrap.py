"""Paired comparison: is the candidate's mean loss lower than the holder's on the same rows, and how surely?

Rows that depend on each other (flights of one day share the weather) count and are drawn together, as blocks.
The level holds also far out, where attempt 50 or 500 asks for one in a million: see :mod:`.tail`.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 12 and 13; Davison and Hinkley,
Bootstrap Methods and their Application (1997), sec. 3.8 (drawing whole groups).
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from .auc import find_influence
from .draws import draw_statistics
from .mcnemar import bound_difference, test_discordant, test_margin
from .tail import Tail, find_critical, find_p_value, find_quantile
from .units import Units, gather

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Estimate", "estimate", "estimate_auc"]

RESOLVED: Final = 100
"""Draws beyond a quantile that make it trustworthy (its level is then known to a tenth)."""

FEWEST_DRAWN: Final = 10
"""Units from which on resamples differ enough to learn from; below, Student's t stands alone."""

DUST: Final = 1e-12
"""Relative size below which a difference is rounding: a model compared with itself is not better."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much better the candidate is (holder's mean loss minus candidate's), and how surely.

    Attributes:
        improvement: Over all rows, in the metric's own unit; positive is better.
        standard_error: Of the improvement.
        p_value: Chance of what was seen, or more, where the improvement is no more than ``-margin``.
            **This decides**: at most ``level`` is a yes.
        lower: One-sided lower bound at ``level``. Where the units are too few to reach the level, the bound
            at the level that they reach, and never above ``-margin``.
        upper: One-sided upper bound, likewise.
        level: Chance of a wrong yes, as asked for.
        margin: What the candidate may be worse by; 0 asks for superiority.
        rows: Rows compared.
        blocks: Independent units among them: blocks, or rows.
        spread: Standard deviation of one unit's contribution: standard error times √blocks.
        method: How it was counted, in words.
    """

    improvement: float
    standard_error: float
    p_value: float
    lower: float
    upper: float
    level: float
    margin: float
    rows: int
    blocks: int
    spread: float
    method: str


def estimate(
    holder: "NDArray[np.float64]",
    candidate: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None" = None,
    *,
    level: float,
    margin: float = 0.0,
    draws: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Tests "the candidate is no better than ``-margin``" on losses of the same rows.

    Losses that are 0 or 1 on independent rows go to the exact tests of :mod:`.mcnemar`; all others to the
    most cautious reading of a studentised mean (:mod:`.tail`).

    Args:
        holder: Loss of each row, shape (n,), finite.
        candidate: The same for the candidate.
        blocks: Block of each row, shape (n,), any values; None: every row by itself.
        level: Chance of a wrong yes that is allowed, in (0, 0.5).
        margin: What the candidate may be worse by, in the loss's unit.
        draws: Bootstrap draws; 0 leaves the bootstrap out (less cautious where units are few).
        seed: So that the same evidence gives the same figures.

    Raises:
        ValueError: Shapes differ, there are no rows, a loss is not finite, or the level is none.

    >>> import numpy as np
    >>> found = estimate(np.full(40, 0.6), np.full(40, 0.5), level=0.03)
    >>> round(found.improvement, 3), found.p_value == 0.5**40, round(found.lower, 3)
    (0.1, True, 0.1)
    >>> same = np.array([0.1, 0.4, 0.2])
    >>> estimate(same, same, level=0.03).p_value
    1.0
    """
    import numpy as np  # noqa: PLC0415 - heavy

    _check(holder, candidate, level)
    binary = bool(np.isin(holder, (0.0, 1.0)).all() and np.isin(candidate, (0.0, 1.0)).all())
    if binary and blocks is None and abs(margin) < 1:
        return _count_discordant(holder, candidate, level, margin)
    differences = np.asarray(holder - candidate, dtype=np.float64)
    dust = np.abs(differences) <= DUST * np.maximum(np.abs(holder), np.abs(candidate))
    units = gather(np.where(dust, 0.0, differences), blocks)
    name = "rows" if blocks is None else "blocks"
    return _judge_mean(units, name, freedom=units.freedom, level=level, margin=margin, draws=draws, seed=seed)


def estimate_auc(
    truth: "NDArray[np.bool_]",
    holder_score: "NDArray[np.float64]",
    candidate_score: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None" = None,
    *,
    level: float,
    margin: float = 0.0,
    draws: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Tests "the candidate's AUC is no higher than the holder's less the margin" on the same rows.

    The AUC is a mean of what each row adds (:mod:`.auc`), so the same test serves; degrees of freedom follow
    the rarer of the two kinds of rows.

    Args:
        truth: Whether a row is positive, shape (n,).
        holder_score: Higher for what looks positive, shape (n,).
        candidate_score: The candidate's.
        blocks: As for :func:`estimate`, like all that follows.
        level: Chance of a wrong yes.
        margin: What the AUC may be lower by.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        ValueError: As for :func:`estimate`, or all rows are of one kind.

    >>> import numpy as np
    >>> truth = np.arange(200) % 2 == 0
    >>> noise = np.random.default_rng(0).normal(size=200)
    >>> found = estimate_auc(truth, truth + 2 * noise, truth + noise, level=0.03)
    >>> round(found.improvement, 2), found.p_value < 0.03
    (0.13, True)
    """
    import numpy as np  # noqa: PLC0415 - heavy

    _check(holder_score, candidate_score, level)
    truth = np.asarray(truth, dtype=bool)
    rarer = min(int(truth.sum()), int((~truth).sum()))
    if truth.shape != holder_score.shape or not rarer:
        raise ValueError("an AUC needs positive and negative rows, and one truth for each row")
    differences = find_influence(truth, candidate_score) - find_influence(truth, holder_score)
    units = gather(np.where(np.abs(differences) <= DUST, 0.0, differences), blocks)
    freedom = max(1.0, min(units.freedom, rarer - 1.0))
    name = "blocks (AUC)" if blocks is not None else "rows (AUC)"
    return _judge_mean(units, name, freedom=freedom, level=level, margin=margin, draws=draws, seed=seed)


def _check(holder: "NDArray[np.float64]", candidate: "NDArray[np.float64]", level: float) -> None:
    import numpy as np  # noqa: PLC0415 - heavy

    if holder.shape != candidate.shape or holder.ndim != 1 or not len(holder):
        raise ValueError(f"losses of shapes {holder.shape} and {candidate.shape} cannot be compared")
    if not 0 < level < 0.5:  # noqa: PLR2004 - beyond it a test says yes to what looks worse
        raise ValueError(f"a level lies between 0 and 0.5, not {level}")
    if not (np.isfinite(holder).all() and np.isfinite(candidate).all()):
        raise ValueError("a loss is missing or not finite")


def _count_discordant(
    holder: "NDArray[np.float64]", candidate: "NDArray[np.float64]", level: float, margin: float
) -> Estimate:
    rows = len(holder)
    better, worse = int((holder > candidate).sum()), int((holder < candidate).sum())
    exact = test_margin(better, worse, rows, margin) if margin else test_discordant(better, worse)
    lower, upper = bound_difference(better, worse, rows, level)
    improvement = (better - worse) / rows
    spread = math.sqrt(max((better + worse) / rows - improvement**2, 0.0))
    return Estimate(
        improvement=improvement,
        standard_error=spread / math.sqrt(rows),
        p_value=exact,
        lower=_agree(lower, exact, level, margin),
        upper=upper,
        level=level,
        margin=margin,
        rows=rows,
        blocks=rows,
        spread=spread,
        method=f"exact McNemar: {better} rows better, {worse} worse"
        if not margin
        else f"exact test of Tango's score at the margin: {better} rows better, {worse} worse",
    )


def _agree(lower: float, p_value: float, level: float, margin: float) -> float:
    """The bound on the side of the margin that the p-value says: no sentence contradicts the decision."""
    above = math.nextafter(-margin, math.inf)
    return max(lower, above) if p_value <= level else min(lower, -margin)


def _judge_mean(
    units: Units, name: str, *, freedom: float, level: float, margin: float, draws: int, seed: int
) -> Estimate:
    size, mean, error = len(units.sums), units.mean, units.standard_error
    signs = int((units.sums + margin * units.counts != 0).sum())
    right = Tail(size, freedom, units.skewness, 1.0, signs)
    left = replace(right, skewness=-units.skewness)
    if draws and size >= FEWEST_DRAWN and error > 0:
        wide = _widen(draw_statistics(units, draws, seed), level, freedom)
        right, left = replace(right, widening=wide[1]), replace(left, widening=wide[0])
    p_value = _find_mean_p_value(mean + margin, error, right)
    reached = max(level, min(right.smallest, 0.4))
    words = f"studentised mean of {size:,} {name}: Student's t ({freedom:.0f} degrees of freedom), skewness"
    words += f" (Hall), bootstrap-t ({draws:,} draws, wider by {right.widening:.3f})" if draws else " (Hall)"
    return Estimate(
        improvement=mean,
        standard_error=error,
        p_value=p_value,
        lower=_agree(mean - find_critical(reached, right) * error, p_value, level, margin),
        upper=mean + find_critical(reached, left) * error,
        level=level,
        margin=margin,
        rows=int(units.counts.sum()),
        blocks=size,
        spread=error * math.sqrt(size),
        method=words,
    )


def _find_mean_p_value(excess: float, error: float, tail: Tail) -> float:
    if excess <= 0 and error == 0:
        return 1.0
    if tail.units < 2:  # noqa: PLR2004 - one unit proves nothing
        return 1.0
    return find_p_value(excess / error, tail) if error > 0 else tail.smallest


def _widen(statistics: "NDArray[np.float64]", level: float, freedom: float) -> tuple[float, float]:
    """The draws' quantiles at the level (or the farthest they resolve) over Student's; left and right."""
    import numpy as np  # noqa: PLC0415 - heavy

    resolved = max(level, min(RESOLVED / len(statistics), 0.4))
    low, high = np.quantile(statistics, [resolved, 1 - resolved], method="inverted_cdf")
    student = float(find_quantile(resolved, freedom))
    return max(1.0, -float(low) / student), max(1.0, float(high) / student)
