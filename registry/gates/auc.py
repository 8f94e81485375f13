"""The area under the ROC curve as a mean over rows, so that it can be compared like any mean.

Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), placements; Sun and Xu, IEEE Signal
Processing Letters 21 (2014), placements by ranks; Obuchowski, Biometrics 53 (1997), their sums over clusters;
Jaeckel, Bell Laboratories Memorandum (1972), influence in place of drawing a statistic again.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["find_auc", "find_influence"]


def find_auc(truth: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> float:
    """Chance that a positive row scores higher than a negative one; ties count half.

    Args:
        truth: Whether a row is positive, shape (n,); both kinds are there.
        score: Higher for what looks positive, shape (n,).

    >>> import numpy as np
    >>> find_auc(np.array([True, False, True, False]), np.array([0.9, 0.4, 0.4, 0.1]))
    0.875
    """
    return float(_place(truth, score)[truth].mean())


def find_influence(truth: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """What each row adds to the AUC, such that the mean over rows is the AUC itself; shape (n,).

    >>> import numpy as np
    >>> truth = np.array([True, False, True, False])
    >>> found = find_influence(truth, np.array([0.9, 0.4, 0.4, 0.1]))
    >>> found.tolist(), float(found.mean())
    ([1.125, 0.625, 0.625, 1.125], 0.875)
    """
    import numpy as np  # noqa: PLC0415 - heavy

    places = _place(truth, score)
    area = float(places[truth].mean())
    shares = np.where(truth, len(truth) / truth.sum(), len(truth) / (~truth).sum())
    return np.asarray(area + shares * (places - area))


def _place(truth: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Of each row, the share of the other kind that it is on the right side of."""
    import numpy as np  # noqa: PLC0415 - heavy
    from scipy.stats import rankdata  # noqa: PLC0415 - heavy

    ranks = rankdata(score)
    places = np.empty(len(truth))
    positive, negative = ranks[truth], ranks[~truth]
    places[truth] = (positive - rankdata(score[truth])) / len(negative)
    places[~truth] = 1 - (negative - rankdata(score[~truth])) / len(positive)
    return places
