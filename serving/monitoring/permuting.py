"""How surprising a distance is where rows of one block (an hour, a day, a customer) depend on each other.

Whole blocks are dealt out again between reference and window. If nothing has drifted, the real deal is one
of equally likely ones, whatever happens inside a block, and whatever the columns have to do with each other;
the largest of all columns' distances decides, so that the level holds for all of them together.

What is assumed: blocks are independent of each other, and alike in the reference and in the window. Blocks of
unequal size would not be alike, so larger ones are thinned to a common size first.

Source: Westfall and Young, Resampling-Based Multiple Testing (1993), the maximum over tests; Good,
Permutation, Parametric and Bootstrap Tests of Hypotheses (2005), sec. 3; Phipson and Smyth, Statistical
Applications in Genetics and Molecular Biology 9 (2010), the real deal counts as one of the draws.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .columns import PairedColumn
from .distances import collapse

__all__ = ["DRAWS", "adjust_by_blocks", "count_blocks_needed"]

DRAWS: Final = 2_000
"""Deals looked at; all of them where there are not more."""

BINS: Final = 50
"""Steps by which numbers are compared: quantiles of both sides together."""

SEED: Final = 20_260_101
"""So that the same rows give the same answer."""


def adjust_by_blocks(
    columns: Sequence[PairedColumn], reference: NDArray[Any], window: NDArray[Any], *, draws: int = DRAWS
) -> NDArray[np.float64]:
    """p-value of each column, adjusted for there being many; shape (columns,).

    Args:
        columns: What is compared.
        reference: Block of each row of the reference, shape (m,).
        window: Block of each row of the window, shape (n,); none of these is one of the reference's.
        draws: How many deals to look at.
    """
    rows, blocks = _thin(reference, window)
    size = int(blocks[len(rows[0]) :].min())
    deals = _deal(int(blocks.max()) + 1 - size, size, draws)
    statistics = np.column_stack([_measure(column, rows, blocks, deals) for column in columns])
    spread = statistics.std(axis=0)
    scores = (statistics - statistics.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    largest = scores.max(axis=1)
    return np.array([(largest >= score - 1e-9).mean() for score in scores[0]])


def count_blocks_needed(level: float, window: int) -> int:
    """Blocks of the reference from which on so few blocks of a window can be told apart at all.

    >>> count_blocks_needed(0.05, 1), count_blocks_needed(0.05, 7)
    (19, 2)
    """
    needed = 1
    while comb(needed + window, window) < 1 / level * (1 - 1e-9):
        needed += 1
    return needed


def _thin(
    reference: NDArray[Any], window: NDArray[Any]
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.intp]]:
    """At most so many rows of a block as the smaller of both sides' middle blocks has.

    Returns:
        The rows kept on each side, and the block of each of them (reference first), numbered from 0.
    """
    generator = np.random.default_rng(SEED)
    _, before, sizes = np.unique(reference, return_inverse=True, return_counts=True)
    _, after, others = np.unique(window, return_inverse=True, return_counts=True)
    most = max(1, int(min(np.median(sizes), np.median(others))))
    kept = _pick(before, most, generator), _pick(after, most, generator)
    return kept, np.concatenate([before[kept[0]], after[kept[1]] + len(sizes)])


def _pick(blocks: NDArray[np.intp], most: int, generator: np.random.Generator) -> NDArray[np.intp]:
    order = generator.permutation(len(blocks))
    order = order[np.argsort(blocks[order], kind="stable")]
    ordered = blocks[order]
    places = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[places < most])


def _deal(window: int, reference: int, draws: int) -> NDArray[np.float64]:
    """Which blocks make the window, as weights that sum to 1, minus the others'; the real deal first."""
    total = window + reference
    real = np.arange(reference, total)
    if comb(total, window) <= draws:
        chosen = [
            real,
            *(deal for deal in map(np.array, combinations(range(total), window)) if deal[0] < reference),
        ]
    else:
        generator = np.random.default_rng(SEED)
        chosen = [real, *(generator.permutation(total)[:window] for _ in range(draws - 1))]
    weights = np.full((len(chosen), total), -1.0 / reference)
    for row, deal in zip(weights, chosen, strict=True):
        row[deal] = 1.0 / window
    return weights


def _measure(
    column: PairedColumn,
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    blocks: NDArray[np.intp],
    deals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The column's distance in every deal; shape (deals,). Every block has the same weight."""
    before, after = column.reference[rows[0]], column.window[rows[1]]
    codes = np.concatenate(collapse(before, after)) if column.kind == "category" else _bin(before, after)
    width = int(codes.max()) + 1
    counts = np.bincount(blocks * width + codes, minlength=deals.shape[1] * width).reshape(-1, width)
    shares = counts / counts.sum(axis=1, keepdims=True)
    moved = deals @ shares
    if column.kind == "category":
        return np.asarray(0.5 * np.abs(moved).sum(axis=1))
    return np.asarray(np.abs(np.cumsum(moved, axis=1)).max(axis=1))


def _bin(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.intp]:
    """Place of each number among the quantiles of all, missing ones last."""
    both = np.concatenate([before, after])
    present = both[~np.isnan(both)]
    edges = (
        np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1])) if len(present) else np.empty(0)
    )
    return np.where(np.isnan(both), len(edges) + 1, np.searchsorted(edges, both, side="left")).astype(np.intp)
