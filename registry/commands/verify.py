"""``greenroom verify``: is the history, and what it speaks of, as it was written?"""

import argparse
from dataclasses import asdict

from registry.console import Answer, Command, steps

__all__ = ["COMMAND"]

SCHEMA = "greenroom/verify/1"
EXIT_TAMPERED = 3


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument(
        "--no-artifacts", action="store_true", help="check the history only, download nothing"
    )


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.audit import audit  # noqa: PLC0415 - not on the way to --help

    with steps() as progress:
        found = audit(open_ledger(arguments.name), artifacts=not arguments.no_artifacts, progress=progress)
    document = {"schema": SCHEMA, **asdict(found)}
    witnesses = ", ".join(found.witnesses) or "none (a cut tail cannot be seen)"
    came = f" and {found.imported} that came with imported versions" if found.imported else ""
    lines = [
        f"{found.model}: {found.entries} entries{came}, and the files of {found.artifacts} versions checked.",
        f"  witnesses: {witnesses}",
        *(f"  note: {note}" for note in found.notes),
        *(f"  TAMPERED: {finding}" for finding in found.findings),
        "" if found.findings else "  All is as it was written.",
    ]
    return Answer(document, "\n".join(filter(None, lines)), EXIT_TAMPERED if found.findings else 0)


COMMAND = Command("verify", "Check that history and artifacts are as they were written.", _configure, _run)
