"""What the clerk has read and not written yet: bounded, handed from the event loop to the writing thread."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Batch", "Intake", "Sender"]


class Sender(Protocol):
    """Who handed a batch over."""

    def settle(self, logged: int, feedback: int, lost: dict[str, int], problem: str) -> None:
        """Is told what became of so many of its records; called from the writing thread."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One frame of a worker's.

    Attributes:
        sender: Who handed it over.
        payload: Its records.
        records: How many.
        age_s: How old the first of them was when it came, where that is known.
    """

    sender: Sender
    payload: bytes
    records: int
    age_s: float = 0.0
    came_s: float = field(default_factory=time.monotonic)

    @property
    def since_s(self) -> float:
        """When the first record was made: what waited for a clerk to start waits no longer for others."""
        return self.came_s - self.age_s


class Intake:
    """A queue of batches.

    Args:
        delay_s: How long a batch may wait for others to share a file with.
        part_bytes: So many make a file at once.
    """

    def __init__(self, *, delay_s: float, part_bytes: int) -> None:
        self._delay_s = delay_s
        self._part_bytes = part_bytes
        self._batches: deque[Batch] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, batch: Batch) -> int:
        """Adds a batch; returns how many bytes wait now."""
        with self._changed:
            self._batches.append(batch)
            self._waiting_bytes += len(batch.payload)
            if len(self._batches) == 1 or self._waiting_bytes >= self._part_bytes:
                self._changed.notify()
            return self._waiting_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes that nobody has taken."""
        return self._waiting_bytes

    def close(self) -> None:
        """Nothing more will come; what waits is due."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def take(self) -> list[Batch]:
        """Waits until a file is due; returns its batches, or none after the last."""
        with self._changed:
            while not self._is_due():
                self._changed.wait(
                    self._batches[0].since_s + self._delay_s - time.monotonic() if self._batches else None
                )
            taken: list[Batch] = []
            size = 0
            while self._batches and (not taken or size + len(self._batches[0].payload) <= self._part_bytes):
                taken.append(self._batches.popleft())
                size += len(taken[-1].payload)
            self._waiting_bytes -= size
            return taken

    def _is_due(self) -> bool:
        if self._is_closed or self._waiting_bytes >= self._part_bytes:
            return True
        return bool(self._batches) and time.monotonic() - self._batches[0].since_s >= self._delay_s
