"""Takes a model's guard apart: which slots it looks at, and what it compares them with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .errors import NotCompilableError
from .guards import MAX_MARKS
from .symbols import Feature, Number, Source, Text

__all__ = ["CompiledGuard", "compile_guard"]

_MISSING: Final = -1
_UNSEEN: Final = -2
"""Codes of marks, as in the model's own guard."""


@dataclass(frozen=True, slots=True)
class CompiledGuard:
    """A guard as parts of a plan.

    Attributes:
        guard: Its entry in the document.
        arrays: By the names that it uses.
        tables: By source: the codes of a category, as its maker has them.
    """

    guard: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    tables: dict[Source, dict[str, Any]]


def compile_guard(
    guard: Any, features: Mapping[str, Feature], slot: Callable[[str, Source], int]
) -> CompiledGuard:
    """Compiles the guard of an opened model.

    Args:
        guard: The model's ``Guard``.
        features: The row layer's, by name.
        slot: Finds the slot of a kind (``number`` or ``mark``) and a source.

    Raises:
        NotCompilableError: It compares the text of a feature as a number.
    """
    plan, code = guard.plan, type(guard).judge.__globals__
    sources = [_find_number(features, number["feature"]) for number in plan["numbers"]]
    marks: list[dict[str, Any]] = []
    order: list[int] = []
    fixed: list[tuple[int, int]] = []
    tables: dict[Source, dict[str, Any]] = {}
    for place, mark in enumerate(plan["marks"]):
        feature = features[mark["feature"]]
        if "known" not in mark:
            marks.append({"slot": slot("number", _find_number(features, mark["feature"])), "hole": True})
        elif isinstance(feature, Text):
            tables[feature.source] = _make_table(mark)
            marks.append({"slot": slot("mark", feature.source), "hole": False})
        else:  # a number that is no text: never among the known ones
            fixed.append((place, _MISSING if mark["missing"] else _UNSEEN))
            continue
        order.append(place)
    arrays = {
        "guard_center": guard.center,
        "guard_scale": guard.scale,
        "guard_constant": guard.is_constant,
        "guard_whole": guard.is_whole,
        "guard_numbers": guard.numbers,
        "guard_marks": guard.marks[[*order, *(place for place, _ in fixed)]],
        "guard_scores": guard.scores,
    }
    if len(plan["marks"]) > MAX_MARKS:
        raise NotCompilableError(f"Its guard compares more than {MAX_MARKS} categories.")
    if guard.projection is not None:
        arrays["guard_projection"] = guard.projection
    entry = {
        "numbers": [slot("number", source) for source in sources],
        "marks": marks,
        "fixed": [number for _, number in fixed],
        "divisor": plan["divisor"],
        "neighbours": plan["neighbours"],
        "most": plan["most"],
        "limit": code["LIMIT"],
        "mismatch": code["MISMATCH"],
        "strange": code["STRANGE"],
    }
    return CompiledGuard(entry, {name: np.asarray(values) for name, values in arrays.items()}, tables)


def _find_number(features: Mapping[str, Feature], name: str) -> Source:
    feature = features[name]
    if not isinstance(feature, Number):
        raise NotCompilableError(f"The guard compares {name!r} as a number.")
    return feature.source


def _make_table(mark: Mapping[str, Any]) -> dict[str, Any]:
    known = [value for value in mark["known"] if isinstance(value, str)]
    codes = {value: code for code, value in enumerate(mark["known"])}
    return {
        "keys": known,
        "codes": [float(codes[value]) for value in known],
        "missing": float(_MISSING if mark["missing"] else _UNSEEN),
        "unknown": float(_UNSEEN),
    }
