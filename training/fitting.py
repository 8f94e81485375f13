"""Fits the pipeline, and answers the held-out rows with it."""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError, UsageError

from .engine import is_spread, spread
from .estimator import make_columns, make_estimator
from .features import FeaturePlan
from .job import JobSpec
from .result import Outcome, TrainingPlan

__all__ = ["answer", "fit_pipeline", "has_probability", "make_features", "make_pipeline"]

_LIKELIEST: Final = (
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "sklearn.ensemble._gb.GradientBoostingClassifier",
    "sklearn.ensemble._forest.",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.tree._classes.DecisionTreeClassifier",
)
"""Classifiers whose answer is the likeliest class, up to rounding; others (SVC, thresholds) may differ."""
TIE: Final = 1e-6
"""Probabilities nearer to each other than this may be a tie that rounding decided: the model decides."""


def make_features(plan: TrainingPlan, rows: pd.DataFrame) -> pd.DataFrame:
    """The row layer's features of some rows; the same file as in the artifact makes them."""
    return pd.DataFrame(make_row_layer(plan.features).transform(rows))


def make_row_layer(features: FeaturePlan) -> Any:
    """The row layer itself."""
    from .artifact.layers import RowFeatures  # noqa: PLC0415 - imports mlflow

    return RowFeatures(features.layers, features.tables)


def make_pipeline(spec: JobSpec, features: FeaturePlan, **params: Any) -> Any:
    """The unfitted pipeline after the row layer: ``columns``, then ``model``."""
    from sklearn.pipeline import Pipeline  # noqa: PLC0415 - slow import

    estimator = make_estimator(spec, **params)
    return Pipeline([("columns", make_columns(spec, features, estimator)), ("model", estimator)])


def fit_pipeline(pipeline: Any, features: pd.DataFrame, truth: Any) -> Any:
    """Fits it and returns it; on a cluster, if there is one, what the estimator fits in parallel.

    Raises:
        UsageError: The estimator does not accept its parameters' values.
        DataError: It does not accept the data.
    """
    from sklearn.utils._param_validation import InvalidParameterError  # noqa: PLC0415 - only home

    try:
        return _fit_there(pipeline, features, truth) if is_spread() else pipeline.fit(features, truth)
    except InvalidParameterError as error:
        raise UsageError(f"model.params: {_first_line(error)}") from error
    except (ValueError, TypeError) as error:
        name = type(pipeline.named_steps["model"]).__name__
        raise DataError(f"{name} could not learn from these rows: {_first_line(error)}") from error


def _fit_there(pipeline: Any, features: pd.DataFrame, truth: Any) -> Any:
    """Only the estimator's own loops are worth a cluster; columns are prepared here."""
    encoded = pipeline.named_steps["columns"].fit_transform(features, truth)
    with spread():
        pipeline.named_steps["model"].fit(encoded, truth)
    return pipeline


def has_probability(pipeline: Any) -> bool:
    """Whether it says how sure it is."""
    return hasattr(pipeline, "predict_proba")


def answer(pipeline: Any, features: pd.DataFrame, truth: Any, plan: TrainingPlan) -> Outcome:
    """Answers rows after the row layer; truth beside it."""
    task, classes = plan.target.task, plan.target.classes
    if task == "regression" or not has_probability(pipeline):
        return Outcome(task, classes, np.asarray(truth), np.asarray(pipeline.predict(features)), None)
    encoded = pipeline.named_steps["columns"].transform(features)
    model = pipeline.named_steps["model"]
    probabilities = np.asarray(model.predict_proba(encoded), dtype=np.float64)
    return Outcome(task, classes, np.asarray(truth), _label(model, encoded, probabilities), probabilities)


def _label(model: Any, encoded: Any, probabilities: NDArray[np.float64]) -> NDArray[Any]:
    """What ``model.predict`` says, without asking it where that is certain to be the likeliest class."""
    if not f"{type(model).__module__}.{type(model).__name__}".startswith(_LIKELIEST):
        return np.asarray(model.predict(encoded))
    answers: NDArray[Any] = np.asarray(model.classes_)[probabilities.argmax(axis=1)]
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    close = np.flatnonzero(top[:, 1] - top[:, 0] < TIE)
    if len(close):
        answers[close] = model.predict(encoded[close])
    return answers


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
