"""What scikit-learn's estimators compute, as a plan's estimator and head; refuses every other one.

An estimator is known by its exact class, for a subclass may answer differently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import NotCompilableError
from .trees import Tree, collect_splits, make_constant, make_graph, read_boosted, read_tree

__all__ = ["CompiledModel", "compile_estimator"]

MAX_LEAVES: Final = 2**24
"""Numbers of leaves up to here are exact in float32."""


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """An estimator as parts of a plan.

    Attributes:
        estimator: For :func:`.estimators.make_score`.
        head: For :func:`.answers.make_answer`.
        takes_missing: Whether it answers rows with missing numbers.
        arrays: Its numbers.
        graph: Its trees.
        splits: Thresholds of its trees by feature.
    """

    estimator: Mapping[str, Any]
    head: Mapping[str, Any]
    takes_missing: bool = False
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    graph: bytes = b""
    splits: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)


def compile_estimator(estimator: Any) -> CompiledModel:
    """Compiles a fitted estimator.

    Raises:
        NotCompilableError: It is not known, or used in a way that is not.
    """
    name = type(estimator).__name__
    known = _KNOWN.get(name) if type(estimator).__module__.startswith("sklearn.") else None
    if known is None:
        raise NotCompilableError(
            f"The estimator {type(estimator).__module__.partition('.')[0]}.{name} is not known."
        )
    return known(estimator)


def _classify(labels: Any, decide: str, probability: str | None) -> dict[str, Any]:
    plain = np.asarray(labels).tolist()
    if not all(isinstance(label, str | int | float | bool) for label in plain):
        raise NotCompilableError("The classes are neither text nor numbers.")
    if len(plain) < 2:  # noqa: PLR2004
        raise NotCompilableError("There is only one class.")
    return {"task": "classification", "labels": plain, "decide": decide, "probability": probability}


def _regress(*, flat: bool = True, link: str = "identity") -> dict[str, Any]:
    return {"task": "regression", "flat": flat, "link": link, "probability": None}


def _compile_linear(estimator: Any, head: Mapping[str, Any]) -> CompiledModel:
    coef = np.asarray(estimator.coef_)
    matrix = np.atleast_2d(coef).T  # in its memory order BLAS adds as it does for scikit-learn
    intercept = np.broadcast_to(np.asarray(estimator.intercept_, dtype=coef.dtype), (matrix.shape[1],)).copy()
    if coef.dtype != np.float64 or not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise NotCompilableError("The coefficients are not finite numbers of 64 bits.")
    return CompiledModel({"kind": "linear"}, head, arrays={"coef": matrix, "intercept": intercept})


def _compile_linear_regression(estimator: Any) -> CompiledModel:
    return _compile_linear(estimator, _regress(flat=np.ndim(estimator.coef_) == 1))


def _compile_sgd_regression(estimator: Any) -> CompiledModel:
    return _compile_linear(estimator, _regress())


def _compile_log_link(estimator: Any) -> CompiledModel:
    link = type(estimator._get_loss().link).__name__  # noqa: SLF001 - no public name
    return _compile_linear(estimator, _regress(link="exp" if link == "LogLink" else "identity"))


def _compile_linear_classifier(estimator: Any) -> CompiledModel:
    classes = estimator.classes_
    if isinstance(classes, list):
        raise NotCompilableError("It answers several labels at once.")
    is_binary = len(classes) == 2  # noqa: PLR2004
    name = type(estimator).__name__
    probability = None
    if name.startswith("LogisticRegression"):
        probability = "sigmoid" if is_binary else "softmax"
        if getattr(estimator, "multi_class", None) == "ovr" and not is_binary:
            probability = "one_against_rest"
    elif name == "SGDClassifier" and estimator.loss == "log_loss":
        probability = "sigmoid" if is_binary else "one_against_rest"
    elif name == "SGDClassifier" and estimator.loss == "modified_huber":
        probability = "huber" if is_binary else "huber_rest"
    return _compile_linear(
        estimator, _classify(classes, "above_zero" if is_binary else "largest", probability)
    )


def _compile_network(estimator: Any) -> CompiledModel:
    arrays = {f"weights_{i}": np.asarray(part) for i, part in enumerate(estimator.coefs_)}
    arrays |= {f"biases_{i}": np.asarray(part) for i, part in enumerate(estimator.intercepts_)}
    if any(part.dtype != np.float64 or not np.isfinite(part).all() for part in arrays.values()):
        raise NotCompilableError("The weights are not finite numbers of 64 bits.")
    plan = {
        "kind": "network",
        "layers": len(estimator.coefs_),
        "hidden": estimator.activation,
        "last": estimator.out_activation_,
    }
    if type(estimator).__name__ == "MLPRegressor":
        head = _regress(flat=estimator.n_outputs_ == 1)
    elif estimator._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 - no public name
        raise NotCompilableError("It answers several labels at once.")
    else:
        is_binary = estimator.n_outputs_ == 1
        head = _classify(
            estimator.classes_, "above_half" if is_binary else "largest", "second" if is_binary else "given"
        )
    return CompiledModel(plan, head, arrays=arrays)


def _check_single(estimator: Any) -> None:
    if estimator.n_outputs_ != 1:
        raise NotCompilableError("It answers several things at once.")


def _members(estimator: Any) -> list[Any]:
    return list(getattr(estimator, "estimators_", None) or [estimator])


def _accepts_missing(estimator: Any) -> bool:
    """Whether scikit-learn lets missing values through to these trees."""
    from sklearn.utils import get_tags  # noqa: PLC0415 - loaded with the model

    return bool(get_tags(estimator).input_tags.allow_nan)


def _compile_forest_classifier(estimator: Any) -> CompiledModel:
    _check_single(estimator)
    members = _members(estimator)
    values, trees = [], []
    start = 0
    for target, member in enumerate(members):
        tree = member.tree_
        values.append(np.asarray(tree.value)[:, 0, :])
        trees.append(read_tree(tree, start + np.arange(tree.node_count, dtype=np.float64), target))
        start += tree.node_count
    if start > MAX_LEAVES:
        raise NotCompilableError("Its trees have too many leaves.")
    takes_missing = _accepts_missing(estimator)
    graph = make_graph(
        trees,
        features=estimator.n_features_in_,
        targets=len(trees),
        single=True,
        takes_missing=takes_missing,
    )
    leaves = np.concatenate(values)
    if not np.allclose(leaves.sum(axis=1), 1.0):
        raise NotCompilableError("Its leaves hold counts; it was trained with scikit-learn before 1.3.")
    plan = {"kind": "leaves", "trees": len(trees)}
    head = _classify(estimator.classes_, "largest", "given")
    return CompiledModel(plan, head, takes_missing, {"leaves": leaves}, graph, collect_splits(trees))


def _compile_forest_regressor(estimator: Any) -> CompiledModel:
    _check_single(estimator)
    members = [member.tree_ for member in _members(estimator)]
    trees = [read_tree(tree, np.asarray(tree.value)[:, 0, 0], 0) for tree in members]
    takes_missing = _accepts_missing(estimator)
    graph = make_graph(
        trees, features=estimator.n_features_in_, targets=1, single=False, takes_missing=takes_missing
    )
    average = len(trees) if hasattr(estimator, "estimators_") else 0
    return CompiledModel(
        {"kind": "sum", "rounded": True, "average": average},
        _regress(),
        takes_missing,
        graph=graph,
        splits=collect_splits(trees),
    )


def _compile_boosting(estimator: Any) -> CompiledModel:
    """Gradient boosting: the constant start, then each tree's value times the learning rate."""
    if not (isinstance(estimator.init_, str) or type(estimator.init_).__name__.startswith("Dummy")):
        raise NotCompilableError("It starts from another estimator.")
    zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    start = np.asarray(estimator._raw_predict_init(zeros))[0]  # noqa: SLF001 - no public name
    trees = [make_constant(float(value), target) for target, value in enumerate(start)]
    for stage in estimator.estimators_:
        for target, member in enumerate(stage):
            weight = np.asarray(member.tree_.value)[:, 0, 0] * estimator.learning_rate
            trees.append(read_tree(member.tree_, weight, target))
    graph = make_graph(
        trees, features=estimator.n_features_in_, targets=len(start), single=False, takes_missing=False
    )
    return CompiledModel(
        {"kind": "sum", "rounded": True, "average": 0},
        _head_of_boosting(estimator, len(start)),
        graph=graph,
        splits=collect_splits(trees),
    )


def _head_of_boosting(estimator: Any, targets: int) -> dict[str, Any]:
    if not hasattr(estimator, "classes_"):
        return _regress()
    if targets > 1:
        return _classify(estimator.classes_, "largest", "softmax")
    probability = "sigmoid_double" if estimator.loss == "exponential" else "sigmoid"
    return _classify(estimator.classes_, "from_zero", probability)


def _compile_histogram(estimator: Any) -> CompiledModel:
    if estimator._preprocessor is not None:  # noqa: SLF001 - no public name
        raise NotCompilableError("It encodes categories itself.")
    start = np.asarray(estimator._baseline_prediction, dtype=np.float64).ravel()  # noqa: SLF001
    trees: list[Tree] = [make_constant(float(value), target) for target, value in enumerate(start)]
    for iteration in estimator._predictors:  # noqa: SLF001
        trees.extend(read_boosted(predictor.nodes, target) for target, predictor in enumerate(iteration))
    graph = make_graph(
        trees, features=estimator.n_features_in_, targets=len(start), single=False, takes_missing=True
    )
    if hasattr(estimator, "classes_"):
        is_binary = len(start) == 1
        head = _classify(
            estimator.classes_,
            "above_zero" if is_binary else "largest",
            "sigmoid" if is_binary else "softmax",
        )
    else:
        link = type(estimator._loss.link).__name__  # noqa: SLF001
        if link not in {"IdentityLink", "LogLink"}:
            raise NotCompilableError(f"Its link function {link} is not known.")
        head = _regress(link="exp" if link == "LogLink" else "identity")
    plan = {"kind": "sum", "rounded": False, "average": 0}
    return CompiledModel(plan, head, True, graph=graph, splits=collect_splits(trees))


_Compile = Callable[[Any], CompiledModel]
_KNOWN: Final[Mapping[str, _Compile]] = {
    **dict.fromkeys(
        (
            *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
            *("Lars", "LassoLars", "OrthogonalMatchingPursuit", "BayesianRidge", "ARDRegression"),
            *("HuberRegressor", "TheilSenRegressor", "QuantileRegressor"),
        ),
        _compile_linear_regression,
    ),
    **dict.fromkeys(("SGDRegressor", "PassiveAggressiveRegressor", "LinearSVR"), _compile_sgd_regression),
    **dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), _compile_log_link),
    **dict.fromkeys(
        (
            *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "Perceptron"),
            *("PassiveAggressiveClassifier", "RidgeClassifier", "RidgeClassifierCV", "LinearSVC"),
        ),
        _compile_linear_classifier,
    ),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), _compile_network),
    **dict.fromkeys(
        ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier", "ExtraTreeClassifier"),
        _compile_forest_classifier,
    ),
    **dict.fromkeys(
        ("RandomForestRegressor", "ExtraTreesRegressor", "DecisionTreeRegressor", "ExtraTreeRegressor"),
        _compile_forest_regressor,
    ),
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), _compile_boosting),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), _compile_histogram),
}
