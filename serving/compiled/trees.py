"""scikit-learn's trees as one ONNX graph that finds the same leaf for every row, to the last bit.

scikit-learn's forests compare float32 features with float64 thresholds; a threshold rounded down to float32
splits float32 numbers at the same place. Leaf values are added in
float64, tree after tree, as scikit-learn does.

Source: ONNX operator ``ai.onnx.ml.TreeEnsemble`` version 5; ``sklearn/tree/_tree.pyx``,
``sklearn/ensemble/_hist_gradient_boosting/common.pxd``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import NotCompilableError

__all__ = ["Tree", "collect_splits", "make_constant", "make_graph", "read_boosted", "read_tree", "round_down"]

_SUM: Final = 1
_OPSET: Final = 18
_ML_OPSET: Final = 5
_IR_VERSION: Final = 10
_LEAF: Final = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree in arrays over its nodes; the root is node 0.

    Attributes:
        left: Child where the feature is at most the threshold; -1 at a leaf.
        right: The other child; -1 at a leaf.
        feature: Which feature a node looks at.
        threshold: What it compares with.
        missing_left: Whether a missing value goes left.
        weight: A leaf's value.
        target: Which output the leaves add to.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    weight: NDArray[np.float64]
    target: int


def read_tree(tree: Any, weight: NDArray[np.float64], target: int) -> Tree:
    """From a ``sklearn.tree._tree.Tree``."""
    left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
    nodes = tree.__getstate__()["nodes"]
    missing = np.asarray(nodes["missing_go_to_left"]).astype(bool)
    return Tree(left, right, np.asarray(tree.feature), np.asarray(tree.threshold), missing, weight, target)


def read_boosted(nodes: Any, target: int) -> Tree:
    """From the nodes of a ``TreePredictor`` of histogram gradient boosting."""
    if np.any(nodes["is_categorical"]):
        raise NotCompilableError("A tree splits by sets of categories.")
    is_leaf = nodes["is_leaf"].astype(bool)
    left = np.where(is_leaf, _LEAF, nodes["left"].astype(np.int64))
    right = np.where(is_leaf, _LEAF, nodes["right"].astype(np.int64))
    missing = nodes["missing_go_to_left"].astype(bool)
    feature, threshold = nodes["feature_idx"].astype(np.int64), nodes["num_threshold"].astype(np.float64)
    return Tree(left, right, feature, threshold, missing, nodes["value"].astype(np.float64), target)


def make_constant(value: float, target: int) -> Tree:
    """A tree that always answers the same: what the others are added to."""
    return Tree(
        np.array([_LEAF]),
        np.array([_LEAF]),
        np.array([0]),
        np.array([0.0]),
        np.array([False]),
        np.array([value]),
        target,
    )


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 numbers that are not above.

    >>> round_down(np.array([0.1])).astype(np.float64).item() <= 0.1
    True
    """
    rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def collect_splits(trees: Sequence[Tree]) -> dict[int, NDArray[np.float64]]:
    """All thresholds by feature."""
    inner = [tree.left != _LEAF for tree in trees]
    features = np.concatenate([tree.feature[mask] for tree, mask in zip(trees, inner, strict=True)])
    thresholds = np.concatenate([tree.threshold[mask] for tree, mask in zip(trees, inner, strict=True)])
    return {int(feature): np.unique(thresholds[features == feature]) for feature in np.unique(features)}


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The operator's attributes of one tree; nodes and leaves are numbered across all trees.

    ``leaf_left`` and ``leaf_right`` say whether a child is a leaf (a place among leaves) or a node.
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    missing_left: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    leaf_left: NDArray[Any]
    leaf_right: NDArray[Any]
    weight: NDArray[Any]
    target: NDArray[Any]


def _number_nodes(tree: Tree, nodes: int, leaves: int) -> _Nodes:
    """Numbers a tree's nodes and leaves from the given ones on; a single leaf becomes a node with two."""
    is_leaf = tree.left == _LEAF
    if is_leaf[0]:
        place, one = np.array([leaves]), np.array([1])
        weight, target = tree.weight[:1], np.array([tree.target])
        return _Nodes(np.array([0]), np.array([0.0]), np.array([0]), place, place, one, one, weight, target)
    inner, outer = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
    place = np.empty(len(tree.left), dtype=np.int64)
    place[inner] = np.arange(nodes, nodes + len(inner))
    place[outer] = np.arange(leaves, leaves + len(outer))
    left, right = tree.left[inner], tree.right[inner]
    return _Nodes(
        tree.feature[inner],
        tree.threshold[inner],
        tree.missing_left[inner],
        place[left],
        place[right],
        is_leaf[left],
        is_leaf[right],
        tree.weight[outer],
        np.full(len(outer), tree.target),
    )


def _join_nodes(trees: Sequence[Tree]) -> tuple[_Nodes, list[int]]:
    """All trees' nodes, and where each tree's root is."""
    made: list[_Nodes] = []
    roots: list[int] = []
    nodes = leaves = 0
    for tree in trees:
        roots.append(nodes)
        made.append(_number_nodes(tree, nodes, leaves))
        nodes += len(made[-1].feature)
        leaves += len(made[-1].weight)
    columns = [np.concatenate([getattr(one, part.name) for one in made]) for part in fields(_Nodes)]
    return _Nodes(*columns), roots


def make_graph(
    trees: Sequence[Tree], *, features: int, targets: int, single: bool, takes_missing: bool
) -> bytes:
    """Returns the graph: ``features`` of shape (rows, features) to ``scores`` of shape (rows, targets).

    Args:
        trees: In the order in which they are added.
        features: How many columns the estimator takes.
        targets: How many outputs.
        single: In float32, thresholds rounded down; otherwise in float64.
        takes_missing: Whether missing values are sent down the trees.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - only for trees
    except ImportError as error:
        raise NotCompilableError(
            "The package onnx is not installed (pip install 'greenroom[fast]')."
        ) from error
    kind = TensorProto.FLOAT if single else TensorProto.DOUBLE
    attributes = _list_attributes(trees, single=single, takes_missing=takes_missing)
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in attributes.items()
    }
    node = helper.make_node(
        "TreeEnsemble", ["features"], ["scores"], domain="ai.onnx.ml", n_targets=targets, **attributes
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("features", kind, [None, features])],
        [helper.make_tensor_value_info("scores", kind, [None, targets])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(made.SerializeToString())


def _list_attributes(trees: Sequence[Tree], *, single: bool, takes_missing: bool) -> dict[str, Any]:
    """The operator's attributes; arrays where it takes tensors."""
    nodes, roots = _join_nodes(trees)
    attributes: dict[str, Any] = {
        "aggregate_function": _SUM,
        "post_transform": 0,
        "tree_roots": roots,
        "nodes_featureids": nodes.feature.tolist(),
        "nodes_modes": np.zeros(len(nodes.feature), np.uint8),
        "nodes_splits": round_down(nodes.threshold) if single else nodes.threshold,
        "nodes_truenodeids": nodes.left.tolist(),
        "nodes_trueleafs": nodes.leaf_left.astype(int).tolist(),
        "nodes_falsenodeids": nodes.right.tolist(),
        "nodes_falseleafs": nodes.leaf_right.astype(int).tolist(),
        "leaf_targetids": nodes.target.tolist(),
        "leaf_weights": nodes.weight.astype(np.float32 if single else np.float64),
    }
    if takes_missing:
        attributes["nodes_missing_value_tracks_true"] = nodes.missing_left.astype(int).tolist()
    return attributes
