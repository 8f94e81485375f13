"""``greenroom rollback|approve|reject|archive|adopt``: the moves that need no judging."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from registry.console import Answer, Command, say
from registry.names import PRODUCTION

if TYPE_CHECKING:
    from registry.moves import Moved

__all__ = ["ADOPT", "APPROVE", "ARCHIVE", "REJECT", "ROLLBACK"]

PROMOTION_SCHEMA = "greenroom/promotion/1"
WORD_SCHEMA = "greenroom/word/1"
EXIT_CONFLICT = 5


def _configure_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")


def _configure_rollback(parser: argparse.ArgumentParser) -> None:
    _configure_common(parser)
    parser.add_argument("--to-version", metavar="N", help="any version that ever was in production")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the history")


def _configure_word(parser: argparse.ArgumentParser) -> None:
    _configure_common(parser)
    parser.add_argument("--version", metavar="N", required=True, help="which version")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the history")


def _rollback(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.moves import rollback  # noqa: PLC0415 - not on the way to --help

    moved = rollback(
        open_ledger(arguments.name),
        to_version=arguments.to_version,
        reason=arguments.reason,
        dry_run=arguments.dry_run,
    )
    verdict = "conflict" if moved.conflict else "yes"
    document: dict[str, Any] = {
        "schema": PROMOTION_SCHEMA,
        "model": moved.model,
        "stage": PRODUCTION,
        "version": moved.version,
        "was": moved.was,
        "seq": moved.seq,
        "verdict": verdict,
        "gates": [],
        "evidence_run": None,
        "dry_run": moved.dry_run,
    } | _warn(moved)
    if moved.conflict:
        return Answer(document | {"conflict": moved.conflict}, f"Not moved: {moved.conflict}", EXIT_CONFLICT)
    verb = "would be back" if moved.dry_run else "is back"
    place = f"entry {moved.seq}, was version {moved.was}"
    return Answer(document, f"{moved.model} version {moved.version} {verb} in production ({place}).")


def _adopt(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.moves import adopt  # noqa: PLC0415 - not on the way to --help

    moved = adopt(open_ledger(arguments.name), dry_run=arguments.dry_run)
    found = ", ".join(f"{stage} version {version}" for stage, version in (moved.found or {}).items())
    verb = "would be adopted" if moved.dry_run else "is managed"
    return Answer(
        {**_document(moved, "adopt"), "found": moved.found or {}},
        f"{moved.model} {verb} with {found or 'no stages set'} (entry {moved.seq}, as found, not verified).",
    )


def _speak(action: str, done: str) -> Callable[[argparse.Namespace], Answer]:
    def run(arguments: argparse.Namespace) -> Answer:
        from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
        from registry.moves import archive, speak  # noqa: PLC0415 - not on the way to --help

        ledger = open_ledger(arguments.name)
        rest = {"reason": arguments.reason, "dry_run": arguments.dry_run}
        if action == "archive":
            moved = archive(ledger, arguments.version, **rest)
        else:
            moved = speak(ledger, action, arguments.version, **rest)  # type: ignore[arg-type] # two of Action
        verb = f"would be {done}" if moved.dry_run else f"is {done}"
        return Answer(
            _document(moved, action), f"{moved.model} version {moved.version} {verb} (entry {moved.seq})."
        )

    return run


def _warn(moved: "Moved") -> dict[str, str]:
    """Says what could not be finished, on stderr; returns it for the document too."""
    if not moved.unfinished:
        return {}
    say(moved.unfinished)
    return {"unfinished": moved.unfinished}


def _document(moved: "Moved", action: str) -> dict[str, Any]:
    return _warn(moved) | {
        "schema": WORD_SCHEMA,
        "model": moved.model,
        "action": action,
        "version": moved.version,
        "seq": moved.seq,
        "dry_run": moved.dry_run,
    }


ROLLBACK = Command(
    "rollback",
    "Bring production back to the version that held it before.",
    _configure_rollback,
    _rollback,
    epilog="example:\n  greenroom rollback flight-delay --reason 'complaints since noon'",
)
ADOPT = Command(
    "adopt",
    "Take over a registered model that already lives on an MLflow server.",
    _configure_common,
    _adopt,
)
APPROVE = Command(
    "approve",
    "Vouch for a version's files (bound to exactly these).",
    _configure_word,
    _speak("approve", "approved"),
)
REJECT = Command(
    "reject", "Reject a version's files, for ever.", _configure_word, _speak("reject", "rejected")
)
ARCHIVE = Command("archive", "Take a version out.", _configure_word, _speak("archive", "archived"))
