"""Measures what predicting costs each of several models, which take turns: noise falls on all of them."""

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from .errors import ArtifactError
from .gates.material import Timing
from .keeper import KeptProcess, start_kept
from .policy import LatencyPolicy
from .question import Question
from .verification import list_environment

__all__ = ["measure_timings"]

POLL_S: Final = 0.1


def measure_timings(
    models: Mapping[str, Path],
    question: Question,
    policy: LatencyPolicy,
    *,
    scratch: Path,
    timeout_s: float,
    stop: threading.Event,
) -> dict[str, Timing]:
    """Lets every model predict one row and a batch, ``policy.repeats`` times, in turns.

    Args:
        models: Who → the artifact's folder.
        question: The rows.
        policy: How many calls and rows.
        scratch: Folder for the exchange; the caller removes it.
        timeout_s: Seconds until it is given up.
        stop: When set, it is given up at once.

    Raises:
        ArtifactError: A model does not load or does not answer, or it takes too long.
    """
    turns = _Turns(question, policy, scratch, time.monotonic() + timeout_s, stop)
    with ExitStack() as stack:
        begun = {who: stack.enter_context(turns.begin(model)) for who, model in models.items()}
        lines = {who: stack.enter_context(turns.greet(who, *started)) for who, started in begun.items()}
        taken: dict[str, dict[str, list[float]]] = {who: {"one": [], "batch": []} for who in models}
        for _ in range(policy.repeats):
            for word in ("one", "batch"):
                for who, line in lines.items():
                    taken[who][word].append(turns.ask(who, line, word))
        memory = {who: turns.ask(who, line, "memory") for who, line in lines.items()}
    return {
        who: Timing(tuple(found["one"]), tuple(found["batch"]), policy.batch_rows, memory[who])
        for who, found in taken.items()
    }


@dataclass(frozen=True, slots=True)
class _Turns:
    """What every model's turn needs. ``deadline`` is by the monotonic clock, seconds."""

    question: Question
    policy: LatencyPolicy
    scratch: Path
    deadline: float
    stop: threading.Event

    @contextmanager
    def begin(self, model: Path) -> Iterator[tuple[socket.socket, KeptProcess]]:
        """Starts one model's process, which loads it and warms it up."""
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        # A socket's path may have about 100 bytes, and scratch folders may be deep.
        with tempfile.TemporaryDirectory(prefix="gr-") as short, socket.socket(socket.AF_UNIX) as server:
            path = str(Path(short) / "s")
            server.bind(path)
            server.listen(1)
            server.settimeout(POLL_S)
            process = self._start(place, model, path)
            try:
                yield server, process
            finally:
                process.kill()

    @contextmanager
    def greet(self, who: str, server: socket.socket, process: KeptProcess) -> "Iterator[IO[str]]":
        """Waits until the process is ready for its first turn."""
        with self._accept(who, server, process) as line:
            line.settimeout(max(1.0, self.deadline - time.monotonic()))
            with line.makefile("rw", encoding="ascii") as file:
                yield file

    def _start(self, place: Path, model: Path, path: str) -> KeptProcess:
        request = {
            "model": str(model),
            "rows": str(self.question.rows),
            "features": list(self.question.features),
            "batch_rows": self.policy.batch_rows,
            "socket": path,
        }
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-W", "ignore", "-m", "registry.stopwatch", str(place / "request.json")]
        with (place / "output").open("wb") as output:
            environment = list_environment() | {"HOME": str(place)}
            return start_kept(command, env=environment, folder=place, output=output.fileno())

    def _accept(self, who: str, server: socket.socket, process: KeptProcess) -> socket.socket:
        while True:
            try:
                return server.accept()[0]
            except TimeoutError:
                if process.poll() is not None:
                    raise ArtifactError(f"The {who}'s process ended before it could be timed.") from None
            self._check(who)

    def ask(self, who: str, line: "IO[str]", word: str) -> float:
        """One turn: milliseconds of a call, or MB of memory."""
        self._check(who)
        try:
            line.write(f"{word}\n")
            line.flush()
            return float(line.readline())
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The {who} ended while it was timed.") from error

    def _check(self, who: str) -> None:
        if self.stop.is_set():
            raise ArtifactError("It was interrupted.")
        if time.monotonic() > self.deadline:
            raise ArtifactError(f"The {who} took too long to load and predict.")
