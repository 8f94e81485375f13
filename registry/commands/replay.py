"""``greenroom replay NAME SEQ``: a past decision computed again."""

import argparse

from registry.console import Answer, Command

__all__ = ["COMMAND"]

SCHEMA = "greenroom/replay/1"
EXIT_NO = 3


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument("seq", metavar="SEQ", type=int, help="the history's entry (see greenroom history)")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.replaying import replay  # noqa: PLC0415 - not on the way to --help

    found = replay(open_ledger(arguments.name), arguments.seq)
    document = {
        "schema": SCHEMA,
        "model": arguments.name,
        "seq": found.entry.seq,
        "action": found.entry.action,
        "version": found.entry.version,
        "agrees": found.agrees,
        "exact": found.is_exact,
        "gates": [
            {"name": gate.name, "verdict": gate.verdict, "reason": gate.reason} for gate in found.gates
        ],
        "differences": list(found.differences),
        "evidence_run": found.entry.evidence_run,
    }
    lines = [f"  {gate.name}  {gate.verdict}: {gate.reason}" for gate in found.gates]
    lines += [f"  ! {difference}" for difference in found.differences]
    digits = "to the last digit" if found.is_exact else "to six digits (it was decided on another processor)"
    said = f"agrees {digits}" if found.agrees else "does NOT agree with its evidence"
    what = (
        f"Entry {found.entry.seq} of {arguments.name} ({found.entry.action}, version {found.entry.version})"
    )
    return Answer(document, "\n".join([*lines, f"{what} {said}."]), 0 if found.agrees else EXIT_NO)


COMMAND = Command(
    "replay",
    "Compute a past decision again from its evidence.",
    _configure,
    _run,
    epilog="example:\n  greenroom replay flight-delay 7\n\nexit codes: 0 it agrees, 3 it does not",
)
