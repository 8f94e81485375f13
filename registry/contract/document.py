"""The contract as a file that people review: ``contract.json``, one line per column."""

import json
from collections.abc import Mapping
from typing import Any, Final

from registry.compatibility import CONTRACT_SCHEMA
from registry.errors import ArtifactError, UsageError

from .columns import Column, Contract, Range, read_bound
from .wording import format_bound

__all__ = ["format_contract", "parse_contract"]

_MODES: Final = ("refuse", "warn")


def format_contract(contract: Contract) -> str:
    """Writes a contract; ``parse_contract`` reads it back, equal.

    >>> contract = Contract({"distance": Column("number", range=Range(low=0.0))}, ("distance > 0",))
    >>> print(format_contract(contract))
    {
      "schema": "greenroom/contract/1",
      "mode": "warn",
      "columns": {
        "distance": {"type": "number", "nullable": false, "required": true, "range": {"low": 0.0}}
      },
      "rules": ["distance > 0"]
    }
    <BLANKLINE>
    """
    lines = [
        f"    {_dump(name)}: {_dump(_write_column(column))}" for name, column in contract.columns.items()
    ]
    return "\n".join(
        [
            "{",
            f'  "schema": {_dump(CONTRACT_SCHEMA)},',
            f'  "mode": {_dump(contract.mode)},',
            '  "columns": {',
            ",\n".join(lines),
            "  },",
            f'  "rules": {_dump(list(contract.rules))}',
            "}\n",
        ]
    )


def parse_contract(text: str) -> Contract:
    """Reads a contract.

    Raises:
        ArtifactError: It is no contract, or one of a newer kind.
    """
    try:
        document = json.loads(text)
        if document["schema"] != CONTRACT_SCHEMA:
            raise ArtifactError(
                f"The contract has the schema {document['schema']!r}, this program reads {CONTRACT_SCHEMA}."
            )
        columns = {str(name): _read_column(column) for name, column in document["columns"].items()}
        mode = document.get("mode", "warn")
        if mode not in _MODES:
            raise ArtifactError(f"The contract's mode is neither {' nor '.join(_MODES)}.")
        return Contract(columns, tuple(document.get("rules", ())), mode)
    except UsageError as error:
        raise ArtifactError(f"The contract cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"The contract cannot be read ({type(error).__name__}: {error}).") from error


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write_column(column: Column) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": column.type,
        "nullable": column.nullable,
        "required": column.required,
    }
    if column.range is not None:
        written["range"] = _write_range(column.range, column.type)
    if column.categories is not None:
        written["categories"] = list(column.categories)
    return written


def _write_range(limits: Range, kind: str) -> dict[str, Any]:
    ends = {"low": limits.low, "high": limits.high}
    written: dict[str, Any] = {name: _write_end(end, kind) for name, end in ends.items() if end is not None}
    if limits.seen is not None:
        written["seen"] = [_write_end(end, kind) for end in limits.seen]
        written["tolerance"] = limits.tolerance
    return written


def _write_end(end: float, kind: str) -> str | float:
    return format_bound(end, kind) if kind == "datetime" else end


def _read_column(document: Mapping[str, Any]) -> Column:
    kind = document["type"]
    limits, known = document.get("range"), document.get("categories")
    return Column(
        type=kind,
        nullable=bool(document.get("nullable", False)),
        required=bool(document.get("required", True)),
        range=None if limits is None else _read_range(limits, kind),
        categories=None if known is None else tuple(str(category) for category in known),
    )


def _read_range(document: Mapping[str, Any], kind: str) -> Range:
    low, high = (
        None if document.get(end) is None else read_bound(document[end], kind) for end in ("low", "high")
    )
    seen = document.get("seen")
    return Range(
        low=low,
        high=high,
        seen=None if seen is None else (read_bound(seen[0], kind), read_bound(seen[1], kind)),
        tolerance=float(document.get("tolerance", 0.0)),
    )
