"""How a worker and the native process pass bodies on: a JSON head and raw bytes, each with its length."""

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["read_frame", "write_frame"]

LENGTHS: Final = struct.Struct(">II")


async def read_frame(reader: asyncio.StreamReader) -> tuple[Mapping[str, Any], bytes]:
    """The next frame.

    Raises:
        asyncio.IncompleteReadError: The other side is gone.
    """
    head_length, body_length = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    head: Mapping[str, Any] = json.loads(await reader.readexactly(head_length))
    return head, await reader.readexactly(body_length)


def write_frame(writer: asyncio.StreamWriter, head: Mapping[str, Any], body: bytes = b"") -> None:
    """Sends a frame; the writer keeps what the other side does not take yet."""
    text = json.dumps(head).encode()
    writer.write(LENGTHS.pack(len(text), len(body)) + text + body)
