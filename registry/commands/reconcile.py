"""``greenroom reconcile``: aliases made equal to history, once or for as long as it runs."""

import argparse
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
        _watch(ledger)
    found = reconcile(ledger, dry_run=arguments.dry_run)
    return Answer({"schema": SCHEMA, **asdict(found), "dry_run": arguments.dry_run}, _word(found))


def _watch(ledger: "Ledger") -> None:
    """Until Ctrl-C; an unreachable server is waited for."""
    from registry.errors import UnreachableError  # noqa: PLC0415 - beside its user
    from registry.reconciliation import reconcile  # noqa: PLC0415 - not on the way to --help

    say(f"Watching {ledger.name} (Ctrl-C ends it) ...")
    while True:
        try:
            found = reconcile(ledger)
        except UnreachableError as error:
            say(f"{error} Going on.")
        else:
            if found.finished or found.acts:
                say(_word(found))
        ledger.clock.sleep(INTERVAL_S)


def _word(found: "Reconciled") -> str:
    if found.seq == 0:
        return f"{found.model} has no history; nothing was touched."
    if found.finished:
        return f"{found.model}: aliases and tags brought up to entry {found.seq}."
    if found.acts:
        return f"{found.model}: put right what was changed outside of Greenroom ({', '.join(found.acts)})."
    return f"{found.model}: aliases are what history says (entry {found.seq})."


COMMAND = Command("reconcile", "Make aliases equal to history again.", _configure, _run)
