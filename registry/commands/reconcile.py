"""``greenroom reconcile``: aliases made equal to history, once or for as long as it runs."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from registry.console import Answer, Command, say

if TYPE_CHECKING:
    from registry.ledger.ledger import Ledger
    from registry.reconciliation import Reconciled

__all__ = ["COMMAND"]

SCHEMA = "greenroom/reconcile/1"
INTERVAL_S = 1.0


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--dry-run", action="store_true", help="say what differs, write nothing")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.reconciliation import reconcile  # noqa: PLC0415 - not on the way to --help

    ledger = open_ledger(arguments.name)
    if arguments.watch:
        _watch(ledger, dry_run=arguments.dry_run)
    found = reconcile(ledger, dry_run=arguments.dry_run)
    text = _word(found, dry_run=arguments.dry_run)
    return Answer({"schema": SCHEMA, **asdict(found), "dry_run": arguments.dry_run}, text)


def _watch(ledger: "Ledger", *, dry_run: bool) -> None:
    """Until Ctrl-C; an unreachable server is waited for."""
    from registry.errors import UnreachableError  # noqa: PLC0415 - beside its user
    from registry.reconciliation import reconcile  # noqa: PLC0415 - not on the way to --help

    say(f"Watching {ledger.name} (Ctrl-C ends it) ...")
    told = ""
    while True:
        try:
            found = reconcile(ledger, dry_run=dry_run)
        except UnreachableError as error:
            say(f"{error} Going on.")
        else:
            text = _word(found, dry_run=dry_run)
            if text != told and (found.finished or found.acts or found.left):
                say(text)
            told = text if found.left or dry_run else ""
        ledger.clock.sleep(INTERVAL_S)


def _word(found: "Reconciled", *, dry_run: bool) -> str:
    if found.seq == 0:
        return f"{found.model} has no history; nothing was touched."
    if found.finished:
        deed = "would be brought" if dry_run else "brought"
        return f"{found.model}: aliases and tags {deed} up to entry {found.seq}."
    if found.acts or found.left:
        return f"{found.model}: {'; '.join(_list_findings(found, dry_run=dry_run))}."
    return f"{found.model}: aliases are what history says (entry {found.seq})."


def _list_findings(found: "Reconciled", *, dry_run: bool) -> Iterator[str]:
    if found.acts:
        deed = "would put" if dry_run else "put"
        yield f"{deed} right what was changed outside of Greenroom ({', '.join(found.acts)})"
    if found.left:
        gone = "the version that history names is gone"
        way = f"greenroom rollback {found.model}, or promote another version"
        yield f"cannot put right {', '.join(found.left)}, for {gone}: {way}"


COMMAND = Command("reconcile", "Make aliases equal to history again.", _configure, _run)
