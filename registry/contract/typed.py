"""Checks rows whose values are typed already: what a compiled model does before it answers.

Mostly finds nothing, and is quick about it: some 50 ns per value of one row; columns of numbers as arrays.
A value that is not sound is looked at again by the checker of single requests, which has the words.
"""

import datetime as dt
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .checker import compile_column
from .columns import Column, Contract
from .rules import OPERATORS, Rule, Side
from .values import EPOCH
from .violation import AGAINST, Violation
from .wording import Words

__all__ = ["Finding", "TypedChecker", "word_findings"]

_LARGEST: Final = sys.float_info.max
_Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One way in which rows break a contract.

    Attributes:
        row: Position of the first such row, from 0.
        order: Place of the column or rule in the contract.
        column: As in :class:`Violation`.
        value_class: As there.
        rule: As there.
        count: How many rows.
    """

    row: int
    order: int
    column: str
    value_class: str
    rule: str
    count: int = 1


def word_findings(findings: Iterable[Finding]) -> str:
    """The sentence about the first row, and how many violations there are beside it.

    >>> word_findings([Finding(2, 0, "a", "missing", "a value", 3)])
    "Row 3, column 'a': missing, where the contract asks for a value. And 2 more like it or of other kinds."
    """
    found = sorted(findings)
    first, more = found[0], sum(finding.count for finding in found) - 1
    text = Violation(first.row, first.column, first.value_class, first.rule).text
    return text + (f" And {more} more like it or of other kinds." if more else "")


class TypedChecker:
    """Finds what breaks a contract. Holds no state: threads may share it.

    Numbers are floats, truth values 1.0 and 0.0, both NaN where missing; texts are str and moments datetime
    without a zone, both None where missing.

    Args:
        contract: What rows must look like.
        names: The columns, in the order in which values come.

    Raises:
        KeyError: The contract has a column that does not come.
    """

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        places = {name: place for place, name in enumerate(names)}
        self._columns = [
            _Column(order, name, places[name], column)
            for order, (name, column) in enumerate(contract.columns.items())
        ]
        self._tests = [(one.place, one.is_sound) for one in self._columns if one.is_sound is not None]
        types = {name: column.type for name, column in contract.columns.items()}
        self._rules = [
            (order, rule, _compile_rule(rule, types, places))
            for order, rule in enumerate(contract.parsed, len(self._columns))
        ]

    def check_row(self, values: Sequence[Any]) -> list[Finding]:
        """Checks one row."""
        for place, is_sound in self._tests:
            if not is_sound(values[place]):
                break
        else:
            for _, _, breaks in self._rules:
                if breaks(values):
                    break
            else:
                return []
        return list(self._list([(value,) for value in values]))

    def check_columns(self, columns: Sequence[Any]) -> list[Finding]:
        """Checks rows, given as columns of equal length: arrays of float64, or lists."""
        return list(self._list(columns))

    def _list(self, columns: Sequence[Any]) -> Iterator[Finding]:
        for one in self._columns:
            yield from one.find(columns[one.place])
        if not self._rules:
            return
        lists = [_to_list(column) for column in columns]
        for order, rule, breaks in self._rules:
            broken = [number for number, values in enumerate(zip(*lists, strict=True)) if breaks(values)]
            if broken:
                yield Finding(broken[0], order, ", ".join(rule.columns), AGAINST, rule.text, len(broken))


class _Column:
    """One column's test.

    Attributes:
        place: Where its values come.
        is_sound: The quick test of one value; None where every value is.
    """

    def __init__(self, order: int, name: str, place: int, column: Column) -> None:
        self.place = place
        self.is_sound = _make_test(column)
        self._order, self._name, self._type = order, name, column.type
        self._find_problem = compile_column(column)
        self._known = _list_known(column)
        self._low, self._high = _list_ends(column)
        self._nullable = column.nullable

    def find(self, values: Sequence[Any]) -> Iterator[Finding]:
        """What is wrong with values of this column, by kind."""
        if self.is_sound is None or self._are_sound(values):
            return
        counts: Counter[Words] = Counter()
        first: dict[Words, int] = {}
        for row, value in enumerate(_to_list(values)):
            words = None if self.is_sound(value) else self._find_problem(self._restore(value))
            if words is not None:
                counts[words] += 1
                first.setdefault(words, row)
        for words, row in first.items():
            yield Finding(row, self._order, self._name, *words, counts[words])

    def _are_sound(self, values: Any) -> bool:
        """Whether a quick look at all of them finds nothing; False: look at each."""
        if self._known is not None:
            return self._known.issuperset(values)
        if not hasattr(values, "dtype"):
            return False
        strange = (values < self._low) | (values > self._high)
        if not self._nullable:
            strange |= values != values  # noqa: PLR0124 - NaN
        return not strange.any()

    def _restore(self, value: Any) -> Any:
        """A truth value as one."""
        return value == 1.0 if self._type == "boolean" and value == value else value  # noqa: PLR0124 - NaN


def _to_list(values: Any) -> Sequence[Any]:
    return values.tolist() if hasattr(values, "dtype") else values  # type: ignore[no-any-return]


def _list_known(column: Column) -> frozenset[Any] | None:
    if column.categories is None:
        return None
    return frozenset((*column.categories, None) if column.nullable else column.categories)


def _list_ends(column: Column) -> tuple[float, float]:
    low, high = (None, None) if column.range is None else (column.range.low, column.range.high)
    return -_LARGEST if low is None else low, _LARGEST if high is None else high


def _make_test(column: Column) -> _Test | None:
    nullable = column.nullable
    if column.type in {"category", "text"}:
        known = _list_known(column)
        if known is not None:
            return known.__contains__
        return None if nullable else lambda value: value is not None
    if column.type == "boolean":
        return None if nullable else lambda value: value == value  # noqa: PLR0124 - NaN
    low, high = _list_ends(column)
    if column.type == "number":
        if nullable:
            return lambda value: low <= value <= high or value != value  # noqa: PLR0124 - NaN
        return lambda value: low <= value <= high
    first, last = (_to_moment(end) for end in (low, high))
    return lambda value: nullable if value is None else first <= value <= last


def _to_moment(microseconds: float) -> dt.datetime:
    if abs(microseconds) == _LARGEST:
        return EPOCH.max if microseconds > 0 else EPOCH.min
    return EPOCH + dt.timedelta(microseconds=microseconds)


def _compile_rule(
    rule: Rule, types: dict[str, str], places: dict[str, int]
) -> Callable[[Sequence[Any]], bool]:
    compare = OPERATORS[rule.operator]
    left, right = (_compile_side(side, rule.type, types, places) for side in (rule.left, rule.right))

    def breaks(values: Sequence[Any]) -> bool:
        one, other = left(values), right(values)
        return not (one is None or other is None or compare(one, other))

    return breaks


def _compile_side(
    side: Side, kind: str, types: dict[str, str], places: dict[str, int]
) -> Callable[[Sequence[Any]], Any]:
    if side.column is None:
        value = _to_moment(side.value) if kind == "datetime" else side.value
        return lambda _: value
    place = places[side.column]
    if types[side.column] in {"number", "boolean"}:
        return lambda values: values[place] if math.isfinite(values[place]) else None
    return lambda values: values[place]
