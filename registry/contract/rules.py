"""Rules between columns: one comparison each, parsed, never evaluated as code.

``left OP right`` with ``<  <=  >  >=  ==  !=``; a side is a column (in backticks if its name is no plain
word), a number, ``true``, ``false`` or a quoted text, which is a moment beside a column of moments.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry.errors import UsageError

from .values import READERS, ColumnType, Strange

__all__ = ["OPERATORS", "Rule", "Side", "parse_rule"]

OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_SIDE: Final = r"`(?P<{0}_quoted>[^`]+)`|(?P<{0}_text>'[^']*'|\"[^\"]*\")|(?P<{0}_bare>[^\s<>=!`'\"]+)"
_RULE: Final = re.compile(
    rf"\s*(?:{_SIDE.format('left')})\s*(?P<op><=|>=|==|!=|<|>)\s*(?:{_SIDE.format('right')})\s*"
)
_FORM: Final = "Write it as LEFT <= RIGHT with <, <=, >, >=, == or !=, for example dep_time <= arr_time."
_FAMILY: Final = {"category": "text"}


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a column's name, or a value as columns of its type are compared."""

    column: str | None
    value: Any = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed comparison. ``text`` is how it was written, ``type`` the family both sides belong to."""

    text: str
    left: Side
    operator: str
    right: Side
    type: ColumnType

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        sides = (self.left.column, self.right.column)
        return tuple(dict.fromkeys(name for name in sides if name is not None))


def parse_rule(text: str, types: Mapping[str, ColumnType]) -> Rule:
    """Reads a rule.

    Args:
        text: As written.
        types: Every column's type.

    Raises:
        UsageError: It is no comparison, names no column or an unknown one, or compares what cannot be.

    >>> parse_rule("distance > 0", {"distance": "number"}).right
    Side(column=None, value=0.0)
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise UsageError(f"The rule {text!r} cannot be read.", hint=_FORM)
    words = [_read_side(found.groupdict(), name, types) for name in ("left", "right")]
    kinds = {kind for _, kind, is_column in words if is_column}
    if not kinds:
        raise UsageError(
            f"The rule {text!r} names no column of the contract.", hint=f"Known: {_list(types)}."
        )
    if len({_FAMILY.get(kind, kind) for kind in kinds}) > 1:
        raise UsageError(f"The rule {text!r} compares a {' with a '.join(sorted(kinds))}.")
    kind = _FAMILY.get(min(kinds), min(kinds))
    if kind in {"text", "boolean"} and found["op"] not in {"==", "!="}:
        raise UsageError(f"The rule {text!r} orders columns that have no order.", hint="Use == or !=.")
    left, right = (_make_side(word, kind, text) for word in words)
    return Rule(text.strip(), left, found["op"], right, kind)


def _read_side(
    groups: Mapping[str, str | None], name: str, types: Mapping[str, ColumnType]
) -> tuple[Any, ColumnType, bool]:
    """What stands there, its type, and whether it is a column."""
    quoted, text, bare = (groups[f"{name}_{form}"] for form in ("quoted", "text", "bare"))
    if text is not None:
        return text[1:-1], "text", False
    word = quoted or bare or ""
    if word in types:
        return word, types[word], True
    if quoted is None and word in {"true", "false"}:
        return word == "true", "boolean", False
    try:
        return float(word), "number", False
    except ValueError:
        raise UsageError(
            f"A rule names the column {word!r}, which the contract does not have.",
            hint=f"It has: {_list(types)}.",
        ) from None


def _make_side(word: tuple[Any, ColumnType, bool], kind: ColumnType, text: str) -> Side:
    value, _, is_column = word
    if is_column:
        return Side(value)
    read = READERS[kind](value)
    if isinstance(read, Strange):
        raise UsageError(f"The rule {text!r} compares a {kind} with {read.value_class}.")
    return Side(None, read)


def _list(types: Mapping[str, ColumnType]) -> str:
    limit = 12
    return ", ".join(list(types)[:limit]) + (" …" if len(types) > limit else "")
