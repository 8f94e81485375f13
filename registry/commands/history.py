"""``greenroom history``: who moved what when and why, or what was in production at a time."""

import argparse
from datetime import datetime
from typing import TYPE_CHECKING, Any

from registry.clock import parse_time
from registry.console import Answer, Command, say
from registry.names import PRODUCTION, STAGING

if TYPE_CHECKING:
    from registry.bundle.imported import ImportedHistory
    from registry.ledger.entry import Entry
    from registry.ledger.ledger import Ledger

__all__ = ["COMMAND"]

SCHEMA = "greenroom/history/1"
AS_OF_SCHEMA = "greenroom/as-of/1"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument(
        "--as-of", type=_read_time, metavar="TIME", help="what held at a time (RFC 3339 or a date, UTC)"
    )
    parser.add_argument("--limit", type=_read_limit, metavar="N", help="only the newest N entries")


def _read_time(text: str) -> datetime:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-03-01 or 2026-03-01T12:00:00Z"
        ) from None


def _read_limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of entries; write 1 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.bundle.imported import read_imports  # noqa: PLC0415 - not on the way to --help
    from registry.deviations import read_deviations  # noqa: PLC0415 - not on the way to --help
    from registry.views import read_history  # noqa: PLC0415 - not on the way to --help

    ledger = open_ledger(arguments.name)
    if arguments.as_of:
        return _show_as_of(ledger, arguments.as_of)
    entries = read_history(ledger)
    shown = entries[-arguments.limit :] if arguments.limit else entries
    imports = tuple(read_imports(ledger.store, shown))
    notes = [*read_deviations(ledger), *(one.problem for one in imports if one.problem)]
    for note in notes:
        say(f"! {note}")
    document = {
        "schema": SCHEMA,
        "model": arguments.name,
        "entries": [_document(entry) for entry in shown],
        "imported": [_describe_import(one) for one in imports if one.entries],
        "notes": notes,
    }
    return Answer(document, "\n".join([_word(shown), *(_word_import(one) for one in imports if one.entries)]))


def _describe_import(found: "ImportedHistory") -> dict[str, Any]:
    """Where a version came from, and what was decided there: beside the history here, not part of it."""
    return {
        "seq": found.entry.seq,
        "version": found.entry.version,
        "from": dict(found.entry.details.get("from", {})),
        "entries": [_document(entry) for entry in found.entries],
        "runs": dict(found.runs),
    }


def _word_import(found: "ImportedHistory") -> str:
    what = (
        f"Imported with version {found.entry.version} (entry {found.entry.seq}), as it {found.entry.reason}:"
    )
    return f"\n{what}\n{_word(found.entries)}"


def _show_as_of(ledger: "Ledger", moment: datetime) -> Answer:
    from registry.clock import format_time  # noqa: PLC0415 - beside its user
    from registry.views import read_as_of  # noqa: PLC0415 - not on the way to --help

    state = read_as_of(ledger, moment)
    document: dict[str, Any] = {
        "schema": AS_OF_SCHEMA,
        "model": ledger.name,
        "time": format_time(moment),
        "seq": state.seq,
    }
    lines = [f"{ledger.name} at {format_time(moment)} (entry {state.seq})"]
    for stage in (PRODUCTION, STAGING):
        holder = state.holder(stage)
        document[stage] = (
            {"version": holder.version, "seq": holder.seq, "since": holder.since} if holder else None
        )
        lines.append(f"  {stage:<11} {f'version {holder.version} since {holder.since}' if holder else '–'}")
    return Answer(document, "\n".join(lines))


def _document(entry: "Entry") -> dict[str, Any]:
    names = (
        "seq",
        "time",
        "actor",
        "actor_source",
        "action",
        "stage",
        "version",
        "was",
        "reason",
        "evidence_run",
    )
    return {name: getattr(entry, name) for name in (*names, "manifest", "hash")} | {
        "details": dict(entry.details)
    }


def _word(entries: "tuple[Entry, ...]") -> str:
    rows = [("seq", "time (UTC)", "who", "what", "from", "to", "why")]
    latest = ""
    for entry in entries:
        back = " (the clock had run back)" if entry.time < latest else ""
        latest = max(latest, entry.time)
        rows.append(
            (
                str(entry.seq),
                entry.time[:19].replace("T", " ") + back,
                entry.actor,
                _name_act(entry),
                (entry.was if entry.action != "reserve" else None) or "–",
                entry.version or "–",
                _give_reason(entry),
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _name_act(entry: "Entry") -> str:
    """What was done, where to; a look moves nothing, and is one of the attempts at a holder."""
    if entry.action == "reserve":
        against = f" against {entry.was}" if entry.was else ""
        return f"reserve attempt {entry.details.get('attempt')}{against}"
    if entry.action in {"promote", "rollback", "pending"} and entry.stage:
        return f"{entry.action} to {entry.stage}"
    return entry.action + (f" entry {entry.details['pending']}" if entry.details.get("pending") else "")


def _give_reason(entry: "Entry") -> str:
    parts = [entry.reason or ""]
    if entry.details.get("override"):
        parts.append(f"OVERRIDDEN: {entry.details['override']}")
    if entry.evidence_run:
        parts.append(f"[evidence {entry.evidence_run}]")
    return " ".join(filter(None, parts))


COMMAND = Command(
    "history",
    "Show who moved what when and why, or what was in production at a time.",
    _configure,
    _run,
    epilog="examples:\n  greenroom history flight-delay\n  greenroom history flight-delay --as-of 2026-03-01",
)
