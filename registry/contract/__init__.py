"""What rows must look like: inferred from training rows, declared by people, checked in batch and request."""

from .batch import count_violations, find_bad_rows, find_violations
from .columns import Column, Contract, Range
from .declaration import declare_contract
from .document import format_contract, parse_contract
from .inference import infer_contract
from .typed import Finding, TypedChecker, word_findings
from .violation import Violation

__all__ = [
    "Column",
    "Contract",
    "Finding",
    "Range",
    "TypedChecker",
    "Violation",
    "count_violations",
    "declare_contract",
    "find_bad_rows",
    "find_violations",
    "format_contract",
    "infer_contract",
    "parse_contract",
    "word_findings",
]
