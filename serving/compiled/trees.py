"""scikit-learn's trees as one ONNX graph that finds the same leaf for every row, to the last bit.

scikit-learn's forests compare float32 features with float64 thresholds; a threshold rounded down to float32
splits float32 numbers at the same place. Leaf values are added in
float64, tree after tree, as scikit-learn does.

Source: ONNX operator ``ai.onnx.ml.TreeEnsemble`` version 5; ``sklearn/tree/_tree.pyx``,
``sklearn/ensemble/_hist_gradient_boosting/common.pxd``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Nodes:
    """The operator's attributes, growing."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    children: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    leaves: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, tree: Tree) -> None:
        """Adds a tree; one that is a single leaf gets a root whose sides are equal."""
        start = len(self.features)
        self.roots.append(start)
        inner = np.flatnonzero(tree.left != _LEAF)
        if len(inner) == 0:
            self._add_node(0, 0.0, missing=False)
            for side in range(2):
                self._add_leaf(side, tree, 0)
            return
        place = {int(node): start + number for number, node in enumerate(inner)}
        for node in inner.tolist():
            self._add_node(
                int(tree.feature[node]), float(tree.threshold[node]), missing=bool(tree.missing_left[node])
            )
            for side, child in enumerate((int(tree.left[node]), int(tree.right[node]))):
                if tree.left[child] == _LEAF:
                    self._add_leaf(side, tree, child)
                else:
                    self.children[side].append(place[child])
                    self.leaves[side].append(0)

    def _add_node(self, feature: int, threshold: float, *, missing: bool) -> None:
        self.features.append(feature)
        self.thresholds.append(threshold)
        self.missing.append(int(missing))

    def _add_leaf(self, side: int, tree: Tree, node: int) -> None:
        self.children[side].append(len(self.weights))
        self.leaves[side].append(1)
        self.weights.append(float(tree.weight[node]))
        self.targets.append(tree.target)


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
    nodes = _Nodes()
    for tree in trees:
        nodes.add(tree)
    kind, dtype = (TensorProto.FLOAT, np.float32) if single else (TensorProto.DOUBLE, np.float64)
    thresholds = np.array(nodes.thresholds, dtype=np.float64)
    options: dict[str, Any] = {"nodes_missing_value_tracks_true": nodes.missing} if takes_missing else {}
    node = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function=_SUM,
        post_transform=0,
        tree_roots=nodes.roots,
        nodes_featureids=nodes.features,
        nodes_modes=numpy_helper.from_array(np.zeros(len(nodes.features), np.uint8)),
        nodes_splits=numpy_helper.from_array(round_down(thresholds) if single else thresholds),
        nodes_truenodeids=nodes.children[0],
        nodes_trueleafs=nodes.leaves[0],
        nodes_falsenodeids=nodes.children[1],
        nodes_falseleafs=nodes.leaves[1],
        leaf_targetids=nodes.targets,
        leaf_weights=numpy_helper.from_array(np.array(nodes.weights, dtype=dtype)),
        **options,
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
