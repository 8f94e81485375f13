"""What a tag remembers of a history's head, in one value: a half-written witness would cry wolf."""

from dataclasses import dataclass
from typing import Final

__all__ = ["Witness", "format_witness", "parse_seq", "parse_witness"]

MAX_DIGITS: Final = 12
"""More entries than any history has; Python refuses to read numbers of thousands of digits."""


@dataclass(frozen=True, slots=True)
class Witness:
    """An entry that was seen: its seq and its hash."""

    seq: int
    hash: str


def format_witness(seq: int, entry_hash: str) -> str:
    """The tag's value.

    >>> format_witness(7, "c0ffee")
    '7 c0ffee'
    """
    return f"{seq} {entry_hash}"


def parse_witness(text: str | None) -> Witness | None:
    """Reads a tag; None if there is none, or it is no witness.

    >>> parse_witness("7 c0ffee"), parse_witness("seven")
    (Witness(seq=7, hash='c0ffee'), None)
    """
    text, _, entry_hash = (text or "").partition(" ")
    seq = parse_seq(text)
    return Witness(seq, entry_hash) if seq is not None and entry_hash else None


def parse_seq(text: str | None) -> int | None:
    """Reads an entry's number; None if somebody wrote something else there.

    >>> parse_seq("7"), parse_seq("x"), parse_seq(None)
    (7, None, None)
    """
    return int(text) if text and text.isdecimal() and len(text) <= MAX_DIGITS else None
