"""One entry of a ledger: its fields, its text as MLflow keeps it, and its hash.

An entry is written as the value of a write-once param. Its text is canonical JSON (sorted keys, no
blanks, ASCII), so equal entries are equal texts; ``hash`` is sha256 over the text without ``hash``.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Literal, get_args

from registry.errors import TamperedError, UsageError

__all__ = [
    "ACTIONS",
    "Action",
    "Draft",
    "Entry",
    "canonical",
    "check_text",
    "digest",
    "format_entry",
    "parse_entry",
    "seal",
]

Action = Literal[
    "adopt",
    "promote",
    "rollback",
    "archive",
    "approve",
    "reject",
    "pending",
    "reserve",
    "rogue",
    "rename",
    "import",
]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

MAX_TEXT: Final = 6_000
"""MLflow truncates longer param values silently (``MAX_PARAM_VAL_LENGTH``)."""

MAX_REASON: Final = 1_000
"""Characters of a reason, so that an entry always fits."""


KEPT: Final = 1_024
"""Parsed entries kept in memory: 16 chapters."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to record, before it has a place in the chain.

    Attributes:
        action: What happens.
        stage: The stage it is about, if any.
        version: The version it is about, if any.
        was: The version that held the stage before, if any.
        created_ms: Creation time of the version (milliseconds, UTC): tells it from another of that number.
        run_id: The run that trained it.
        manifest: sha256 over its artifact's files (contents).
        layout: sha256 over its artifact's file names and sizes (checked without a download).
        evidence_run: The run that holds the evidence.
        evidence: sha256 of that evidence.
        policy: sha256 of the policy that decided.
        reason: Why, in the actor's words.
        details: Small further facts, JSON values.
        nonce: Kept across retries: how a writer knows its own entry.
    """

    action: Action
    nonce: str
    stage: str | None = None
    version: str | None = None
    was: str | None = None
    created_ms: int | None = None
    run_id: str | None = None
    manifest: str | None = None
    layout: str | None = None
    evidence_run: str | None = None
    evidence: str | None = None
    policy: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reason is not None and len(self.reason) > MAX_REASON:
            raise UsageError(f"The reason has {len(self.reason)} characters; {MAX_REASON} are allowed.")


@dataclass(frozen=True, slots=True)
class Entry(Draft):
    """A draft with its place: who, when, after what.

    Attributes:
        seq: Place in the history, from 1.
        time: RFC 3339 UTC by the writer's clock. Order is by seq, not by time.
        actor: Who, e.g. ``alice@build-7``.
        actor_source: ``server`` (MLflow authenticated them) or ``self-declared``.
        model: The registered model's name at that time.
        ledger: Run id of the ledger's first chapter.
        previous: Hash of what stands before it.
        hash: sha256 over all the rest.
    """

    seq: int = 0
    time: str = ""
    actor: str = ""
    actor_source: str = "self-declared"
    model: str = ""
    ledger: str = ""
    previous: str = ""
    hash: str = ""


def canonical(document: Mapping[str, Any]) -> str:
    r"""The one text of a JSON document.

    >>> canonical({"b": 1, "a": "ü"})
    '{"a":"\\u00fc","b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(document: Mapping[str, Any]) -> str:
    """sha256 over a document's canonical text without its own ``hash``, in hexadecimal."""
    bare = {key: value for key, value in document.items() if key != "hash"}
    return hashlib.sha256(canonical(bare).encode("ascii")).hexdigest()


def seal(draft: Draft, **place: Any) -> Entry:
    """Gives a draft its place and its hash.

    Args:
        draft: What to record.
        **place: The fields of Entry that Draft lacks, except ``hash``.

    Raises:
        UsageError: The entry would not fit into a param.
    """
    entry = Entry(**{name: getattr(draft, name) for name in Draft.__dataclass_fields__}, **place)
    entry = replace(entry, hash=digest(_to_document(entry)))
    size = len(format_entry(entry))
    if size >= MAX_TEXT:
        raise UsageError(f"A ledger entry of {size} characters does not fit.", hint="Shorten the reason.")
    return entry


def check_text(what: str, text: str | None) -> None:
    """Refuses what no database, page or terminal takes: control characters and broken UTF-8.

    Raises:
        UsageError: There is one; line breaks and tabs are kept.
    """
    for mark in text or "":
        if unicodedata.category(mark) in ("Cc", "Cs") and mark not in "\n\t":
            raise UsageError(f"The {what} holds a character that cannot be kept, {mark!r}.")


def format_entry(entry: Entry) -> str:
    """The entry's canonical text; fields without a value are left out."""
    return canonical(_to_document(entry))


@lru_cache(maxsize=KEPT)
def parse_entry(text: str) -> Entry:
    """Reads an entry and checks its hash and its form; the newest are kept, for followers read them often.

    Raises:
        TamperedError: It is no entry, or not the one that was written.
    """
    try:
        document = json.loads(text)
        entry = Entry(**document)
        sound = entry.hash == digest(document) and format_entry(entry) == text and entry.action in ACTIONS
    except (ValueError, TypeError, UsageError) as error:
        raise TamperedError(f"A ledger entry cannot be read: {error}.") from error
    if not sound:
        raise TamperedError(f"Ledger entry {entry.seq} is not the one that was written: its hash differs.")
    return entry


def _to_document(entry: Entry) -> dict[str, Any]:
    document = asdict(entry)
    return {key: value for key, value in document.items() if value is not None and value not in ("", {})}
