"""A version's history as it travels: every entry as it was written, and what holds the entries together.

The opening of a chapter (``registry.ledger.chapter``) names the address of the server that keeps it, which
may be a path on somebody's machine, so of openings only the hashes travel. Within a chapter every entry names
the hash of the one before; between chapters the opening's hash stands in the next entry, and that the opening
names the last entry before it was checked by whoever exported. The entries are then added up again.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from registry.errors import TamperedError
from registry.ledger.chapter import CAPACITY, Chapter
from registry.ledger.entry import Entry, format_entry, parse_entry
from registry.ledger.fold import step
from registry.ledger.state import State

__all__ = ["HISTORY", "BundledHistory", "format_history", "parse_history"]

HISTORY: Final = "history.json"
SCHEMA: Final = "greenroom/bundle-history/1"


@dataclass(frozen=True, slots=True)
class BundledHistory:
    """A history that was checked: its entries in order, and what they add up to."""

    entries: tuple[Entry, ...]
    state: State


def format_history(chapters: Iterable[Chapter]) -> str:
    """Writes chapters down, which the caller has read with all their checks.

    Args:
        chapters: From the first to the newest; at least one.
    """
    kept = tuple(chapters)
    first, last = kept[0].opening, kept[-1]
    head = last.entries[-1] if last.entries else None
    document = {
        "schema": SCHEMA,
        "ledger": first.ledger,
        "model": first.state.model,
        "chapters": [
            {"opening": one.opening.hash, "entries": [format_entry(entry) for entry in one.entries]}
            for one in kept
        ],
        "head": {
            "seq": head.seq if head else last.opening.state.seq,
            "hash": head.hash if head else last.opening.state.hash,
        },
    }
    return json.dumps(document, indent=1, sort_keys=True)


def parse_history(text: str) -> BundledHistory:
    """Reads a history and checks it: every entry's own hash, the chain, and that each follows in sense.

    Raises:
        TamperedError: It is not one, or not as it was written.
    """
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise TamperedError(
                f"The bundle's history is of a kind that is not known ({document['schema']!r})."
            )
        found = _fold(document)
        head = {"seq": found.state.seq, "hash": found.state.hash}
        is_whole = document["head"] == head
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"The bundle's history cannot be read: {error!r}.") from error
    if not is_whole:
        raise TamperedError(f"The bundle's history ends at entry {found.state.seq}: its tail was cut.")
    return found


def _fold(document: dict[str, Any]) -> BundledHistory:
    state = State(ledger=str(document["ledger"]), model=str(document["model"]))
    entries: list[Entry] = []
    chapters = document["chapters"]
    for number, chapter in enumerate(chapters, 1):
        opening, texts = str(chapter["opening"]), chapter["entries"]
        if len(texts) > CAPACITY or (number < len(chapters) and len(texts) != CAPACITY):
            raise TamperedError(f"Chapter {number} of the bundle's history has {len(texts)} entries.")
        state = replace(state, link=opening, hash=state.hash or opening)
        for text in texts:
            entry = parse_entry(text)
            state = step(state, entry)
            entries.append(entry)
    return BundledHistory(tuple(entries), state)
