"""The estimator by its import path, its parameters checked, and the columns prepared as it needs them."""

import importlib
import inspect
from typing import Any, Final

from registry import UsageError

from .features import FeaturePlan
from .job import JobSpec
from .jobfile import guess

__all__ = ["import_estimator", "make_columns", "make_estimator", "takes_missing"]

FOLDS: Final = 5
"""Folds of the target encoding's cross-fitting: scikit-learn's own number."""

MAX_ONEHOT_CATEGORIES: Final = 100
"""Categories beyond the hundred most frequent share one column, so that an id cannot make a million."""
_TREES: Final = ("sklearn.ensemble.", "sklearn.tree.", "lightgbm.", "xgboost.", "catboost.")


def make_estimator(spec: JobSpec, **extra: Any) -> Any:
    """An unfitted estimator; ``random_state`` is the job's seed unless the job says otherwise.

    Args:
        spec: The job.
        **extra: Parameters of a search trial, over the job's own.

    Raises:
        UsageError: No such class, or it does not know a parameter.
    """
    made = import_estimator(spec.model.estimator)
    known = inspect.signature(made).parameters
    params = {**spec.model.params, **extra}
    if "random_state" in known and "random_state" not in params:
        params["random_state"] = spec.job.seed
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in params:
        if name not in known and not open_ended:
            raise UsageError(
                f"model.params: {spec.model.estimator} has no parameter {name!r}.",
                hint=guess(name, known) or f"It has: {', '.join(known)}.",
            )
    try:
        return made(**params)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.params: {spec.model.estimator} cannot be made: {error}.") from error


def import_estimator(path: str) -> Any:
    """The class behind an import path.

    Raises:
        UsageError: The module or the class does not exist, or it has no ``fit`` and ``predict``.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise UsageError(
            f"model.estimator {path!r} is no import path.",
            hint="For example: sklearn.linear_model.LogisticRegression.",
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"model.estimator: there is no module {module_name!r} ({error}).",
            hint="Is the package installed?",
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"model.estimator: {module_name} has no {name!r}.", hint=guess(name, dir(module)))
    if not (callable(found) and hasattr(found, "fit") and hasattr(found, "predict")):
        raise UsageError(f"model.estimator: {path} is no estimator: it lacks fit or predict.")
    return found


def takes_missing(estimator: Any) -> bool:
    """Whether the estimator itself handles missing numbers."""
    from sklearn.utils import get_tags  # noqa: PLC0415 - slow import

    return bool(get_tags(estimator).input_tags.allow_nan)


def make_columns(spec: JobSpec, plan: FeaturePlan, estimator: Any) -> Any:
    """The unfitted ColumnTransformer: from the row layer's features to the numbers the estimator takes.

    Numbers: median where missing and standardised, unless a tree is grown, which needs no scale, nor filling
    if it takes missing numbers. Categories: ordinal codes for trees, one column each otherwise.
    """
    from sklearn.base import is_regressor  # noqa: PLC0415 - slow import
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415

    path = f"{type(estimator).__module__}."
    is_tree = path.startswith(_TREES)
    steps: list[tuple[str, Any, list[str]]] = []
    if plan.numeric:
        numbers = _make_numbers(scale=not is_tree, fill=not takes_missing(estimator))
        steps.append(("numbers", numbers, list(plan.numeric)))
    if plan.categorical:
        encoding = spec.features.encoding
        if encoding == "auto":
            encoding = "ordinal" if is_tree else "onehot"
        encoder = _make_encoder(encoding, spec.job.seed, is_regression=is_regressor(estimator))
        steps.append(("categories", encoder, list(plan.categorical)))
    return ColumnTransformer(steps, sparse_threshold=0.0, verbose_feature_names_out=False)


def _make_numbers(*, scale: bool, fill: bool) -> Any:
    from sklearn.impute import SimpleImputer  # noqa: PLC0415 - slow import
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    steps = []
    if fill:
        steps.append(SimpleImputer(strategy="median", keep_empty_features=True))
    if scale:
        steps.append(StandardScaler())
    return make_pipeline(*steps) if steps else "passthrough"


def _make_encoder(encoding: str, seed: int, *, is_regression: bool) -> Any:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder  # noqa: PLC0415 - slow import

    if encoding == "onehot":
        return OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=MAX_ONEHOT_CATEGORIES, sparse_output=False
        )
    if encoding == "target":
        return _make_target_encoder(TargetEncoder, seed, is_regression=is_regression)
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)


def _make_target_encoder(encoder: Any, seed: int, *, is_regression: bool) -> Any:
    """Seeded cross-fitting; scikit-learn 1.9 takes the folds, before it took the seed."""
    from inspect import signature  # noqa: PLC0415 - beside its user

    from sklearn.model_selection import KFold, StratifiedKFold  # noqa: PLC0415 - slow import

    if signature(encoder).parameters["shuffle"].default is True:
        return encoder(random_state=seed)
    folds = KFold if is_regression else StratifiedKFold
    return encoder(cv=folds(FOLDS, shuffle=True, random_state=seed))
