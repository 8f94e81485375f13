"""What a tag remembers of a history's head, in one value: a half-written witness would cry wolf."""

from dataclasses import dataclass

__all__ = ["Witness", "format_witness", "parse_witness"]


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
    seq, _, entry_hash = (text or "").partition(" ")
    return Witness(int(seq), entry_hash) if seq.isdecimal() and entry_hash else None
