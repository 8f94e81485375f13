"""One job at a time per output: a file that exactly one can create, and a beat that shows its owner lives.

The lock's files are ``_greenroom.lock.0``, ``.1``, …: who has the highest has the lock. Each is created by
one only (``O_EXCL``; on S3 ``If-None-Match``). Its owner writes another beat into it every :data:`BEAT_S`
seconds. Who finds one waits until it has seen a beat (and is refused), or none for :data:`LEASE_S` (and
creates the next higher file); whether a process of this machine lives is known without waiting. No clocks are
compared. An owner that was taken for dead and is not, stops as soon as it sees the higher file; what it
writes until then are the very same parts.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from registry import ConflictError, GreenroomError

from .storage import OutputStorage

__all__ = ["BEAT_S", "LEASE_S", "OutputLock"]

BEAT_S: Final = 5.0
LEASE_S: Final = 30.0
PREFIX: Final = "_greenroom.lock."


class OutputLock:
    """The lock of one output.

    Args:
        storage: The output.
        beat_s: Between two beats.
        lease_s: How long an owner may be silent.
        tell: Told in words what is waited for.
    """

    def __init__(
        self,
        storage: OutputStorage,
        *,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._tell = tell
        self._owner = {**_describe_process(), "nonce": uuid.uuid4().hex}
        self._number = -1
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lock", daemon=True)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            ConflictError: Somebody else has it.
        """
        highest = self._find_highest()
        if highest >= 0:
            self._outlast(highest)
        self._number = highest + 1
        if not self._storage.create(self._name, self._write(0)):
            raise self._refuse("another one was faster")
        others = [number for number in self._list() if number > highest and number != self._number]
        if others:
            self._storage.delete(self._name)
            raise self._refuse("another one was faster")
        self._thread.start()

    def release(self) -> None:
        """Gives it back, if it is still ours; what the dead left goes first. Idempotent."""
        if self._number < 0:
            return
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()
        with suppress(GreenroomError):
            for number in [one for one in self._list() if one < self._number]:
                self._storage.delete(f"{PREFIX}{number}")
            self._storage.delete(self._name)
        self._number = -1

    def check(self) -> None:
        """Raises if somebody else has it by now.

        Raises:
            ConflictError: That.
        """
        if self._lost.is_set():
            raise self._refuse("another one took this one for dead")

    def _outlast(self, number: int) -> None:
        """Returns when the owner is gone or silent for too long."""
        deadline = time.monotonic() + self._lease_s
        name = f"{PREFIX}{number}"
        first = self._storage.read(name)
        owner = _parse(first)
        is_alive = _find_whether_alive(owner)
        if first is None or is_alive is False:
            return
        where = f"{owner.get('host', '?')}, process {owner.get('pid', '?')}"
        if is_alive:
            raise self._refuse(f"{where} is at work")
        self._tell(f"{self._storage.text} is locked by {where}; watching for {self._lease_s:g} s if it lives")
        while time.monotonic() < deadline:
            time.sleep(self._beat_s / 5)
            now = self._storage.read(name)
            if now is None:
                return
            if now != first:
                raise self._refuse(f"{where} is at work")

    def _keep(self) -> None:
        beat = 0
        while not self._done.wait(self._beat_s):
            beat += 1
            with suppress(GreenroomError):  # a beat that fails is one that is missing: the next may come
                if self._find_highest() > self._number:
                    self._lost.set()
                    return
                self._storage.write(self._name, self._write(beat))

    def _refuse(self, why: str) -> ConflictError:
        return ConflictError(
            f"Another job writes to {self._storage.text}: {why}.", hint="Wait for it, or name another output."
        )

    @property
    def _name(self) -> str:
        return f"{PREFIX}{self._number}"

    def _write(self, beat: int) -> bytes:
        return json.dumps({**self._owner, "beat": beat}).encode()

    def _list(self) -> list[int]:
        names = (name.removeprefix(PREFIX) for name in self._storage.list(PREFIX))
        return [int(name) for name in names if name.isdecimal()]

    def _find_highest(self) -> int:
        return max(self._list(), default=-1)


def _parse(content: bytes | None) -> Mapping[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:  # its owner died in the middle of it
        return {}
    return found if isinstance(found, dict) else {}


def _find_whether_alive(owner: Mapping[str, Any]) -> bool | None:
    """Whether a process of this machine lives; None if it is none of this machine."""
    ours = _describe_process()
    if not owner or any(owner.get(key) != ours[key] for key in ("host", "boot", "space")):
        return None
    return _read_start(int(owner.get("pid", 0))) == owner.get("start")


def _describe_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "space": _read_link("/proc/self/ns/pid"),
        "pid": pid,
        "start": _read_start(pid),
    }


def _read_start(pid: int) -> str:
    """When a process began, in the system's ticks (field 22 of proc(5)'s ``stat``); empty if it is gone."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields or fields[0] in {"Z", "X"}:
        return ""
    return fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""


def _read_link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
