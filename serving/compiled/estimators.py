"""Fitted estimators as arithmetic: features in, raw scores out, in float64 and in scikit-learn's order.

Sources: scikit-learn 1.9 ``linear_model/_base.py``, ``ensemble/_forest.py``, ``ensemble/_gb.py``,
``ensemble/_hist_gradient_boosting/predictor.py``, ``neural_network/_multilayer_perceptron.py``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError

__all__ = ["ACTIVATIONS", "ALONE", "Score", "make_score", "sigmoid", "softmax"]

Numbers = NDArray[np.float64]
Score = Callable[[Numbers], Numbers]
"""Features of shape (rows, features) to raw scores of shape (rows, outputs)."""

ALONE: Final = frozenset({"linear", "network"})
"""Kinds that score each request by itself: the last bit of a product of matrices depends on how many rows
there are, and an answer must not depend on who else is waiting."""
MAX_CELLS: Final = 4_000_000
"""Leaf values gathered at once (32 MB); more rows are done in pieces."""


def make_score(estimator: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], graph: bytes) -> Score:
    """Builds the function of the plan's estimator.

    Raises:
        PlanError: ONNX Runtime is not installed or does not open the trees.
    """
    kind = estimator["kind"]
    if kind == "linear":
        return _make_linear(arrays["coef"], arrays["intercept"])
    if kind == "network":
        return _make_network(estimator, arrays)
    run = _open_graph(graph)
    if kind == "leaves":
        return _make_leaves(run, arrays["leaves"], estimator["trees"])
    return _make_sum(run, rounded=estimator["rounded"], trees=estimator["average"])


def _make_linear(coef: Numbers, intercept: Numbers) -> Score:
    return lambda features: features @ coef + intercept


def _make_network(estimator: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Score:
    layers = [(arrays[f"weights_{i}"], arrays[f"biases_{i}"]) for i in range(estimator["layers"])]
    activate, last = ACTIVATIONS[estimator["hidden"]], ACTIVATIONS[estimator["last"]]

    def score(features: Numbers) -> Numbers:
        for weights, biases in layers[:-1]:
            features = activate(features @ weights + biases)
        weights, biases = layers[-1]
        return last(features @ weights + biases)

    return score


def _make_leaves(run: Score, leaves: Numbers, trees: int) -> Score:
    """A forest of classifiers: ONNX finds each tree's leaf, the leaves' probabilities are added in order."""
    add = np.add.reduce
    step = max(1, MAX_CELLS // (trees * leaves.shape[1]))

    def score(features: Numbers) -> Numbers:
        places = run(features.astype(np.float32)).astype(np.intp)
        if len(places) <= step:
            return add(leaves.take(places, axis=0), axis=1) / trees  # type: ignore[no-any-return]
        pieces = [
            add(leaves.take(places[at : at + step], axis=0), axis=1) for at in range(0, len(places), step)
        ]
        return np.concatenate(pieces) / trees

    return score


def _make_sum(run: Score, *, rounded: bool, trees: int) -> Score:
    """Trees that are added up in float64. ``rounded``: they compare features in float32."""

    def score(features: Numbers) -> Numbers:
        if rounded:
            features = features.astype(np.float32).astype(np.float64)
        found = run(features)
        return found / trees if trees else found

    return score


def _open_graph(graph: bytes) -> Score:
    try:
        import onnxruntime  # noqa: PLC0415 - only for trees
    except ImportError as error:
        raise PlanError("The plan has trees, and onnxruntime is not installed.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class but this one
        raise PlanError(f"ONNX Runtime {onnxruntime.__version__} does not open the trees.") from error
    names, run = ["scores"], session.run
    return lambda features: run(names, {"features": features})[0]


def sigmoid(scores: Numbers) -> Numbers:
    """The logistic function, without overflow.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


def softmax(scores: Numbers) -> Numbers:
    """Exponentials that add up to 1, over the second axis.

    >>> softmax(np.array([[5.0, 5.0]])).tolist()
    [[0.5, 0.5]]
    """
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


ACTIVATIONS: Final[Mapping[str, Score]] = {
    "identity": lambda values: values,
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
    "logistic": sigmoid,
    "softmax": softmax,
    "exp": np.exp,
}
