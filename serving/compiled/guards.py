"""The model's guard in a plan: which rows resemble none that were learned from, and are answered null.

The same whole numbers as in the model's own guard (``guard.py`` of its layers), held in float64 below 2**53,
where sums and products are exact in every order: decisions are equal, not nearly equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Guard", "Verdict", "make_guard"]

CHUNK: Final = 512
"""Rows that are compared at a time."""
MAX_TURNS: Final = 8
"""So many smallest values are sooner found one after the other than by sorting."""
MAX_MARKS: Final = 255
"""Marks of a row that one byte counts."""
_UNSEEN: Final = -2
"""Code of a category that was neither learned nor known to be missing."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says of rows, both of shape (rows,).

    Attributes:
        typicality: Conformal p-value, 0 to 1.
        refused: Whether the row is answered null.
    """

    typicality: Numbers
    refused: NDArray[np.bool_]

    def take(self, rows: slice) -> "Verdict":
        """Of some of the rows."""
        return Verdict(self.typicality[rows], self.refused[rows])


class Guard:
    """Judges rows of slots.

    Args:
        guard: Of the plan's document: ``numbers`` and ``marks`` say in which slots features are.
        arrays: The plan's.
        refuses: Whether refused rows are answered null in this process.
    """

    def __init__(self, guard: Mapping[str, Any], arrays: Mapping[str, Any], *, refuses: bool) -> None:
        self._refuses = refuses
        self._slots: list[int] = guard["numbers"]
        self._center, self._scale = arrays["guard_center"], arrays["guard_scale"]
        self._is_constant, self._is_whole = arrays["guard_constant"], arrays["guard_whole"]
        self._has_constants = bool(self._is_constant.any())
        self._marks: list[tuple[int, bool]] = [(mark["slot"], mark["hole"]) for mark in guard["marks"]]
        self._fixed: list[int] = guard["fixed"]
        reference: Numbers = arrays["guard_numbers"]
        self._opposite, self._squares = -2.0 * reference, (reference**2).sum(axis=0)
        self._reference_marks = arrays["guard_marks"].astype(np.int32)
        self._projection: Numbers | None = arrays.get("guard_projection")
        self._divisor: float = guard["divisor"]
        self._limit: float = guard["limit"]
        self._mismatch: float = guard["mismatch"]
        self._strange: float = guard["strange"]
        self._count: int = min(guard["neighbours"], reference.shape[1])
        self._scores: Numbers = arrays["guard_scores"]
        self._most: int = guard["most"]

    def is_asked(self, output: Mapping[str, Any]) -> bool:
        """Whether an output of the plan's document depends on what the guard says."""
        return self._refuses or bool(output.get("guard"))

    def judge(self, slots: Numbers) -> Verdict:
        """Judges rows, shape (rows, slots)."""
        size = len(self._scores)
        higher = size - np.searchsorted(self._scores, self._measure(slots), side="left")
        return Verdict((1 + higher) / (1 + size), 1 + higher <= self._most)

    def apply(self, predictions: list[Any], verdict: Verdict, output: Mapping[str, Any]) -> list[Any]:
        """Predictions without those of refused rows, and with what was judged where it is asked for."""
        refused = verdict.refused.tolist()
        if self._refuses and any(refused):
            predictions = [
                (dict.fromkeys(value) if type(value) is dict else None) if out else value
                for value, out in zip(predictions, refused, strict=True)
            ]
        if output.get("guard"):
            for value, out, share in zip(predictions, refused, verdict.typicality.tolist(), strict=True):
                value["nothing_found"], value["typicality"] = out, share
        return predictions

    def _measure(self, slots: Numbers) -> Numbers:
        """Sums of squared distances to the nearest reference rows."""
        numbers, marks, strange = self._place(slots)
        scores = np.empty(len(slots))
        for start in range(0, len(slots), CHUNK):
            part = slice(start, start + CHUNK)
            here = numbers[part]
            distances = here @ self._opposite
            distances += self._squares
            if marks:
                distances += np.multiply(
                    self._count_mismatches(marks, part), self._mismatch, dtype=np.float64
                )
            own = (here * here).sum(axis=1) + self._strange * strange[part]
            scores[part] = _add_smallest(distances, self._count) + self._count * own
        return scores

    def _count_mismatches(self, marks: Sequence[NDArray[np.int32]], rows: slice) -> NDArray[np.uint8]:
        """How many marks differ, shape (rows, reference rows)."""
        differs: Any = marks[0][rows, None] != self._reference_marks[0]
        differs = differs.view(np.uint8)
        for mark, reference in zip(marks[1:], self._reference_marks[1:], strict=True):
            differs = differs + (mark[rows, None] != reference)
        return differs  # type: ignore[no-any-return]  # NumPy's view has no type

    def _place(self, slots: Numbers) -> tuple[Numbers, Sequence[NDArray[np.int32]], Any]:
        """Numbers in steps, one array of codes per mark, and how many values were never seen."""
        raw = slots[:, self._slots]
        strange: Any = np.zeros(len(slots))
        missing = np.isnan(raw)
        if missing.any():
            raw = np.where(missing, self._center, raw)
            strange += (missing & self._is_whole).sum(axis=1)
        steps = (raw - self._center) / self._scale
        steps = np.rint(np.minimum(np.maximum(steps, -self._limit), self._limit))
        if self._has_constants:
            strange += ((raw != self._center) & self._is_constant).sum(axis=1)
            steps = np.where(self._is_constant, 0.0, steps)
        marks = []
        for slot, is_hole in self._marks:
            column = slots[:, slot]
            codes = (np.isnan(column) if is_hole else column).astype(np.int32)
            marks.append(codes)
            if not is_hole:
                strange += codes == _UNSEEN
        for code in self._fixed:
            marks.append(np.full(len(slots), code, dtype=np.int32))
            strange += code == _UNSEEN
        return self._project(steps), marks, strange

    def _project(self, steps: Numbers) -> Numbers:
        if self._projection is None:
            return steps
        shares = np.rint((steps @ self._projection) / self._divisor)
        beyond = np.maximum((steps**2).sum(axis=1) - (shares**2).sum(axis=1), 0)
        return np.column_stack([shares, np.rint(np.sqrt(beyond))])


def _add_smallest(distances: Numbers, count: int) -> Numbers:
    """Sums of the smallest values of each row; whole numbers, so that their order is nothing. Spoils them.

    >>> _add_smallest(np.array([[5.0, 1.0, 1.0, 7.0], [4.0, 3.0, 2.0, 1.0]]), 2).tolist()
    [2.0, 3.0]
    """
    if count > MAX_TURNS:
        nearest = np.partition(distances, count - 1, axis=1)[:, :count]
        return np.asarray(nearest.sum(axis=1), dtype=np.float64)
    rows, total = np.arange(len(distances)), np.zeros(len(distances))
    for _ in range(count):
        places = distances.argmin(axis=1)
        total += distances[rows, places]
        distances[rows, places] = np.inf
    return total


def make_guard(document: Mapping[str, Any], arrays: Mapping[str, Any], *, refuses: bool) -> Guard | None:
    """Builds the guard of a plan; None where there is none."""
    guard = document["guard"]
    return None if guard is None else Guard(guard, arrays, refuses=refuses)
