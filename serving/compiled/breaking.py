"""Rows that break a model's contract, each in one way, and rows that just do not: made from its own."""

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from registry import Contract, parse_contract

from .artifacts import Opened

__all__ = ["make_breaking_rows"]

MAX_ROWS: Final = 240
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - moments have no zone here
_SECOND: Final = 1_000_000

Row = list[Any]


def make_breaking_rows(opened: Opened, own: Sequence[Row]) -> list[Row]:
    """Makes rows: every column at the ends of what the contract allows, and beyond; every rule's edge.

    Args:
        opened: A model with a contract.
        own: Rows to change one value of; some.
    """
    assert opened.contract is not None
    contract = parse_contract(opened.contract.text)
    places = {column["name"]: place for place, column in enumerate(opened.input["columns"])}
    changes = [
        *((places[name], value) for name in contract.columns for value in _list_edges(contract, name)),
        *_list_rule_edges(contract, places, own[0]),
    ]
    rows = []
    for (place, value), row in zip(changes[:MAX_ROWS], itertools.cycle(own), strict=False):
        changed = list(row)
        changed[place] = value
        rows.append(changed)
    return rows


def _list_edges(contract: Contract, name: str) -> Iterator[Any]:
    column = contract.columns[name]
    yield None
    if column.categories is not None:
        yield from ("", "no such category", *column.categories[:1])
    if column.range is None:
        return
    ends = [end for end in (column.range.low, column.range.high) if end is not None]
    for end in ends:
        yield from _list_near(end, column.type)


def _list_near(value: Any, kind: str) -> Iterator[Any]:
    """The value itself, and the nearest ones beside it that a request may hold."""
    if kind == "datetime":
        for away in (-_SECOND, 0, _SECOND):
            yield (_EPOCH + dt.timedelta(microseconds=value + away)).replace(microsecond=0).isoformat()
    elif kind == "number":
        yield from (float(np.nextafter(value, -np.inf)), float(value), float(np.nextafter(value, np.inf)))
    else:
        yield value


def _list_rule_edges(contract: Contract, places: Mapping[str, int], row: Row) -> Iterator[tuple[int, Any]]:
    """Each rule's first column at, below and above what it is compared with in the first row."""
    for rule in contract.parsed:
        one, other = (rule.left, rule.right) if rule.left.column else (rule.right, rule.left)
        assert one.column is not None
        value = row[places[other.column]] if other.column else other.value
        if isinstance(value, str) and rule.type == "datetime":
            moment = dt.datetime.fromisoformat(value)
            value = (moment - _EPOCH) // dt.timedelta(microseconds=1)
        if value is not None:
            for near in _list_near(value, rule.type):
                yield places[one.column], near
