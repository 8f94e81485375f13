"""Shares one listening socket fairly between workers.

All workers wait on the same socket; left alone, whichever wakes first would take whole bursts of connections
and keep them. So a worker takes one at a time, and one that has more than another lets it go first.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Final

__all__ = ["Acceptor", "Board"]

YIELD_S: Final = 0.002
"""How long a worker with more connections leaves a new one to the others; then it takes it all the same."""
EXHAUSTED_S: Final = 0.1
"""Pause when there are no file descriptors left."""


class Board:
    """How many connections each worker has, in memory that all of them see.

    Args:
        fd: A file, as large as the board at least.
        places: Workers.
        place: The one that may write here.
    """

    WIDTH: Final = 4

    def __init__(self, fd: int, places: int, place: int = 0) -> None:
        self._memory = mmap.mmap(fd, places * self.WIDTH)
        self._counts = memoryview(self._memory).cast("i")
        self._place = place

    def write(self, connections: int) -> None:
        """Says how many this worker has."""
        self._counts[self._place] = connections

    def has_least(self) -> bool:
        """Whether no other worker has fewer."""
        return self._counts[self._place] <= min(self._counts)

    def clear(self, place: int) -> None:
        """A worker is gone: it must not look like the one with the fewest, for whom the others wait."""
        self._counts[place] = 2**31 - 1


class Acceptor:
    """Accepts connections of one worker.

    Args:
        listener: Bound and listening, not blocking; shared with others.
        board: Where the workers' counts are.
        count: How many connections this worker has.
        make_protocol: For each connection.
    """

    def __init__(
        self,
        listener: socket.socket,
        board: Board,
        *,
        count: Callable[[], int],
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._listener = listener
        self._board = board
        self._count = count
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._pausing: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._yielded = False
        self._open = True

    def start(self) -> None:
        """Takes connections from now on."""
        self._pausing = None
        if self._open:
            self._loop.add_reader(self._listener.fileno(), self._take)

    def stop(self) -> None:
        """Takes no more, and closes this process's copy of the socket."""
        if self._open:
            self._open = False
            if self._pausing is not None:
                self._pausing.cancel()
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _take(self) -> None:
        self._board.write(self._count() + len(self._connecting))
        if not self._yielded and not self._board.has_least():
            self._yielded = True
            self._pause(YIELD_S)
            return
        self._yielded = False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client is gone
        except OSError:
            self._pause(EXHAUSTED_S)
            return
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pausing = self._loop.call_later(seconds, self.start)

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()
