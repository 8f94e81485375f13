"""Runs commands the way a person would type them, and shows what is going on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

__all__ = ["Stage", "headline", "tell"]

BIN = Path(sys.executable).parent


def headline(number: int, text: str) -> None:
    """Begins a chapter of the story."""
    print(f"\n{number}. {text}", flush=True)


def tell(text: str) -> None:
    """One sentence of it."""
    print(f"   {text}", flush=True)


@dataclass
class Stage:
    """Where the commands run.

    Attributes:
        folder: Keeps everything that is made.
        environment: Variables for the commands, over our own.
    """

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Runs a command with ``--json``; returns its document.

        Raises:
            RuntimeError: It ended with another exit code than expected.
        """
        print(f"   $ {shlex.join(words)}", flush=True)
        with (self.folder / "demo.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / words[0]), *words[1:], "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
            )
            output = self._wait(process)
        if process.returncode != expect:
            said = output.decode(errors="replace").strip()
            raise RuntimeError(
                f"{words[0]} ended with exit code {process.returncode}, not {expect}: {said}\n"
                f"   Its own words are in {self.folder / 'demo.log'}"
            )
        document: dict[str, Any] = json.loads(output)
        return document

    @contextmanager
    def serving(self, *words: str, port: int) -> Iterator[None]:
        """Keeps a server running until the context ends, also on error and Ctrl-C."""
        print(f"   $ {shlex.join(words)} &", flush=True)
        with (self.folder / "demo.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / words[0]), *words[1:]],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
            try:
                self._wait_ready(process, port)
                yield
            finally:
                _end(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> bytes:
        start = time.monotonic()
        try:
            while True:
                try:
                    return process.communicate(timeout=1)[0]
                except subprocess.TimeoutExpired:
                    if sys.stdout.isatty():
                        print(f"\r   … {time.monotonic() - start:.0f} s ", end="\r", flush=True)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
            raise

    def _wait_ready(self, process: subprocess.Popen[bytes], port: int, timeout_s: float = 90.0) -> None:
        start = time.monotonic()
        while time.monotonic() - start < timeout_s:
            if process.poll() is not None:
                raise RuntimeError(f"The server ended; its words are in {self.folder / 'demo.log'}")
            try:
                with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                    if answer.status == 200:  # noqa: PLR2004 - OK
                        return
            except (URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError(f"The server was not ready within {timeout_s:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks politely, then insists, with its whole group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
