"""Finds single features that tell the answer nearly perfectly: usually the answer itself in other words.

Each feature is cut into bins on one half of the rows (a sample) and judged on the other half, so that an id
which is different in every row does not look like knowledge.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .dataset import Target

__all__ = ["SAMPLE_ROWS", "find_suspects"]

SAMPLE_ROWS: Final = 5_000
BINS: Final = 50
THRESHOLD: Final = 0.99
"""ROC AUC, accuracy or squared correlation that no honest single feature of real data reaches."""
MIN_ROWS: Final = 50
"""With fewer rows nearly anything can be perfect by chance."""


def find_suspects(features: pd.DataFrame, target: Target) -> list[str]:
    """One sentence for each feature that alone predicts the target nearly perfectly, with its score.

    Args:
        features: Rows after the row layer, in random order; a sample of ``SAMPLE_ROWS`` is plenty.
        target: Their answers.
    """
    if len(features) < MIN_ROWS:
        return []
    truth = target.truth.to_numpy()
    sentences = []
    for name in features.columns:
        score, measure = _score(features[name].reset_index(drop=True), truth, target)
        if score >= THRESHOLD:
            sentences.append(
                f"The feature {name!r} alone predicts {target.name!r} nearly perfectly "
                f"({measure} {score:.3f}). Is it known before the answer is?"
            )
    return sentences


def _score(values: "pd.Series[Any]", truth: NDArray[Any], target: Target) -> tuple[float, str]:
    if target.task == "regression":
        return _score_regression(values, truth.astype(np.float64)), "squared correlation"
    half = len(values) // 2
    codes = _to_bins(values)
    if target.task == "binary":
        hits = (truth == target.classes[-1]).astype(np.float64)
        return _score_binary(codes, hits, half), "ROC AUC"
    return _score_multiclass(codes, truth, half), "accuracy"


def _to_bins(values: "pd.Series[Any]") -> NDArray[np.int64]:
    """Bin of each row; a missing value is a bin of its own."""
    if values.dtype.kind == "f" and values.nunique() > BINS:
        return pd.qcut(values, BINS, labels=False, duplicates="drop").fillna(-1).to_numpy().astype(np.int64)
    return pd.factorize(values)[0].astype(np.int64)


def _score_binary(codes: NDArray[np.int64], hits: NDArray[np.float64], half: int) -> float:
    """ROC AUC on the second half of the share of hits per bin on the first half."""
    bins = codes + 1  # -1, missing, is a bin too
    size = int(bins.max()) + 1
    seen = np.bincount(bins[:half], minlength=size)
    shares = np.bincount(bins[:half], weights=hits[:half], minlength=size) / np.maximum(seen, 1)
    guesses = np.where(seen > 0, shares, hits[:half].mean())[bins[half:]]
    return _measure_auc(guesses, hits[half:])


def _measure_auc(guesses: NDArray[np.float64], hits: NDArray[np.float64]) -> float:
    """Mann and Whitney: the share of pairs in which the hit is guessed higher, ties counting half."""
    _, places = np.unique(guesses, return_inverse=True)
    positives = np.bincount(places, weights=hits)
    negatives = np.bincount(places, weights=1 - hits)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return 0.0
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def _score_multiclass(codes: NDArray[np.int64], truth: NDArray[Any], half: int) -> float:
    common = pd.Series(truth[:half]).groupby(codes[:half]).agg(lambda group: group.value_counts().index[0])
    guesses = pd.Series(codes[half:]).map(common)
    return float(np.mean(guesses.to_numpy() == truth[half:]))


def _score_regression(values: "pd.Series[Any]", truth: NDArray[np.float64]) -> float:
    if values.dtype.kind != "f":
        return 0.0
    known = values.notna().to_numpy()
    numbers = values.to_numpy(dtype=np.float64)[known]
    if known.mean() < THRESHOLD or np.ptp(numbers) == 0 or np.ptp(truth[known]) == 0:
        return 0.0
    return float(np.corrcoef(numbers, truth[known])[0, 1] ** 2)
