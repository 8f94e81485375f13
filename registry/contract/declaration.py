"""What people declare about rows, put over what was inferred from them."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from registry.errors import UsageError

from .columns import Column, Contract, Mode, Range, read_bound

__all__ = ["ANY", "declare_contract"]

ANY: Final = "any"
"""Instead of a range or of categories: none are asked for."""
_ENDS: Final = ("low", "high")


def declare_contract(
    contract: Contract,
    *,
    ranges: Mapping[str, Any] | None = None,
    categories: Mapping[str, Any] | None = None,
    rules: Sequence[str] = (),
    mode: Mode = "warn",
) -> Contract:
    """Returns the contract with what a person declared; that holds as it is, without tolerance.

    Args:
        contract: Inferred.
        ranges: By column: ``[low, high]``, ``{"low": …}``, ``{"high": …}``, or ``"any"``.
        categories: By column: all known texts, or ``"any"``.
        rules: Comparisons between columns.
        mode: What becomes of a row that breaks the contract.

    Raises:
        UsageError: A column that is not there, a range that is none, a rule that cannot be read.
    """
    columns = dict(contract.columns)
    for name, given in (ranges or {}).items():
        column = _get(columns, name, "contract.ranges")
        columns[name] = replace(column, range=_read_range(given, name, column.type))
    for name, given in (categories or {}).items():
        column = _get(columns, name, "contract.categories")
        columns[name] = replace(column, categories=_read_categories(given, name, column))
    return Contract(columns, tuple(rules), mode)


def _get(columns: Mapping[str, Column], name: str, key: str) -> Column:
    if name not in columns:
        raise UsageError(
            f"{key} names the column {name!r}, which callers do not send.", hint=_guess(name, columns)
        )
    return columns[name]


def _guess(name: str, columns: Collection[str]) -> str:
    close = difflib.get_close_matches(name, columns, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"They send {', '.join(list(columns)[:12])}."


def _read_range(given: Any, name: str, kind: str) -> Range | None:
    if given == ANY:
        return None
    ends = dict(zip(_ENDS, given, strict=False)) if isinstance(given, Sequence) else given
    form = 'Write [low, high], { low = … }, { high = … } or "any".'
    whole = isinstance(ends, Mapping) and ends and set(ends) <= set(_ENDS)
    if not whole or (isinstance(given, Sequence) and len(given) != len(_ENDS)):
        raise UsageError(f"contract.ranges.{name} is no range.", hint=form)
    low, high = (None if ends.get(end) is None else read_bound(ends[end], kind) for end in _ENDS)
    if low is not None and high is not None and low > high:
        raise UsageError(f"contract.ranges.{name} ends before it begins.", hint=form)
    return Range(low, high)


def _read_categories(given: Any, name: str, column: Column) -> tuple[str, ...] | None:
    if given == ANY:
        return None
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or not all(isinstance(one, str) for one in given)
    ):
        raise UsageError(f'contract.categories.{name} is no list of texts, and not "any".')
    if column.type not in {"category", "text"}:
        raise UsageError(f"contract.categories.{name}: a column of type {column.type} has no categories.")
    return tuple(sorted(set(given)))
