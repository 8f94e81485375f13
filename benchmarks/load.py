"""A load generator that is not the bottleneck: raw sockets on uvloop, one request ahead on every connection.

    python benchmarks/load.py PORT CONNECTIONS SECONDS < REQUEST

Sends the request on standard input again and again, and prints one JSON document: requests, seconds,
latencies, how busy this process was itself (near 1: it was the bottleneck), and the first answers' bodies.
"""

import asyncio
import json
import sys
import time
from typing import Final, cast

import uvloop

MAX_BODIES: Final = 20


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._began_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        """Takes an answer, and sends the next request."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        place = head.lower().find(b"\r\ncontent-length:") + 17
        if len(body) < int(head[place:].partition(b"\r\n")[0]):
            return
        self._received = b""
        now_s = time.perf_counter()
        if self._load.note(head, body, now_s - self._began_s) and now_s < self._load.end_s:
            self._send()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The last one ends the run."""
        del exc
        self._load.leave(is_early=time.perf_counter() < self._load.end_s)

    def _send(self) -> None:
        assert self._transport is not None
        self._began_s = time.perf_counter()
        self._transport.write(self._load.request)


class Load:
    """One run."""

    def __init__(self, request: bytes, connections: int, seconds: float) -> None:
        self.request = request
        self.end_s = time.perf_counter() + seconds
        self._left = connections
        self._over = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.bodies: set[bytes] = set()
        self.failures = 0

    def note(self, head: bytes, body: bytes, latency_s: float) -> bool:
        """Notes an answer; False if it is a failure."""
        self.latencies_s.append(latency_s)
        if len(self.bodies) < MAX_BODIES:
            self.bodies.add(body)
        if head[9:12] != b"200":
            self.failures += 1
            return False
        return True

    def leave(self, *, is_early: bool) -> None:
        """A connection is gone."""
        self.failures += is_early
        self._left -= 1
        if self._left == 0:
            self._over.set_result(None)

    async def wait(self) -> None:
        """Until all are."""
        await self._over


async def run(port: int, connections: int, seconds: float, request: bytes) -> dict[str, object]:
    """Asks, and says what came of it."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    load = Load(request, connections, seconds)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await load.wait()
    took_s = time.perf_counter() - began_s
    ordered = sorted(load.latencies_s)
    return {
        "requests": len(ordered),
        "seconds": took_s,
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "busy": (time.process_time() - cpu_s) / took_s,
        "failures": load.failures,
        "bodies": [body.decode("utf-8", "replace") for body in load.bodies],
    }


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    text = sys.stdin.buffer.read()
    sys.stdout.write(json.dumps(uvloop.run(run(port, connections, seconds, text))))
