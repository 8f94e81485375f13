"""The guard: finds rows that resemble none that the model learned from.

Source: conformal p-values, Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005); distance
to the nearest neighbours as the measure of strangeness, Laxhammar and Falkman, COPA 2010.

Everything that a decision depends on is whole numbers held in float64, below 2**53, where sums and products
are exact in every order: one row and a batch, any machine and any linear algebra library decide alike.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LIMIT = 32_767
"""Steps from the center beyond which a number counts as no further; 256 steps are a standard deviation."""
MISMATCH = 2 * 256**2
"""What two different categories add to a squared distance: as much as two random values of a number."""
STRANGE = (4 * 256) ** 2
"""What a value of a kind that was never seen adds: as much as a number four standard deviations off."""
CHUNK = 512
"""Rows that are compared at a time."""


class Guard:
    """Judges rows of features.

    Args:
        plan: As in ``guard.json``.
        reference: The rows compared with, as :meth:`place` gives them: numbers and marks, (rows, …) each.
        projection: Integer matrix (numbers, components), or None.
    """

    def __init__(self, plan: dict[str, Any], reference: tuple[Any, Any], projection: Any = None) -> None:
        self.plan = plan
        self.projection = None if projection is None else np.asarray(projection, dtype=np.float64)
        self.numbers = np.ascontiguousarray(np.asarray(reference[0], dtype=np.float64).T)
        self.squares = (self.numbers**2).sum(axis=0)
        self.marks = np.ascontiguousarray(np.asarray(reference[1]).T)
        self.known = [
            {value: code for code, value in enumerate(mark["known"])} if "known" in mark else None
            for mark in plan["marks"]
        ]
        self.center = np.array([number["center"] for number in plan["numbers"]])
        scales = np.array([number["scale"] for number in plan["numbers"]])
        self.is_constant = scales == 0
        self.scale = np.where(self.is_constant, 1.0, scales)
        holes = {mark["feature"] for mark in plan["marks"] if "known" not in mark}
        self.is_whole = np.array([number["feature"] not in holes for number in plan["numbers"]], dtype=bool)
        self.scores = np.asarray(plan["scores"], dtype=np.float64)

    def judge(self, features: pd.DataFrame) -> tuple[Any, Any]:
        """Returns each row's typicality (its conformal p-value) and whether it is refused."""
        higher = len(self.scores) - np.searchsorted(self.scores, self.measure(features), side="left")
        return (1 + higher) / (1 + len(self.scores)), 1 + higher <= self.plan["most"]

    def measure(self, features: pd.DataFrame) -> Any:
        """Returns each row's sum of squared distances to its nearest reference rows, a whole number."""
        numbers, marks, strange = self.place(features)
        count = min(self.plan["neighbours"], self.numbers.shape[1])
        scores = np.empty(len(features))
        for start in range(0, len(features), CHUNK):
            part = slice(start, start + CHUNK)
            here = numbers[part]
            distances = (here**2).sum(axis=1)[:, None] + (self.squares - 2 * (here @ self.numbers))
            for mark, reference in zip(marks[part].T, self.marks, strict=True):
                distances += MISMATCH * (mark[:, None] != reference)
            nearest = np.partition(distances, count - 1, axis=1)[:, :count]
            scores[part] = nearest.sum(axis=1) + count * STRANGE * strange[part]
        return scores

    def place(self, features: pd.DataFrame) -> tuple[Any, Any, Any]:
        """Returns each row's numbers in steps, the codes of its marks, and how many values were never seen.

        A missing number is placed at the center. A mark is a category, or whether a number is missing.
        """
        names = [number["feature"] for number in self.plan["numbers"]]
        raw = features[names].to_numpy(dtype=np.float64)
        missing = np.isnan(raw)
        raw = np.where(missing, self.center, raw)
        strange = (missing & self.is_whole).sum(axis=1)
        strange += ((raw != self.center) & self.is_constant).sum(axis=1)
        steps = np.rint(np.clip((raw - self.center) / self.scale, -LIMIT, LIMIT))
        marks = np.empty((len(features), len(self.known)), dtype=np.int32)
        for column, (mark, codes) in enumerate(zip(self.plan["marks"], self.known, strict=True)):
            values = features[mark["feature"]].to_numpy()
            if codes is None:
                marks[:, column] = np.isnan(values)
                continue
            unseen = -1 if mark["missing"] else -2
            marks[:, column] = [
                codes.get(value, -2) if isinstance(value, str) else unseen for value in values
            ]
            strange += marks[:, column] == -2  # noqa: PLR2004 - neither known nor known to be missing
        return self.project(np.where(self.is_constant, 0.0, steps)), marks, strange

    def project(self, steps: Any) -> Any:
        """Returns the numbers on the components, and how far they are from these; as they are without any."""
        if self.projection is None:
            return steps
        shares = np.rint((steps @ self.projection) / self.plan["divisor"])
        beyond = np.maximum((steps**2).sum(axis=1) - (shares**2).sum(axis=1), 0)
        return np.column_stack([shares, np.rint(np.sqrt(beyond))])


def load_guard(folder: Path, file: str) -> Guard:
    """Opens the guard's parts."""
    plan = json.loads((folder / file).read_text("utf-8"))
    arrays = {name: np.load(folder / part, allow_pickle=False) for name, part in plan["arrays"].items()}
    return Guard(plan, (arrays["numbers"], arrays["marks"]), arrays.get("projection"))
