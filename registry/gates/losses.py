"""What a row costs: the loss of each prediction, by metric and task.

The ROC AUC is no mean of losses: see :func:`registry.gates.bootstrap.estimate_auc`.

Source: log loss and Brier score as in scikit-learn's user guide, section "Metrics and scoring"; Brier,
Monthly Weather Review 78 (1950); Koenker and Bassett, Econometrica 46 (1978), the pinball loss of a quantile.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from registry.errors import DataError
from registry.prediction import PREDICTION, PROBABILITY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "LOSSES",
    "choose_metric",
    "compute_loss",
    "has_probabilities",
    "place_classes",
]

LOSSES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "log_loss": ("binary", "multiclass"),
        "brier": ("binary", "multiclass"),
        "error": ("binary", "multiclass"),
        "squared_error": ("regression",),
        "absolute_error": ("regression",),
        "pinball": ("regression",),
    }
)
"""Losses of single rows, and the tasks that each fits."""

NEEDS_PROBABILITIES: Final = frozenset({"log_loss", "brier", "roc_auc"})

CLIP: Final = 1e-15
"""Smallest probability counted, as scikit-learn's ``log_loss`` did for float64."""

TWO: Final = 2
"""Classes of which one probability says all."""


def choose_metric(
    name: str = "auto", *, task: str, classes: Sequence[Any], answers: "Sequence[pd.DataFrame]"
) -> str:
    """The metric asked for, if task and answers allow it; ``auto`` is the finest that they allow.

    Regression: squared error. Classification: log loss where all models answer with probabilities, else the
    error rate.

    Args:
        name: ``auto``, a key of :data:`LOSSES` or ``roc_auc``.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: In order.
        answers: Of every model compared, as :func:`registry.prediction.normalise` leaves them.

    Raises:
        DataError: The metric is unknown, or fits not the task or the answers.

    >>> choose_metric("auto", task="regression", classes=(), answers=())
    'squared_error'
    """
    both = all(has_probabilities(given, classes) for given in answers)
    if name == "auto":
        return "squared_error" if task == "regression" else "log_loss" if both else "error"
    fits = [one for one, tasks in LOSSES.items() if task in tasks] + ["roc_auc"] * (task == "binary")
    if name not in fits:
        raise DataError(f"The metric {name!r} does not fit a {task} model.", hint=f"Use {', '.join(fits)}.")
    if name in NEEDS_PROBABILITIES and not both:
        rest = [one for one in fits if one not in NEEDS_PROBABILITIES]
        raise DataError(
            f"The metric {name!r} needs probabilities, and not all models answer with them.",
            hint=f"Use {', '.join(rest)}.",
        )
    return name


def has_probabilities(answers: "pd.DataFrame", classes: Sequence[Any]) -> bool:
    """Whether a model answered with a probability for every class."""
    return bool(classes) and all(f"{PROBABILITY}{name}" in answers for name in classes)


def compute_loss(
    metric: str,
    target: "pd.Series[Any]",
    answers: "pd.DataFrame",
    *,
    task: str,
    classes: Sequence[Any],
    quantile: float = 0.5,
) -> "NDArray[np.float64]":
    """Loss of each row, shape (n,), in the metric's own unit; lower is better.

    Args:
        metric: A key of :data:`LOSSES`.
        target: The truth, n rows.
        answers: The model's, n rows, as :func:`registry.prediction.normalise` leaves them.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: In order.
        quantile: The quantile predicted (``pinball``), in (0, 1).

    Raises:
        DataError: The metric does not fit the task; a row's target is missing or none of the classes; an
            answer is missing.
    """
    if task not in LOSSES.get(metric, ()):
        fits = [one for one, tasks in LOSSES.items() if task in tasks]
        raise DataError(f"The metric {metric!r} does not fit a {task} model.", hint=f"Use {', '.join(fits)}.")
    if task == "regression":
        return _measure_distance(metric, _subtract(target, answers), quantile)
    names = [str(value) for value in classes]
    truth = place_classes(target, names)
    if metric == "error":
        return _miss(truth, answers, names)
    table = answers[[PROBABILITY + name for name in names]].to_numpy(dtype="float64")
    return _log(truth, table) if metric == "log_loss" else _square(truth, table)


def place_classes(target: "pd.Series[Any]", names: Sequence[str]) -> "NDArray[np.intp]":
    """Place of each row's truth among the classes, shape (n,); 1, 1.0 and True are one class.

    Raises:
        DataError: A truth is missing or none of the classes.
    """
    places = place_answers(target, names)
    wrong = (places < 0).nonzero()[0]
    if len(wrong):
        raise DataError(
            f"Row {wrong[0]}, column {target.name!r}: {target.iloc[wrong[0]]} is none of the classes "
            f"{', '.join(names)}."
        )
    return places


def place_answers(answers: "pd.Series[Any]", names: Sequence[str]) -> "NDArray[np.intp]":
    """Place of each answer among the classes, -1 for a stranger; 1, 1.0 and True are one class."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    table = {name: place for place, name in enumerate(names)}
    table |= {plain(name): place for place, name in enumerate(names)}
    codes, values = pd.factorize(answers, use_na_sentinel=False)
    places = [table.get(str(value), table.get(plain(str(value)), -1)) for value in values]
    return np.array(places, dtype=np.intp)[codes]


def plain(text: str) -> str:
    """One spelling of a class: 1, 1.0 and True are one.

    >>> [plain(text) for text in ("1.0", "True", "cat")]
    ['1', '1', 'cat']
    """
    return {"True": "1", "False": "0"}.get(text, text.removesuffix(".0"))


def _subtract(target: "pd.Series[Any]", answers: "pd.DataFrame") -> "NDArray[np.float64]":
    """Truth minus prediction."""
    import numpy as np  # noqa: PLC0415 - heavy

    try:
        truth = target.to_numpy(dtype="float64", na_value=np.nan)
        misses = truth - answers[PREDICTION].to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"Column {target.name!r} or a prediction of it is no number: {error}.") from error
    _check_finite(misses)
    return np.asarray(misses)


def _measure_distance(metric: str, misses: "NDArray[np.float64]", quantile: float) -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    if metric == "squared_error":
        losses = misses**2
    elif metric == "absolute_error":
        losses = np.abs(misses)
    else:
        losses = np.maximum(quantile * misses, (quantile - 1) * misses)
    _check_finite(losses)
    return np.asarray(losses)


def _log(truth: "NDArray[np.intp]", table: "NDArray[np.float64]") -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    losses = -np.log(np.clip(table[np.arange(len(truth)), truth], CLIP, 1.0))
    _check_finite(losses)
    return np.asarray(losses)


def _square(truth: "NDArray[np.intp]", table: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Squared distances summed over classes; of two classes one distance, as scikit-learn counts."""
    import numpy as np  # noqa: PLC0415 - heavy

    rows = np.arange(len(truth))
    losses = (table**2).sum(axis=1) - 2 * table[rows, truth] + 1
    _check_finite(losses)
    return np.asarray(losses / (2 if table.shape[1] == TWO else 1))


def _miss(truth: "NDArray[np.intp]", answers: "pd.DataFrame", names: list[str]) -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    return np.asarray((label(answers, names) != truth).astype("float64"))


def label(answers: "pd.DataFrame", names: Sequence[str]) -> "NDArray[np.intp]":
    """Place of each answer's label among the classes: the one given, or the likeliest."""
    import numpy as np  # noqa: PLC0415 - heavy

    if PREDICTION in answers:
        return place_answers(answers[PREDICTION], names)
    return np.asarray(answers[[PROBABILITY + name for name in names]].to_numpy().argmax(axis=1))


def _check_finite(losses: "NDArray[np.float64]") -> None:
    import numpy as np  # noqa: PLC0415 - heavy

    wrong = (~np.isfinite(losses)).nonzero()[0]
    if len(wrong):
        raise DataError(f"Row {wrong[0]}: the target or a prediction is missing.")
