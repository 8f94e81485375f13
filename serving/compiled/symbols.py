"""Features while a pipeline is being compiled: where each one comes from, and what is done to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Encoded", "Feature", "Number", "Source", "Step", "Text", "apply_step", "is_missing"]

Source = tuple[Any, ...]
"""``("column", name)``, ``("part", name, part)`` or ``("lookup", number, name)``."""
Step = tuple[str, Any]
"""``("fill" | "subtract" | "divide" | "multiply" | "add", number)`` or ``("clip", (low, high))``."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number and the arithmetic done to it."""

    source: Source
    steps: tuple[Step, ...] = ()

    @property
    def takes_missing(self) -> bool:
        """Whether a missing number has become another one."""
        return any(name == "fill" for name, _ in self.steps)


@dataclass(frozen=True, slots=True)
class Text:
    """A category that no encoder has seen yet. ``fill``: what stands for a missing one."""

    source: Source
    fill: str | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A number per category.

    Attributes:
        source: Where the category comes from.
        codes: Number by category.
        missing: Number of a missing one; None if the model refuses it.
        unknown: Number of any other; None if the model refuses it.
    """

    source: Source
    codes: Mapping[Any, float]
    missing: float | None
    unknown: float | None


Feature = Number | Text | Encoded


def apply_step(feature: Number | Encoded, step: Step) -> Number | Encoded:
    """One more step; on a category's numbers it is computed now."""
    if isinstance(feature, Number):
        return replace(feature, steps=(*feature.steps, step))
    return Encoded(
        feature.source,
        {key: _compute(value, step) for key, value in feature.codes.items()},
        None if feature.missing is None else _compute(feature.missing, step),
        None if feature.unknown is None else _compute(feature.unknown, step),
    )


def _compute(value: float, step: Step) -> float:
    name, operand = step
    number = np.float64(value)
    if name == "fill":
        return float(operand) if np.isnan(number) else value
    if name == "clip":
        return float(np.minimum(np.maximum(number, operand[0]), operand[1]))
    return float(getattr(np, name)(number, np.float64(operand)))


def is_missing(value: object) -> bool:
    """Whether a category stands for a missing value: None or NaN."""
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
