import re
import subprocess
import sys

import pytest

from tests.house.street import BIN, ROOT, SCRIPTS

HEAVY = ("mlflow", "pandas", "numpy", "sklearn", "matplotlib", "pydantic", "boto3", "sqlalchemy", "uvicorn")
COMMANDS = [("greenroom",), *((script,) for script in SCRIPTS)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_a_script_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    done = ask_for_help(words)
    imported = set(re.findall(r"\| +([A-Za-z_][A-Za-z0-9_]*)$", done.stderr, re.MULTILINE))
    assert "argparse" in imported
    assert imported.isdisjoint(HEAVY)
    assert done.stdout.startswith("usage: ")


def test_help_of_every_subcommand_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from registry.console import build_parser\n"
        "from tests.house.street import load_commands\n"
        "for words, command in load_commands().items(): build_parser(command, prog=words).format_help()\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def ask_for_help(words: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-X", "importtime", str(BIN / words[0]), *words[1:], "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True)
