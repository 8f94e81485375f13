"""The model of a stream: columns fitted once, on the first events, and an estimator that goes on learning.

What a category is, how a number is scaled and what stands for a missing one is decided by the warm-up: a
category that comes later is one nobody knows, so features never change their meaning under the estimator.
"""

import importlib
import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError, UsageError
from training.estimator import make_columns, make_estimator
from training.features import FeaturePlan
from training.fitting import has_probability
from training.job import JobSpec
from training.jobfile import guess

__all__ = ["Learner", "check_estimator", "make_online_estimator"]

RIVER: Final = "river."
KNOWN: Final = "SGDClassifier, SGDRegressor, MLPClassifier, GaussianNB or any river model"


class Learner:
    """A pipeline that learns row by row.

    Args:
        pipeline: ``columns``, fitted, and ``model``, which has learned at least once.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: Sorted; empty for regression.
    """

    def __init__(self, pipeline: Any, task: str, classes: tuple[Any, ...]) -> None:
        self.pipeline = pipeline
        self.task = task
        self.classes = classes
        self._columns, self._model = pipeline.named_steps["columns"], pipeline.named_steps["model"]
        self.has_probability = task != "regression" and has_probability(pipeline)

    @property
    def width(self) -> int:
        """How many numbers one score is."""
        return len(self.classes) if self.has_probability else 1

    @classmethod
    def begin(
        cls, spec: JobSpec, plan: FeaturePlan, features: pd.DataFrame, truth: NDArray[Any], kind: "_Kind"
    ) -> "Learner":
        """Fits the columns on the first events, then learns from them in their order.

        Args:
            spec: The job.
            plan: Its features.
            features: The row layer's, of the warm-up.
            truth: Of the same rows.
            kind: Task and classes.

        Raises:
            UsageError: The estimator does not accept its parameters, or gives no probabilities.
            DataError: It cannot learn from these rows.
        """
        from sklearn.pipeline import Pipeline  # noqa: PLC0415 - slow import

        task, classes = kind
        estimator = make_online_estimator(spec)
        columns = make_columns(spec, plan, estimator)
        encoded = _try(lambda: columns.fit_transform(features, truth), estimator)
        learner = cls(Pipeline([("columns", columns), ("model", estimator)]), task, classes)
        learner.learn(encoded, truth)
        learner.has_probability = task != "regression" and has_probability(learner.pipeline)
        try:
            learner.score(encoded[:1])
        except NotImplementedError as error:
            raise UsageError(
                f"{spec.model.estimator} gives no probabilities.", hint=f"Use {KNOWN}."
            ) from error
        return learner

    def encode(self, features: pd.DataFrame) -> Any:
        """What the estimator takes, row by row by itself; shape (n, columns)."""
        return self._columns.transform(features)

    def score(self, encoded: Any) -> NDArray[np.float64]:
        """Probability of each class, shape (n, classes); or the answer's place or number, shape (n, 1)."""
        with _trusting():
            if self.has_probability:
                return np.asarray(self._model.predict_proba(encoded), dtype=np.float64)
            return self.place(np.asarray(self._model.predict(encoded)))[:, None]

    def learn(self, encoded: Any, truth: NDArray[Any]) -> None:
        """Goes on learning from these rows, in their order."""
        begun = hasattr(self._model, "classes_") or self.task == "regression"
        classes = {} if begun else {"classes": np.asarray(self.classes)}
        with _trusting() if begun else nullcontext():
            _try(lambda: self._model.partial_fit(encoded, truth, **classes), self._model)

    def place(self, truth: NDArray[Any]) -> NDArray[np.float64]:
        """The number of each truth's class; of a regression, the number itself.

        Raises:
            DataError: A class nobody said there was.
        """
        if self.task == "regression":
            return np.asarray(truth, dtype=np.float64)
        places = {label: float(place) for place, label in enumerate(self.classes)}
        try:
            return np.asarray([places[label] for label in truth.tolist()], dtype=np.float64)
        except KeyError as error:
            raise DataError(
                f"The class {error.args[0]!r} arrived, and the stream knows "
                f"{', '.join(map(str, self.classes))} only.",
                hint="Name all classes in online.classes, and online.stream anew to begin again.",
            ) from error


_Kind = tuple[str, tuple[Any, ...]]


def check_estimator(spec: JobSpec) -> bool:
    """Refuses what cannot learn on; returns whether it is a classifier.

    Raises:
        UsageError: No such estimator, or it has no ``partial_fit``; a section that streams cannot follow.
    """
    from sklearn.base import is_classifier  # noqa: PLC0415 - slow import

    if spec.search is not None:
        raise UsageError("[search] does not go with --online.", hint="Search on a file first, then stream.")
    if spec.features.encoding == "target":
        raise UsageError(
            'features.encoding = "target" does not go with --online: it would see the truth first.'
        )
    return bool(is_classifier(make_online_estimator(spec)))


def make_online_estimator(spec: JobSpec) -> Any:
    """The unfitted estimator: scikit-learn's, with ``partial_fit``, or a river model in river's own wrapper.

    Raises:
        UsageError: There is none, it cannot learn on, or it does not know a parameter.
    """
    if spec.model.estimator.startswith(RIVER):
        return _make_river(spec)
    estimator = make_estimator(spec)
    if not hasattr(estimator, "partial_fit"):
        raise UsageError(
            f"model.estimator: {spec.model.estimator} cannot learn event by event (it has no partial_fit).",
            hint=f"With --online use {KNOWN}.",
        )
    return estimator


def _make_river(spec: JobSpec) -> Any:
    made = _import_river(spec.model.estimator)
    known = inspect.signature(made).parameters
    for name in spec.model.params:
        if name not in known:
            raise UsageError(
                f"model.params: {spec.model.estimator} has no parameter {name!r}.",
                hint=guess(name, known) or f"It has: {', '.join(known)}.",
            )
    seeded = {"seed": spec.job.seed} if "seed" in known else {}
    from river.compat import convert_river_to_sklearn  # noqa: PLC0415 - an extra

    try:
        return convert_river_to_sklearn(made(**{**seeded, **spec.model.params}))
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"model.params: {spec.model.estimator} cannot be made: {error}.") from error


def _import_river(path: str) -> Any:
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"model.estimator: there is no module {module_name!r} ({error}).",
            hint="pip install 'greenroom[online]'",
        ) from error
    made = getattr(module, name, None)
    if made is None or not hasattr(made, "learn_one") or not hasattr(made, "predict_one"):
        raise UsageError(
            f"model.estimator: {module_name} has no model {name!r}.", hint=guess(name, _list_names(module))
        )
    return made


def _list_names(module: Any) -> Sequence[str]:
    return [name for name in dir(module) if not name.startswith("_")]


def _trusting() -> Any:
    """Encoded rows were made by the pipeline itself: checking them costs more than learning from one."""
    from sklearn import config_context  # noqa: PLC0415 - slow import

    return config_context(assume_finite=True, skip_parameter_validation=True)


def _try(do: Any, estimator: Any) -> Any:
    from sklearn.utils._param_validation import InvalidParameterError  # noqa: PLC0415 - only home

    try:
        return do()
    except InvalidParameterError as error:
        raise UsageError(f"model.params: {str(error).splitlines()[0]}") from error
    except (ValueError, TypeError) as error:
        name = type(estimator).__name__
        raise DataError(f"{name} could not learn from these events: {str(error).splitlines()[0]}") from error
