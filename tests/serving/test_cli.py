import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("serve-model")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from registry.console import build_parser; from serving.cli import COMMAND; "
        "build_parser(COMMAND).format_help(); "
        "print(sorted({'mlflow', 'pandas', 'numpy', 'uvicorn', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_is_there_in_a_fifth_of_a_second() -> None:
    def measure() -> float:
        started = time.perf_counter()
        assert run("--help").returncode == 0
        return time.perf_counter() - started

    assert min(measure() for _ in range(5)) < 0.2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "NAME"),
        (["a/b"], "a/b"),
        (["m", "--stage", "prod"], "prod"),
        (["m", "--poll-interval-s", "0"], "greater than 0"),
        (["m", "--timeout-s", "-1"], "negative"),
        (["m", "--max-waiting", "-1"], "negative"),
        (["m", "--port", "x"], "--port"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_wrong(arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
