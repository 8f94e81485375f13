"""How every command meets its user: arguments, one document or plain text out, one exit code.

This is the run border: one of the two places where an unexpected exception ends (the other is the
request border in ``serving``). Commands raise :class:`~registry.GreenroomError`; here it becomes one
line on stderr, or one JSON document on stdout, and an exit code.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from .errors import GreenroomError, UsageError

__all__ = ["Answer", "Command", "announce", "refuse", "run_command", "say", "steps"]

EXIT_INTERRUPTED: Final = 130
ERROR_SCHEMA: Final = "greenroom/error/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has to say.

    Attributes:
        document: The JSON document printed with ``--json``; its ``schema`` names it. Empty: the command has
            announced it already (a server does when it is up).
        text: What a person reads otherwise.
        exit_code: 0 done or yes, 3 worked and the answer is no, 5 somebody else moved first.
    """

    document: dict[str, Any]
    text: str
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, its options, and what it does.

    Attributes:
        name: As typed after ``greenroom``, or the whole script's name.
        help: One line.
        configure: Adds the command's own arguments to a parser. Imports nothing heavy.
        run: Does it. Raises GreenroomError for known reasons.
        epilog: Examples shown at the end of ``--help``.
    """

    name: str
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer]
    epilog: str = field(default="", repr=False)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors go through the same border as all others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}.", hint=f"See {self.prog} --help.")


def say(message: str) -> None:
    """Tells a person, on stderr, what is going on; stdout is for the answer alone."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the one place that speaks to stderr


def announce(document: dict[str, Any]) -> None:
    """Prints the document of a command that runs until it is stopped, as soon as it is up."""
    print(json.dumps(document), file=sys.__stdout__, flush=True)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Shows the step that long work is at: a line that renews itself on a terminal, nothing in a pipe."""
    from tqdm import tqdm  # noqa: PLC0415 - not on the way to --help

    with tqdm(disable=None, leave=False, bar_format="{desc} ({elapsed})", file=sys.stderr) as bar:

        def show(what: str) -> None:
            bar.set_description_str(what)

        yield show


def add_command_options(parser: argparse.ArgumentParser) -> None:
    """Adds what every command has: ``--json`` and ``--verbose``."""
    parser.add_argument("--json", action="store_true", help="print exactly one JSON document on stdout")
    parser.add_argument("--verbose", action="store_true", help="show a traceback for unexpected errors")


def build_parser(command: Command, *, prog: str | None = None) -> argparse.ArgumentParser:
    """Makes the parser of one command."""
    parser = _Parser(
        prog=prog or command.name,
        description=command.help,
        epilog=command.epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    add_command_options(parser)
    return parser


def run_command(command: Command, argv: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Parses, runs, prints; returns the exit code.

    Args:
        command: What to run.
        argv: Arguments without the program's name; ``sys.argv[1:]`` if None.
        prog: The name shown in usage, e.g. ``greenroom rollback``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json, verbose = "--json" in arguments, "--verbose" in arguments
    try:
        parsed = build_parser(command, prog=prog).parse_args(arguments)
        with redirect_stdout(sys.stderr):  # MLflow and others print as they please
            answer = command.run(parsed)
    except KeyboardInterrupt:
        return _fail("interrupted", "Interrupted.", EXIT_INTERRUPTED, as_json=as_json)
    except GreenroomError as error:
        if verbose:
            _show_traceback()
        return refuse(error, as_json=as_json)
    except BrokenPipeError:
        return _leave_broken_pipe()
    except Exception as error:  # noqa: BLE001 - the run border
        if verbose:
            _show_traceback()
        text = f"Unexpected {type(error).__name__}: {_first_line(error)} (--verbose shows where)"
        return _fail("unexpected", text, 1, as_json=as_json)
    document = json.dumps(answer.document) if answer.document else ""
    return _print(document if as_json else answer.text, answer.exit_code)


def refuse(error: GreenroomError, *, as_json: bool) -> int:
    """Says a known error, as one line on stderr or one document on stdout; returns its exit code."""
    return _fail(error.code, str(error), error.exit_code, as_json=as_json)


def _print(text: str, exit_code: int) -> int:
    with suppress(AttributeError):  # a stand-in for stdout
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # not every terminal is UTF-8
    try:
        if text:
            print(text, flush=True)  # noqa: T201 - the one place that prints an answer
    except BrokenPipeError:
        return _leave_broken_pipe()
    return exit_code


def _leave_broken_pipe() -> int:
    """The reader has gone (``| head``): say nothing more, and let Python not try at exit either."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(code: str, message: str, exit_code: int, *, as_json: bool) -> int:
    if as_json:
        document = {"schema": ERROR_SCHEMA, "error": code, "message": message, "exit_code": exit_code}
        return _print(json.dumps(document), exit_code)
    say(message)
    return exit_code


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _show_traceback() -> None:
    import traceback  # noqa: PLC0415 - only when something went wrong

    traceback.print_exc()
