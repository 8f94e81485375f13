"""A kept program and all it started end when they are told to, and when nobody is left to tell them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from registry.environment import get_child_environment
from registry.keeper import KeptProcess, start_kept

# A program with a child of its own, which tells both process ids and then stays.
FAMILY = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("draft", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("draft", "pids")
time.sleep(600)
"""


def _start(folder: Path, *words: str, code: str = FAMILY, grace_s: float = 5.0) -> KeptProcess:
    command = [sys.executable, "-c", code, *words]
    env = get_child_environment({})
    return start_kept(command, env=env, folder=folder, output=subprocess.DEVNULL, grace_s=grace_s)


def _read_family(folder: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while not (folder / "pids").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = []
    for pid in (folder / "pids").read_text().split():
        with suppress(psutil.NoSuchProcess):  # one that is gone already needs no watching
            family.append(psutil.Process(int(pid)))
    return family


def _assert_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptProcess]:
    process = _start(tmp_path)
    yield process
    process.kill()


def test_stopping_ends_the_program_and_its_children(kept: KeptProcess, tmp_path: Path) -> None:
    family = _read_family(tmp_path)
    kept.stop()
    _assert_gone(family)
    assert kept.stop() == kept.poll()


def test_killing_ends_them_at_once(kept: KeptProcess, tmp_path: Path) -> None:
    family = _read_family(tmp_path)
    kept.kill()
    _assert_gone(family)


def test_a_program_that_will_not_listen_is_made_to_stop(tmp_path: Path) -> None:
    process = _start(tmp_path, "deaf", grace_s=0.3)
    family = _read_family(tmp_path)
    started = time.monotonic()
    process.stop()
    _assert_gone(family)
    assert time.monotonic() - started < 4.0


def test_nobody_outlives_a_parent_that_was_killed_the_hard_way(tmp_path: Path) -> None:
    parent_code = f"""
import subprocess, time
from pathlib import Path
from registry.environment import get_child_environment
from registry.keeper import start_kept
command = [{sys.executable!r}, "-c", {FAMILY!r}]
process = start_kept(command, env=get_child_environment({{}}), folder=Path.cwd(), output=subprocess.DEVNULL)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code], cwd=tmp_path)
    try:
        family = _read_family(tmp_path)
        os.kill(parent.pid, signal.SIGKILL)
    finally:
        parent.kill()
        parent.wait()
    _assert_gone(family)


def test_a_program_that_ends_by_itself_leaves_its_exit_code_and_no_child(tmp_path: Path) -> None:
    code = FAMILY.replace("time.sleep(600)\n", "sys.exit(7)\n")
    process = _start(tmp_path, code=code)
    try:
        _assert_gone(_read_family(tmp_path))
        assert process.stop() == 7
    finally:
        process.kill()


def test_a_terminals_interrupt_does_not_reach_the_program(kept: KeptProcess, tmp_path: Path) -> None:
    family = _read_family(tmp_path)
    assert os.getsid(family[0].pid) != os.getsid(0)
    os.kill(kept.pid, signal.SIGINT)  # nor does one sent to the keeper end it
    time.sleep(0.2)
    assert kept.poll() is None
