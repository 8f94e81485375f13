"""What the house tests look at: the rooms' files, the commands as argparse knows them, and the documents."""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from registry.console import Command, build_parser

ROOT = Path(__file__).parents[2]
ROOMS = ("registry", "training", "serving")
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
SCRIPTS = ("train-model", "promote-model", "serve-model", "monitor-model", "score-model")
BIN = Path(sys.executable).parent


def list_modules() -> list[Path]:
    """Every Python file of the three rooms."""
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def list_documents() -> list[Path]:
    """Every Markdown file that a reader may open."""
    beside = (path for name in ("benchmarks", "examples") for path in (ROOT / name).rglob("*.md"))
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *beside])


def find_strings(pattern: str) -> set[str]:
    """Everything in the rooms' sources that the pattern's first group matches."""
    return {found for path in list_modules() for found in re.findall(pattern, path.read_text("utf-8"))}


def read_sections(document: Path, level: int = 2) -> dict[str, str]:
    """A document's sections, heading → text, for headings of one level."""
    parts = re.split(rf"^{'#' * level} (.+)$", document.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def read_first_cells(text: str) -> list[str]:
    """The first cell of every row of the tables in a text, without backticks and headings."""
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


@cache
def load_commands() -> dict[str, Command]:
    """Every command as typed, e.g. ``greenroom history``, from what pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    commands = {
        f"greenroom {name}": _load(target)
        for name, target in project["entry-points"]["greenroom.commands"].items()
    }
    homes = {script: project["scripts"][script].split(":")[0] for script in SCRIPTS}
    homes["promote-model"] = "registry.commands.promote"
    return commands | {script: _load(f"{home}:COMMAND") for script, home in homes.items()}


def _load(target: str) -> Command:
    module, _, name = target.partition(":")
    command = getattr(import_module(module), name)
    assert isinstance(command, Command)
    return command


def list_actions(words: str) -> Iterator[argparse.Action]:
    """The arguments of a command, without ``--help``."""
    parser = build_parser(load_commands()[words], prog=words)
    yield from (action for action in parser._actions if action.dest != "help")
