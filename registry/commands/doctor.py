"""``greenroom doctor``: installation and server checked."""

import argparse
from dataclasses import asdict

from registry.console import Answer, Command, steps

__all__ = ["COMMAND"]

SCHEMA = "greenroom/doctor/1"
MARKS = {"good": "ok  ", "look": "look", "bad": "BAD "}
EXIT_BAD = 3


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--probe", action="store_true", help="race for a throw-away param on the server")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.clock import SystemClock  # noqa: PLC0415 - not on the way to --help
    from registry.diagnosis import diagnose  # noqa: PLC0415 - not on the way to --help
    from registry.environment import read_settings  # noqa: PLC0415 - not on the way to --help
    from registry.stores import open_store  # noqa: PLC0415 - not on the way to --help

    settings = read_settings()
    with steps() as progress:
        progress("looking")
        checks = list(diagnose(settings, open_store(settings), SystemClock(), probe=arguments.probe))
    width = max(len(check.name) for check in checks)
    lines = [f"  {MARKS[check.grade]}  {check.name:<{width}}  {check.text}" for check in checks]
    bad = [check for check in checks if check.grade == "bad"]
    document = {"schema": SCHEMA, "checks": [asdict(check) for check in checks]}
    return Answer(document, "\n".join(lines), EXIT_BAD if bad else 0)


COMMAND = Command("doctor", "Check the installation and the server (--probe: races on it).", _configure, _run)
