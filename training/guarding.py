"""Fits the guard: the rows that others are compared with, and what distances are usual.

A part of the rows to learn from is never compared with. How far these are from the others says how far a row
may be: a new one like them is refused with a chance of at most ``false_refusal``, whatever the data, if rows
are exchangeable. Source: see ``artifact/guard.py``.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError, UsageError

from .features import FeaturePlan
from .job import GuardSection
from .jobfile import guess
from .result import GuardLayer, TrainingPlan
from .split import carve

__all__ = ["ARRAY_FILES", "GUARD_FILE", "check_guard", "fit_guard"]

GUARD_FILE: Final = "guard.json"
ARRAY_FILES: Final = {
    "numbers": "guard_numbers.npy",
    "marks": "guard_marks.npy",
    "projection": "guard_projection.npy",
}
STEPS: Final = 256
"""Steps per standard deviation: fine beside any distance that matters, and whole numbers stay small."""
UNIT: Final = 4_096
"""What 1 is in the projection's whole numbers."""
MAX_SCORES: Final = 10_000
"""Calibration rows that are kept: more make the refusal rate no more certain than 0.1 points."""


def check_guard(plan: TrainingPlan) -> None:
    """Refuses what can be known to fail before anything is fitted.

    Raises:
        UsageError: It names a feature that is none, or wants components of too few numbers.
        DataError: There are too few rows for so low a rate of false refusals.
    """
    section = plan.job.spec.guard
    if section is None:
        return
    numbers, _ = _choose(section, plan.features)
    if section.components > len(numbers):
        raise UsageError(f"guard.components is {section.components}, and there are {len(numbers)} numbers.")
    if section.space == "pixels" and not numbers:
        raise UsageError('guard.space "pixels" needs numbers, and there are categories only.')
    _, held = carve(plan.job.spec, plan.target, plan.split, section.held_out, "the guard")
    needed = int(np.ceil(1 / section.false_refusal)) - 1
    if _count_most(section, min(len(held), MAX_SCORES)) < 1:
        raise DataError(
            f"guard.false_refusal = {section.false_refusal:g} takes at least {needed} rows held out for the "
            f"guard, and there are {len(held)}.",
            hint="Allow more false refusals, or raise guard.held_out.",
        )


def fit_guard(plan: TrainingPlan, features: pd.DataFrame) -> GuardLayer | None:
    """Fits the section ``[guard]``; None without one.

    Args:
        plan: The job.
        features: All rows to learn from, after the row layer.
    """
    from .artifact.guard import Guard  # noqa: PLC0415 - beside its only user

    section = plan.job.spec.guard
    if section is None:
        return None
    near, held = carve(plan.job.spec, plan.target, plan.split, section.held_out, "the guard")
    generator = np.random.default_rng(plan.job.spec.job.seed)
    pool = features.iloc[near]
    content = _describe(section, plan.features, pool)
    projection = _project(section, content, pool)
    arrays = {} if projection is None else {"projection": projection}
    empty = (np.empty((0, len(content["numbers"]))), np.empty((0, len(content["marks"]))))
    chosen = np.sort(generator.permutation(len(pool))[: section.max_rows])
    numbers, marks, _ = Guard(content, empty, projection).place(pool.iloc[chosen])
    arrays |= {"numbers": numbers.astype(np.int32), "marks": marks}
    calibrate = features.iloc[np.sort(generator.permutation(held)[:MAX_SCORES])]
    scores = np.sort(Guard(content, (numbers, marks), projection).measure(calibrate))
    content |= {"scores": scores.astype(np.int64).tolist(), "most": _count_most(section, len(scores))}
    content["arrays"] = {name: ARRAY_FILES[name] for name in arrays}
    return GuardLayer(content, arrays, Guard(content, (numbers, marks), projection))


def _count_most(section: GuardSection, rows: int) -> int:
    """A row is refused where no more than this many of all, itself included, are as far away."""
    return int(np.floor(section.false_refusal * (rows + 1) + 1e-9))


def _choose(section: GuardSection, features: FeaturePlan) -> tuple[list[str], list[str]]:
    """Numbers and categories that are compared."""
    if section.features is None:
        return list(features.numeric), list(features.categorical)
    for name in section.features:
        if name not in features.names:
            hint = guess(name, features.names) or f"There are: {', '.join(features.names[:12])}."
            raise UsageError(f"guard.features: there is no feature {name!r}.", hint=hint)
    wanted = set(section.features)
    return (
        [name for name in features.numeric if name in wanted],
        [name for name in features.categorical if name in wanted],
    )


def _describe(section: GuardSection, plan: FeaturePlan, pool: pd.DataFrame) -> dict[str, Any]:
    """Scales, and what was seen, of all rows that may be compared with."""
    numbers, categories = _choose(section, plan)
    table = pool[numbers].to_numpy(dtype=np.float64)
    known = [table[~np.isnan(table[:, place]), place] for place in range(len(numbers))]
    varies = [len(values) > 0 and values.min() < values.max() for values in known]
    centers = [
        float(values.mean() if moves else values[:1].sum())
        for values, moves in zip(known, varies, strict=True)
    ]
    spreads = np.array(
        [float(values.std()) if moves else 0.0 for values, moves in zip(known, varies, strict=True)]
    )
    if section.space == "pixels":
        spreads = np.full(len(numbers), float(np.sqrt((spreads**2).mean())))
    holes = np.isnan(table).any(axis=0)
    marks: list[dict[str, Any]] = [
        {
            "feature": name,
            "known": sorted(pool[name].dropna().unique().tolist()),
            "missing": bool(pool[name].isna().any()),
        }
        for name in categories
    ]
    marks += [{"feature": name} for name, hole in zip(numbers, holes, strict=True) if hole]
    return {
        "false_refusal": section.false_refusal,
        "neighbours": section.neighbours,
        "numbers": [
            {"feature": name, "center": center, "scale": float(spread) / STEPS}
            for name, center, spread in zip(numbers, centers, spreads, strict=True)
        ],
        "marks": marks,
        "divisor": UNIT,
        "scores": [],
        "most": 0,
    }


def _project(section: GuardSection, content: dict[str, Any], pool: pd.DataFrame) -> NDArray[np.int32] | None:
    """The directions in which rows differ most, as whole numbers."""
    from .artifact.guard import Guard  # noqa: PLC0415 - beside its only user

    if section.components == 0:
        return None
    empty = (np.empty((0, len(content["numbers"]))), np.empty((0, len(content["marks"]))))
    steps, _, _ = Guard(content, empty).place(pool)
    _, directions = np.linalg.eigh(np.cov(steps, rowvar=False).reshape(steps.shape[1], -1))
    largest: NDArray[np.int32] = np.rint(directions[:, ::-1][:, : section.components] * UNIT).astype(np.int32)
    return largest
