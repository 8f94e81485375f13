"""The roof: ``greenroom`` and its subcommands, and ``promote-model``. Parses, calls, prints."""

import difflib
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version

from .console import Command, refuse, run_command
from .errors import UsageError

__all__ = ["main", "promote_main"]

GROUP = "greenroom.commands"
INTRODUCTION = """usage: greenroom COMMAND [options]

Moves MLflow models through staging and production, and keeps their history.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """``greenroom``: finds the subcommand by entry point, so that no room imports upward."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    found = {point.name: point for point in entry_points(group=GROUP)}
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        return _show(_introduce(found), 0 if arguments else 2)
    name = arguments[0]
    if name == "--version":
        return _show(f"greenroom {version('greenroom')}", 0)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "See greenroom --help."
        what = "A command is missing." if name.startswith("-") else f"greenroom has no command {name!r}."
        return refuse(UsageError(what, hint=hint), as_json="--json" in arguments)
    return run_command(_load(found[name]), arguments[1:], prog=f"greenroom {name}")


def promote_main(argv: Sequence[str] | None = None) -> int:
    """``promote-model``."""
    from .commands.promote import COMMAND  # noqa: PLC0415 - greenroom does not need it

    return run_command(COMMAND, argv)


def _load(point: EntryPoint) -> Command:
    command: Command = point.load()
    return command


def _introduce(found: dict[str, EntryPoint]) -> str:
    width = max((len(name) for name in found), default=0)
    lines = [f"  {name:<{width}}  {_load(found[name]).help}" for name in sorted(found)]
    beside = "train-model, promote-model, serve-model, score-model"
    others = f"Beside it: {beside}. Every command has --help and --json."
    return "\n".join([INTRODUCTION, *lines, "", others])


def _show(text: str, exit_code: int) -> int:
    print(text, file=sys.stderr if exit_code else sys.stdout)
    return exit_code
