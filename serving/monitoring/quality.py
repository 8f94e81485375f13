"""How good the answers were, once the truth is known; and how good they probably are while it is not.

Every row adds something to the metric (a loss; for the ROC AUC its influence), so that quality is a mean,
with an interval that knows of blocks, and two samples can be compared.

Source: Welch, Biometrika 34 (1947), two means of unequal spread; Satterthwaite, Biometrics 2 (1946), their
degrees of freedom; Guillory and others, ICCV (2021), and Garg and others, ICLR (2022), accuracy from the
model's own confidence, which is right exactly as far as its probabilities still come true.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import compute_loss, estimate, find_influence, gather

from .outcomes import PREDICTION, PROBABILITY, Task

__all__ = [
    "Judged",
    "Quality",
    "Worsening",
    "compare_quality",
    "estimate_quality",
    "judge_rows",
    "measure_quality",
]

ROC_AUC: Final = "roc_auc"
DRAWS: Final = 2_000
"""Bootstrap draws of an interval, where there are so few units that they add something to Student's t."""

FEW: Final = 2_000
"""Units up to which that is so."""

NEEDS_PROBABILITIES: Final = frozenset({"log_loss", "brier", ROC_AUC})
WITHIN_ONE: Final = frozenset({"error", ROC_AUC})
"""Metrics that are never above 1; none is below 0."""

CLIP: Final = 1e-15
"""As the loss itself does."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What each row with a truth adds to the metric.

    Attributes:
        metric: A loss of the registry, or ``roc_auc``.
        losses: Lower is better, also for the ROC AUC (its influence with the sign turned); shape (n,).
        blocks: Block of each row; None: every row by itself.
    """

    metric: str
    losses: NDArray[np.float64]
    blocks: NDArray[Any] | None = None

    @property
    def sign(self) -> int:
        """-1 where more is better."""
        return -1 if self.metric == ROC_AUC else 1

    @property
    def value(self) -> float:
        """The metric's value, in its own sign."""
        return self.sign * float(self.losses.mean())


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric's value with its interval (two-sided).

    Attributes:
        metric: Its name.
        value: In its own unit and sign.
        lower: Lower end; None where the units are too few for any.
        upper: Upper end.
        rows: Rows counted.
        units: Independent units among them.
    """

    metric: str
    value: float
    lower: float | None
    upper: float | None
    rows: int
    units: int


@dataclass(frozen=True, slots=True)
class Worsening:
    """How much worse one sample is than another.

    Attributes:
        amount: In the metric's unit; positive is worse, whatever the metric's sign.
        p_value: Chance of so much, or more, if it is no worse than by the margin. 1 where it cannot be known.
        lower: One-sided lower bound at the level asked for; None where it cannot be known.
    """

    amount: float
    p_value: float
    lower: float | None


def judge_rows(
    metric: str,
    truth: "pd.Series[Any]",
    answers: pd.DataFrame,
    task: Task,
    blocks: NDArray[Any] | None,
    *,
    quantile: float = 0.5,
) -> Judged | None:
    """What rows with a truth and an answer add to the metric; None where there is nothing to judge.

    A row of which only the answer was asked does not count for a metric of probabilities.

    Args:
        metric: As :func:`registry.choose_metric` names it.
        truth: Of n rows, as :func:`.outcomes.read_truth` leaves it; missing rows are left out.
        answers: Of the same rows, as :func:`.outcomes.read_answers` leaves them; likewise.
        task: What it is about.
        blocks: Block of each row.
        quantile: The quantile predicted (``pinball``).

    Raises:
        DataError: The metric does not fit task or answers.
    """
    names = _list_needed(metric, answers, task)
    if not names:
        return None
    usable = (truth.notna() & answers[names].notna().all(axis=1)).to_numpy()
    known, given = truth[usable].reset_index(drop=True), answers.loc[usable, names].reset_index(drop=True)
    own = None if blocks is None else blocks[usable]
    if not len(known):
        return None
    if metric != ROC_AUC:
        losses = compute_loss(metric, known, given, task=task.kind, classes=task.classes, quantile=quantile)
        return Judged(metric, losses, own)
    positive = (known == task.classes[1]).to_numpy(dtype=bool)
    if positive.all() or not positive.any():
        return None
    score = given[PROBABILITY + task.classes[1]].to_numpy(dtype=np.float64)
    return Judged(metric, -find_influence(positive, score), own)


def _list_needed(metric: str, answers: pd.DataFrame, task: Task) -> list[str]:
    """The columns that a metric looks at; none where an answer lacks one of them."""
    sure = [PROBABILITY + name for name in task.classes]
    said = [PREDICTION] if PREDICTION in answers else []
    wanted = said if not sure else sure if metric in NEEDS_PROBABILITIES else said or sure
    return wanted if all(name in answers for name in wanted) else []


def measure_quality(judged: Judged, *, confidence: float = 0.95) -> Quality:
    """The mean with its interval.

    >>> found = measure_quality(Judged("error", np.array([1.0] * 20 + [0.0] * 80)))
    >>> found.value, round(found.lower or 0, 2), round(found.upper or 0, 2)
    (0.2, 0.13, 0.29)
    """
    rows = len(judged.losses)
    units = rows if judged.blocks is None else len(np.unique(judged.blocks))
    value = judged.value
    if units < 2:  # noqa: PLR2004 - one unit does not scatter
        return Quality(judged.metric, value, None, None, rows, units)
    # against a rival who never loses anything, the improvement is the mean itself
    found = estimate(
        judged.losses,
        np.zeros(rows),
        judged.blocks,
        level=(1 - confidence) / 2,
        draws=DRAWS if units <= FEW else 0,
    )
    ends = sorted((judged.sign * found.lower, judged.sign * found.upper))
    most = 1.0 if judged.metric in WITHIN_ONE else math.inf
    lower, upper = (min(max(end, 0.0), most) if math.isfinite(end) else None for end in ends)
    return Quality(judged.metric, value, lower, upper, rows, units)


def compare_quality(before: Judged, after: Judged, *, margin: float, level: float) -> Worsening:
    """Whether ``after`` is worse than ``before`` by more than the margin; other rows, so unpaired.

    >>> generator = np.random.default_rng(0)
    >>> good, bad = (Judged("error", (generator.uniform(size=2000) < p).astype(float)) for p in (0.1, 0.2))
    >>> found = compare_quality(good, bad, margin=0.02, level=0.05)
    >>> round(found.amount, 2), found.p_value < 0.001
    (0.1, True)
    """
    from scipy.special import stdtr, stdtrit  # noqa: PLC0415 - heavy

    units = [gather(side.losses, side.blocks) for side in (before, after)]
    amount = units[1].mean - units[0].mean
    if min(len(one.sums) for one in units) < 2:  # noqa: PLR2004 - one unit does not scatter
        return Worsening(amount, 1.0, None)
    variances = [one.standard_error**2 for one in units]
    error = math.sqrt(sum(variances))
    if not error:
        return Worsening(amount, float(amount <= margin), amount)
    freedom = error**4 / sum(v**2 / one.freedom for v, one in zip(variances, units, strict=True))
    p_value = float(stdtr(freedom, -(amount - margin) / error))
    return Worsening(amount, p_value, amount + float(stdtrit(freedom, level)) * error)


def estimate_quality(metric: str, answers: pd.DataFrame, task: Task) -> float | None:
    """What the metric is if the probabilities come true; None where answers have none.

    It sees what inputs do to the model's own certainty. It does not see that the same inputs mean something
    else now (concept drift): the probabilities themselves are then wrong.

    Args:
        metric: The metric.
        answers: As :func:`.outcomes.read_answers` leaves them; rows without an answer are left out.
        task: What it is about.

    >>> sure = pd.DataFrame({"probability.0": [0.1, 0.2], "probability.1": [0.9, 0.8]})
    >>> round(estimate_quality("error", sure, Task("binary", ("0", "1"))), 3)
    0.15
    """
    names = [PROBABILITY + name for name in task.classes]
    if not names or any(name not in answers for name in names):
        return None
    given = answers[answers[names].notna().all(axis=1)]
    if not len(given):
        return None
    table = given[names].to_numpy(dtype=np.float64)
    if metric == ROC_AUC:
        return _expect_auc(table[:, 1])
    expected: dict[str, Callable[[], Any]] = {
        "log_loss": lambda: -(table * np.log(np.clip(table, CLIP, 1.0))).sum(axis=1),
        "brier": lambda: (1 - (table**2).sum(axis=1)) / (2 if len(names) == 2 else 1),  # noqa: PLR2004 - as the loss
        "error": lambda: 1 - table[np.arange(len(table)), _find_places(given, names, task.classes)],
    }
    return float(expected[metric]().mean()) if metric in expected else None


def _find_places(given: pd.DataFrame, names: Sequence[str], classes: Sequence[str]) -> NDArray[np.intp]:
    """Which class each row was answered: the answer, which a threshold may have made, or the likeliest."""
    likeliest = given[list(names)].to_numpy(dtype=np.float64).argmax(axis=1)
    if PREDICTION not in given:
        return np.asarray(likeliest)
    places = given[PREDICTION].map({name: place for place, name in enumerate(classes)})
    return np.where(places.notna(), places.fillna(0), likeliest).astype(np.intp)


def _expect_auc(positive: NDArray[np.float64]) -> float | None:
    """Every row counts as positive by its probability, and as negative by the rest; ties count half."""
    scores, places = np.unique(positive, return_inverse=True)
    ups, downs = np.bincount(places, positive), np.bincount(places, 1 - positive)
    if not ups.sum() or not downs.sum() or not len(scores):
        return None
    below = np.cumsum(downs) - downs / 2
    return float((ups * below).sum() / (ups.sum() * downs.sum()))
