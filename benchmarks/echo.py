"""The least that our HTTP server can do: reads a body, sends a fixed answer.

    python benchmarks/echo.py PORT WORKERS BYTES

uvicorn with uvloop and httptools, raw ASGI, as many processes as the scoring server has, on one port.
"""

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvicorn

BODY = b'{"predictions": [' + b"0" * (int(sys.argv[3]) - 19) + b"]}"
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def echo(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Answers one request."""
    del scope
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serves until it is stopped."""
    for _ in range(int(sys.argv[2]) - 1):
        if os.fork() == 0:
            break
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(sys.argv[1])))
        config = uvicorn.Config(
            echo, http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="error"
        )
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
