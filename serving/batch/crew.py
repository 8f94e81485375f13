"""The driver's side of the local engine: hands parts to workers, and replaces those that end."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

from registry import (
    ArtifactError,
    GreenroomError,
    get_child_environment,
)
from serving.children import CHILD_ENVIRONMENT, ERRORS

from .order import Part, PartReport

__all__ = ["Crew", "raise_problem"]

MAX_DEATHS: Final = 3
"""A part that ended so many workers is to blame itself."""
STDERR: Final = 2
"""A model may print as it pleases; a notebook's ``sys.stderr`` is no file."""
PATIENCE_S: Final = 1.0
"""Between two looks at whether the driver itself may go on."""


def raise_problem(problem: Mapping[str, str]) -> None:
    """Raises what a worker could not do.

    Raises:
        GreenroomError: That.
    """
    raise ERRORS.get(problem["code"], GreenroomError)(problem["what"], hint=problem["hint"])


@dataclass(slots=True)
class _Member:
    """A worker: its line, what it has said of an answer so far, and its part."""

    line: socket.socket
    part: Part | None = None
    said: bytearray = field(default_factory=bytearray)

    def send(self, message: Mapping[str, Any]) -> None:
        self.line.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[Any] | None:
        """Whole answers that have come; None if the worker is gone."""
        try:
            piece = self.line.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            return None
        self.said += piece
        *lines, rest = self.said.split(b"\n")
        self.said = bytearray(rest)
        return [json.loads(one) for one in lines]


class Crew:
    """Workers in processes of their own, forked by one host. Ends with the block.

    Args:
        size: How many work at the same time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._host: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._members: list[_Member] = []
        self._deaths = 0

    def __enter__(self) -> Self:
        self._start()  # it imports while the driver looks at the input
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, message: Mapping[str, Any]) -> Any:
        """Lets one worker do something that nobody else must do.

        Raises:
            GreenroomError: What it says, or that it ended.
        """
        member = self._members[0] if self._members else self._hire()
        with suppress(OSError):
            member.send(message)
        while (answers := member.receive()) is not None:
            for answer in answers:
                if "problem" in answer:
                    raise_problem(answer["problem"])
                return answer["done"]
        raise ArtifactError(
            "The process that tried the version out ended without a word.",
            hint="It crashed or was killed: is there enough memory?",
        )

    def score(
        self, order: str, parts: Sequence[Part], tell: Callable[[int, int], None], look: Callable[[], None]
    ) -> Iterator[tuple[Part, PartReport]]:
        """Has parts scored; yields each when its files are there.

        Args:
            order: As text.
            parts: Which.
            tell: Told a part's number and how many of its rows are read.
            look: Called now and then; may raise, which ends it.

        Raises:
            GreenroomError: What a worker could not do.
        """
        waiting, deaths = deque(parts), dict.fromkeys((part.number for part in parts), 0)
        try:
            with selectors.DefaultSelector() as selector:
                for member in self._members:
                    selector.register(member.line, selectors.EVENT_READ, member)
                while waiting or self._count_busy():
                    while len(self._members) < min(self._size, len(waiting) + self._count_busy()):
                        hired = self._hire()
                        selector.register(hired.line, selectors.EVENT_READ, hired)
                    self._hand_out(order, waiting)
                    look()
                    for key, _ in selector.select(PATIENCE_S):
                        answers = key.data.receive()
                        if answers is None:
                            selector.unregister(key.data.line)
                            self._bury(key.data, waiting, deaths)
                        else:
                            yield from self._note(key.data, answers, tell)
        finally:
            self._dismiss_busy()

    def close(self) -> None:
        """Ends the host and all workers, at once. Idempotent."""
        for member in self._members:
            member.line.close()
        self._members.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._host is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._host.pid, signal.SIGKILL)  # the group is its own
            self._host.wait()
            self._host = None

    def _dismiss_busy(self) -> None:
        """After an error: who still works on a part has something to say that nobody waits for."""
        for member in [one for one in self._members if one.part is not None]:
            member.line.close()
            self._members.remove(member)

    def _count_busy(self) -> int:
        return sum(member.part is not None for member in self._members)

    def _hand_out(self, order: str, waiting: "deque[Part]") -> None:
        for member in self._members:
            if member.part is None and waiting:
                member.part = waiting.popleft()
                with suppress(OSError):  # it is gone, and is buried when that is read
                    member.send({"op": "score", "order": order, "part": member.part.dump()})

    def _note(
        self, member: _Member, answers: Sequence[Any], tell: Callable[[int, int], None]
    ) -> Iterator[tuple[Part, PartReport]]:
        for answer in answers:
            part = member.part
            assert part is not None
            if "problem" in answer:
                raise_problem(answer["problem"])
            if "rows" in answer:
                tell(part.number, answer["rows"])
            else:
                member.part = None
                yield part, PartReport(**answer["done"])

    def _bury(self, member: _Member, waiting: "deque[Part]", deaths: dict[int, int]) -> None:
        """Somebody killed it, or it crashed: its part is done again, by another one."""
        member.line.close()
        self._members.remove(member)
        if member.part is None:
            return
        number = member.part.number
        deaths[number] += 1
        if deaths[number] >= MAX_DEATHS:
            raise ArtifactError(
                f"{member.part.name} ended its worker {MAX_DEATHS} times.",
                hint="Is there enough memory? Try a smaller --batch-rows, or fewer --workers.",
            )
        waiting.appendleft(member.part)

    def _hire(self) -> _Member:
        for _ in range(2):
            if self._host is None or self._host.poll() is not None:
                self._start()
            assert self._control is not None
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._control, [b"+"], [theirs.fileno()])
                except OSError:  # the host has just ended
                    ours.close()
                    self._start()
                    continue
            member = _Member(ours)
            self._members.append(member)
            return member
        raise ArtifactError("The process that starts workers cannot be kept alive.", hint="Is there memory?")

    def _start(self) -> None:
        if self._host is not None:
            self._deaths += 1
            with suppress(ProcessLookupError):
                os.killpg(self._host.pid, signal.SIGKILL)
            self._host.wait()
            if self._deaths > MAX_DEATHS:
                raise ArtifactError("The process that starts workers ended again and again.")
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._host = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", "serving.batch.host"],
                stdin=theirs.fileno(),
                stdout=STDERR,
                env=get_child_environment(CHILD_ENVIRONMENT),
                start_new_session=True,
            )
