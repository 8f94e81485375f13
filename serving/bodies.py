"""Reads a request's body, up to a limit."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from .errors import BodyTooLargeError

__all__ = ["ClientGoneError", "Receive", "read_body"]

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]

DISCARD_S: Final = 2.0
"""How long the rest of a body that is too large is read and thrown away, so that the client sees the 413."""


class ClientGoneError(Exception):
    """The client hung up before it had sent its request."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], max_bytes: int) -> bytes:
    """Reads a request's body.

    Args:
        receive: ASGI's.
        headers: The request's.
        max_bytes: More is too much.

    Raises:
        BodyTooLargeError: It is larger.
        ClientGoneError: The client hung up.
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > max_bytes:
        if headers.get(b"expect", b"").lower() != b"100-continue":
            await _discard(receive)
        raise BodyTooLargeError(max_bytes)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
        if size > max_bytes:
            if more:
                await _discard(receive)
            raise BodyTooLargeError(max_bytes)
    return b"".join(chunks)


async def _discard(receive: Receive) -> None:
    """Reads on for a moment: a client that is still sending would lose the answer to a reset."""
    try:
        async with asyncio.timeout(DISCARD_S):
            while (message := await receive()).get("more_body"):
                pass
    except TimeoutError:
        return
    if message["type"] == "http.disconnect":
        raise ClientGoneError
