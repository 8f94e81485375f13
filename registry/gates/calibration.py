"""Whether probabilities come true: of the rows that were given 30 %, about 30 % should happen.

Three readings. The *calibration error* says how far off they are, in points, corrected for what chance alone
would show in a perfect model. *Slope and intercept* say in which way: a slope below 1 is overconfident, an
intercept below 0 predicts too often. The *tests* say whether it can be chance. With enough rows every model
fails a test; a gate should refuse where the error is too large **and** a test says that it is no accident.

Source: Spiegelhalter, Statistics in Medicine 5 (1986), the z statistic; Cox, Biometrika 45 (1958), slope and
intercept; Kumar, Liang and Ma, NeurIPS (2019), the bias of binned errors; Rao, Proceedings of the Cambridge
Philosophical Society 44 (1948), the score test; Hotelling, Annals of Mathematical Statistics 2 (1931).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .units import gather

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Bin", "Calibration", "measure_calibration", "pick_top_label"]

BINS: Final = 10
"""Groups of equally many rows."""

CLIP: Final = 1e-6
"""Probabilities nearer to 0 or 1 count as this: their logit would outweigh all others."""

STEPS: Final = 50
"""Newton's steps for slope and intercept; a handful is enough unless the rows are separable."""

LARGEST: Final = 1e3
"""Slopes and intercepts beyond it have none (rows that are perfectly separated)."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of about the same probability.

    Attributes:
        rows: How many.
        predicted: Their mean probability.
        happened: Share that happened.
    """

    rows: int
    predicted: float
    happened: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model's probabilities compare with what happened.

    Attributes:
        ece: Expected calibration error, 0 to 1: root of the rows' mean squared distance between predicted and
            happened (by bins), less what chance adds.
        ece_raw: The usual one: mean absolute distance, bias included.
        slope: Of logit(happened) on logit(predicted); 1 is right, below it overconfident. NaN if none.
        intercept: What is added to the logit at slope 1; 0 is right, below it the model predicts too often.
        z: Spiegelhalter's statistic; beyond ±2 the Brier score is not what it would be if probabilities came
            true.
        p_value: Chance of slope and intercept as far from 1 and 0 as seen, if probabilities come true.
        rows: Rows counted.
        blocks: Independent units among them.
        bins: By rising probability.
    """

    ece: float
    ece_raw: float
    slope: float
    intercept: float
    z: float
    p_value: float
    rows: int
    blocks: int
    bins: tuple[Bin, ...]


def measure_calibration(
    truth: "NDArray[Any]",
    probability: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None" = None,
    *,
    bins: int = BINS,
) -> Calibration:
    """Measures how far probabilities come true.

    Args:
        truth: Whether it happened, shape (n,).
        probability: Predicted, in [0, 1], shape (n,). More than two classes: see :func:`pick_top_label`.
        blocks: Block of each row; rows of a block that depend on each other then count for less.
        bins: Groups of equally many rows.

    Raises:
        ValueError: Shapes differ, there are no rows, or a probability is none.

    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> p = generator.uniform(size=20_000)
    >>> right = measure_calibration(generator.uniform(size=20_000) < p, p)
    >>> wrong = measure_calibration(generator.uniform(size=20_000) < p**2, p)
    >>> right.ece < 0.01 < wrong.ece, right.p_value > 0.05 > wrong.p_value
    (True, True)
    """
    import numpy as np  # noqa: PLC0415 - heavy

    happened = np.asarray(truth, dtype=np.float64)
    p = np.asarray(probability, dtype=np.float64)
    if happened.shape != p.shape or p.ndim != 1 or not len(p):
        raise ValueError(f"a truth of shape {happened.shape} does not fit probabilities of shape {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a probability lies between 0 and 1")
    groups = _group(happened, p, bins)
    inner = np.clip(p, CLIP, 1 - CLIP)
    logit = np.log(inner / (1 - inner))
    weight = 1 - 2 * p
    z = _test_sum(weight * (happened - p), weight**2 * p * (1 - p), blocks)
    slope, intercept = _fit(happened, logit)
    p_value, units = _test_score(happened - inner, logit, inner * (1 - inner), blocks)
    return Calibration(
        ece=_correct_error(groups),
        ece_raw=sum(one.rows * abs(one.happened - one.predicted) for one in groups) / len(p),
        slope=slope,
        intercept=intercept,
        z=z,
        p_value=p_value,
        rows=len(p),
        blocks=units,
        bins=groups,
    )


def pick_top_label(
    truth: "NDArray[np.intp]", probabilities: "NDArray[np.float64]"
) -> "tuple[NDArray[np.bool_], NDArray[np.float64]]":
    """Of many classes the likeliest one: whether it was right, and how sure the model was.

    Args:
        truth: Place of the right class, shape (n,).
        probabilities: Shape (n, classes).

    Source: Guo, Pleiss, Sun and Weinberger, ICML (2017), confidence calibration.

    >>> import numpy as np
    >>> right, sure = pick_top_label(np.array([0, 2]), np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    >>> right.tolist(), sure.tolist()
    ([True, False], [0.7, 0.5])
    """
    import numpy as np  # noqa: PLC0415 - heavy

    top = probabilities.argmax(axis=1)
    return top == truth, np.asarray(probabilities[np.arange(len(top)), top])


def _group(happened: "NDArray[np.float64]", p: "NDArray[np.float64]", bins: int) -> tuple[Bin, ...]:
    """Equally many rows each; rows of one probability stay together, so that row order does not matter."""
    import numpy as np  # noqa: PLC0415 - heavy

    order = np.argsort(p, kind="stable")
    edges = np.linspace(0, len(p), min(bins, len(p)) + 1)[1:-1].astype(int)
    starts = np.unique(np.searchsorted(p[order], p[order][edges], side="left"))
    parts = [part for part in np.split(order, starts) if len(part)]
    return tuple(Bin(len(part), float(p[part].mean()), float(happened[part].mean())) for part in parts)


def _correct_error(groups: tuple[Bin, ...]) -> float:
    """Squared distances less the variance that a bin's share has by chance (rows by themselves)."""
    total = 0.0
    for one in groups:
        square = (one.happened - one.predicted) ** 2
        chance = one.happened * (1 - one.happened) / (one.rows - 1) if one.rows > 1 else square
        total += one.rows * (square - chance)
    return math.sqrt(max(total, 0.0) / sum(one.rows for one in groups))


def _test_sum(
    terms: "NDArray[np.float64]", variances: "NDArray[np.float64]", blocks: "NDArray[Any] | None"
) -> float:
    """A sum over its standard deviation; with blocks the one that their sums show."""
    import numpy as np  # noqa: PLC0415 - heavy

    variance = variances.sum() if blocks is None else (gather(terms, blocks).sums ** 2).sum()
    return float(terms.sum() / np.sqrt(variance)) if variance > 0 else 0.0


def _fit(happened: "NDArray[np.float64]", logit: "NDArray[np.float64]") -> tuple[float, float]:
    """Logistic regression of what happened on the logit; and the intercept where the slope is 1."""
    import numpy as np  # noqa: PLC0415 - heavy

    if happened.min() == happened.max():
        return math.nan, math.nan
    both = _solve(happened, np.column_stack([np.ones_like(logit), logit]), np.zeros_like(logit))
    one = _solve(happened, np.ones((len(logit), 1)), logit)
    return float(both[1]), float(one[0])


def _solve(
    happened: "NDArray[np.float64]", columns: "NDArray[np.float64]", offset: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Newton's method with halved steps where the likelihood would fall; NaN where there is no solution."""
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.special import expit  # noqa: PLC0415 - heavy

    found: NDArray[np.float64] = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        p = expit(columns @ found + offset)
        slope = columns.T @ (happened - p)
        curve = (columns * (p * (1 - p))[:, None]).T @ columns
        step = np.linalg.lstsq(curve, slope, rcond=None)[0]
        longest = float(np.abs(step).max())
        found = found + step * min(1.0, 2.0 / longest if longest > 0 else 1.0)
        if longest < 1e-9:  # noqa: PLR2004 - all digits that matter
            return found
        if np.abs(found).max() > LARGEST:
            break
    return np.full(columns.shape[1], np.nan)


def _test_score(
    misses: "NDArray[np.float64]",
    logit: "NDArray[np.float64]",
    variances: "NDArray[np.float64]",
    blocks: "NDArray[Any] | None",
) -> tuple[float, int]:
    """Score test of slope 1 and intercept 0, and the units it rests on; no fit needed, so it cannot diverge.

    Rows by themselves: the variance that the probabilities say, chi-square. Blocks: the variance their sums
    show, Hotelling's F with as many degrees of freedom as there are blocks.
    """
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.special import chdtrc, fdtrc  # noqa: PLC0415 - heavy

    columns = np.column_stack([np.ones_like(logit), logit])
    scores = columns * misses[:, None]
    if blocks is None:
        spread, units = (columns * variances[:, None]).T @ columns, len(logit)
    else:
        sums = np.column_stack([gather(part, blocks).sums for part in scores.T])
        spread, units = sums.T @ sums, len(sums)
    total = scores.sum(axis=0)
    rank = int(np.linalg.matrix_rank(spread))
    if not rank:
        return 1.0, units
    square = float(total @ np.linalg.pinv(spread) @ total)
    if blocks is None:
        return float(chdtrc(rank, square)), units
    if units <= rank:
        return 1.0, units
    inside = min(square, units * (1 - 1e-12))
    statistic = inside / (1 - inside / units) * (units - rank) / (rank * units)
    return float(fdtrc(rank, units - rank, statistic)), units
