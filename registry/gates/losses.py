"""What a row costs: the loss of each prediction, by task.

Source: log loss and Brier as in scikit-learn's user guide, section "Metrics and scoring".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from registry.errors import DataError
from registry.prediction import PREDICTION, PROBABILITY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Losses", "compute_losses"]

CLIP: Final = 1e-15
"""Smallest probability counted, as scikit-learn's ``log_loss`` did for float64."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of both models on the same rows, and what they are called."""

    metric: str
    holder: "NDArray[np.float64]"
    candidate: "NDArray[np.float64]"


def compute_losses(
    target: "pd.Series[Any]",
    holder: "pd.DataFrame",
    candidate: "pd.DataFrame",
    *,
    task: str,
    classes: Sequence[Any],
) -> Losses:
    """The finest loss that both models' answers allow.

    Regression: squared error. Classification: log loss where both answer with probabilities, else error
    (0 or 1). Answers are as :func:`registry.prediction.normalise` leaves them, n rows each.

    Raises:
        DataError: A row's target is missing or none of the classes, or an answer is missing.
    """
    if task == "regression":
        return Losses("squared_error", _square(target, holder), _square(target, candidate))
    names = [str(value) for value in classes]
    truth = _place_classes(target, names)
    both = all(PROBABILITY + names[0] in answers for answers in (holder, candidate))
    if both:
        return Losses("log_loss", _log(truth, holder, names), _log(truth, candidate, names))
    return Losses("error", _miss(truth, holder, names), _miss(truth, candidate, names))


def _square(target: "pd.Series[Any]", answers: "pd.DataFrame") -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    try:
        truth = target.to_numpy(dtype="float64", na_value=np.nan)
        losses = (truth - answers[PREDICTION].to_numpy(dtype="float64", na_value=np.nan)) ** 2
    except (TypeError, ValueError) as error:
        raise DataError(f"Column {target.name!r} or a prediction of it is no number: {error}.") from error
    _check_finite(losses)
    return np.asarray(losses)


def _log(truth: "NDArray[np.intp]", answers: "pd.DataFrame", names: list[str]) -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    table = answers[[PROBABILITY + name for name in names]].to_numpy(dtype="float64")
    losses = -np.log(np.clip(table[np.arange(len(truth)), truth], CLIP, 1.0))
    _check_finite(losses)
    return np.asarray(losses)


def _miss(truth: "NDArray[np.intp]", answers: "pd.DataFrame", names: list[str]) -> "NDArray[np.float64]":
    import numpy as np  # noqa: PLC0415 - heavy

    if PREDICTION in answers:
        places = _place_answers(answers[PREDICTION], names)
    else:
        places = answers[[PROBABILITY + name for name in names]].to_numpy().argmax(axis=1)
    return np.asarray((places != truth).astype("float64"))


def _place_classes(target: "pd.Series[Any]", names: list[str]) -> "NDArray[np.intp]":
    places = _place_answers(target, names)
    wrong = (places < 0).nonzero()[0]
    if len(wrong):
        raise DataError(
            f"Row {wrong[0]}, column {target.name!r}: {target.iloc[wrong[0]]} is none of the classes "
            f"{', '.join(names)}."
        )
    return places


def _place_answers(answers: "pd.Series[Any]", names: list[str]) -> "NDArray[np.intp]":
    """Place of each answer among the classes, -1 for a stranger; 1, 1.0 and True are one class."""
    import numpy as np  # noqa: PLC0415 - heavy

    table = {name: place for place, name in enumerate(names)}
    table |= {_plain(name): place for place, name in enumerate(names)}
    return np.array(
        [table.get(str(value), table.get(_plain(str(value)), -1)) for value in answers], dtype=np.intp
    )


def _plain(text: str) -> str:
    return {"True": "1", "False": "0"}.get(text, text.removesuffix(".0"))


def _check_finite(losses: "NDArray[np.float64]") -> None:
    import numpy as np  # noqa: PLC0415 - heavy

    wrong = (~np.isfinite(losses)).nonzero()[0]
    if len(wrong):
        raise DataError(f"Row {wrong[0]}: the target or a prediction is missing.")
