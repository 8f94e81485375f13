"""One chapter: a run that holds an opening, up to 64 entries, and a link to the next chapter.

Params of the run: ``0000`` the opening (what came before, and the fold up to there, so that reading
stays cheap however long the history), ``0000.001``… the snapshot's parts, ``0001``…``0064`` the entries,
``0065`` the link. All are written once. Openings are written before anything points at their run.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from registry.errors import TamperedError

from .entry import Entry, canonical, digest, parse_entry
from .state import Holding, Look, Pending, Record, State

__all__ = [
    "CAPACITY",
    "LINK_KEY",
    "OPENING_KEY",
    "Chapter",
    "Opening",
    "parse_chapter",
    "write_link",
    "write_opening",
]

CAPACITY: Final = 64
"""Entries in a chapter: a run with so many params still opens fast in MLflow's UI."""

OPENING_KEY: Final = "0000"
LINK_KEY: Final = f"{CAPACITY + 1:04d}"
PART_LENGTH: Final = 5_900
OPENING_SCHEMA: Final = "greenroom/chapter/1"


@dataclass(frozen=True, slots=True)
class Opening:
    """How a chapter begins.

    Attributes:
        number: 1 for the first chapter.
        ledger: Run id of the first chapter, the ledger's identity; empty in the first itself.
        previous_run: Run id of the chapter before.
        hash: What the chapter's first entry names as previous.
        state: The fold of everything before.
    """

    number: int
    ledger: str
    previous_run: str
    hash: str
    state: State


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter as read: its opening, its entries, where the next one is."""

    run_id: str
    experiment_id: str
    opening: Opening
    entries: tuple[Entry, ...]
    next_run: str | None
    next_hash: str | None

    @property
    def is_full(self) -> bool:
        """Whether no further entry fits."""
        return len(self.entries) >= CAPACITY


def write_opening(
    *,
    number: int,
    ledger: str,
    model: str,
    previous_run: str,
    state: State | None,
    tracking_uri: str,
    nonce: str,
) -> dict[str, str]:
    """The params that open a chapter, in the order in which they may be written.

    Args:
        number: 1 for the first chapter.
        ledger: Run id of the first chapter.
        model: The registered model's name.
        previous_run: Run id of the chapter before; empty for the first.
        state: The fold of all before; None for the first.
        tracking_uri: Where the ledger lives, for people; without credentials.
        nonce: Tells one opening from another.
    """
    parts = _encode_state(state) if state else []
    opening = {
        "schema": OPENING_SCHEMA,
        "number": number,
        "ledger": ledger,
        "model": model,
        "previous_run": previous_run,
        "previous": state.link if state else "",
        "parts": len(parts),
        "snapshot": digest({"parts": parts}),
        "tracking_uri": tracking_uri,
        "nonce": nonce,
    }
    opening["hash"] = digest(opening)
    return {_part_key(place): part for place, part in enumerate(parts, 1)} | {OPENING_KEY: canonical(opening)}


def parse_chapter(run_id: str, experiment_id: str, params: Mapping[str, str]) -> Chapter:
    """Reads a chapter from its run's params; checks every hash that it holds.

    Raises:
        TamperedError: Something is missing, added or changed.
    """
    opening = _parse_opening(run_id, params)
    entries = []
    for place in range(1, CAPACITY + 1):
        text = params.get(f"{place:04d}")
        if text is None:
            break
        entries.append(parse_entry(text))
    _check_no_gap(run_id, params, len(entries))
    link = _parse_link(run_id, params[LINK_KEY]) if LINK_KEY in params else {}
    return Chapter(
        run_id=run_id,
        experiment_id=experiment_id,
        opening=opening,
        entries=tuple(entries),
        next_run=link.get("next"),
        next_hash=link.get("hash"),
    )


def write_link(next_run: str, next_hash: str) -> str:
    """The text of a chapter's link."""
    return canonical({"next": next_run, "hash": next_hash})


def _part_key(place: int) -> str:
    return f"{OPENING_KEY}.{place:03d}"


def _parse_opening(run_id: str, params: Mapping[str, str]) -> Opening:
    text = params.get(OPENING_KEY)
    if text is None:
        raise TamperedError(f"Run {run_id} is no chapter of a ledger: it has no opening.")
    try:
        opening: dict[str, Any] = json.loads(text)
        parts = [params[_part_key(place)] for place in range(1, opening["parts"] + 1)]
        sound = opening["hash"] == digest(opening) and canonical(opening) == text
        sound = sound and opening["snapshot"] == digest({"parts": parts})
    except (ValueError, KeyError, TypeError) as error:
        raise TamperedError(f"The opening of chapter {run_id} cannot be read: {error!r}.") from error
    if not sound:
        raise TamperedError(f"The opening of chapter {run_id} is not the one that was written.")
    ledger = opening["ledger"]
    state = _decode_state(parts) if parts else State(ledger=ledger, model=opening["model"])
    return Opening(
        number=opening["number"],
        ledger=ledger,
        previous_run=opening["previous_run"],
        hash=opening["hash"],
        state=_link_state(state, opening["hash"]),
    )


def _link_state(state: State, opening_hash: str) -> State:
    return replace(state, link=opening_hash, hash=state.hash or opening_hash)


def _check_no_gap(run_id: str, params: Mapping[str, str], count: int) -> None:
    """An entry behind a gap, or any param that does not belong here, was not written by us."""
    known = {f"{place:04d}" for place in range(count + 1)} | ({LINK_KEY} if count == CAPACITY else set())
    strange = sorted(key for key in params if key not in known and not key.startswith(f"{OPENING_KEY}."))
    if strange:
        raise TamperedError(
            f"Chapter {run_id} holds {strange[0]!r} behind a gap: entry {count + 1} is missing."
        )


def _parse_link(run_id: str, text: str) -> dict[str, str]:
    try:
        link: dict[str, str] = json.loads(text)
        sound = set(link) == {"next", "hash"} and canonical(link) == text
    except (ValueError, TypeError) as error:
        raise TamperedError(f"The link of chapter {run_id} cannot be read.") from error
    if not sound:
        raise TamperedError(f"The link of chapter {run_id} is not the one that was written.")
    return link


def _encode_state(state: State) -> list[str]:
    document = asdict(state)
    document["rejected"] = sorted(state.rejected)
    packed = zlib.compress(canonical(document).encode("ascii"), level=9)
    text = base64.b85encode(packed).decode("ascii")
    return [text[start : start + PART_LENGTH] for start in range(0, len(text), PART_LENGTH)]


def _decode_state(parts: list[str]) -> State:
    try:
        document = json.loads(zlib.decompress(base64.b85decode("".join(parts))))
        return State(
            **document
            | {
                "holders": {stage: Holding(**held) for stage, held in document["holders"].items()},
                "before": tuple(Holding(**held) for held in document["before"]),
                "records": {version: _decode_record(kept) for version, kept in document["records"].items()},
                "rejected": frozenset(document["rejected"]),
                "rogue": tuple(document["rogue"]),
                "pending": {version: Pending(**wait) for version, wait in document["pending"].items()},
                "looks": {question: Look(**look) for question, look in document.get("looks", {}).items()},
                "best": {version: Holding(**held) for version, held in document.get("best", {}).items()},
                "imported": {came: Holding(**held) for came, held in document.get("imported", {}).items()},
            }
        )
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise TamperedError(f"A ledger's snapshot cannot be read: {error!r}.") from error


def _decode_record(kept: dict[str, Any]) -> Record:
    produced = kept["produced"]
    return Record(**kept | {"produced": Holding(**produced) if produced else None})
