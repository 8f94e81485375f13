"""What a worker hands to the log's clerk: records, many of them in one frame.

A record is one request as it was sent and answered, one truth, or a block of requests whose rows the worker
had read to answer them (:mod:`serving.predictions.blocks`).
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = [
    "BLOCK",
    "COMPILED",
    "FEEDBACK",
    "FRAME",
    "NATIVE",
    "OVERHEAD_BYTES",
    "Record",
    "pack",
    "read_time_us",
    "unpack",
]

COMPILED: Final = 0
NATIVE: Final = 1
FEEDBACK: Final = 2
BLOCK: Final = 3
HEAD: Final = struct.Struct("<BQHHBII")
FRAME: Final = struct.Struct("<II")
"""Before a frame: its length in bytes without this, and the number of its records."""
OVERHEAD_BYTES: Final = 400
"""What a record takes beside its body and its answer, while it waits in a worker."""


class Record(NamedTuple):
    """One answered request, one truth, or a block of answered requests.

    Attributes:
        kind: ``COMPILED``, ``NATIVE``, ``FEEDBACK`` or ``BLOCK``.
        time_us: When it (of a block, the first) was answered, or arrived; microseconds since 1970 UTC.
        request_id: The request's; of feedback, the prediction's; of a block, empty.
        content_type: Of the body; empty: none was sent.
        version: MLflow's version, a number as text.
        body: As it was sent; of feedback, a JSON list of the truth and its time in microseconds; of a block,
            what its requests are and what was sent.
        answer: As it was answered; of a block, all answers with commas between them.
    """

    kind: int
    time_us: int
    request_id: str
    content_type: str
    version: str
    body: bytes
    answer: bytes


def pack(kind: int, time_us: int, *parts: bytes) -> tuple[bytes, ...]:
    """A record's parts, still to be joined: nothing is copied here.

    Args:
        kind: See :class:`Record`.
        time_us: See :class:`Record`.
        parts: Request id, content type, version, body and answer.
    """
    return HEAD.pack(kind, time_us, *map(len, parts)), *parts


def read_time_us(payload: bytes) -> int:
    """When the first record of a frame was made; microseconds since 1970 UTC."""
    time_us: int = HEAD.unpack_from(payload)[1]
    return time_us


def unpack(payload: bytes) -> Iterator[Record]:
    """The records of a frame.

    >>> frame = b"".join(pack(NATIVE, 5, b"r1", b"text/csv", b"7", b"1,2", b"{}"))
    >>> [(record.request_id, record.version, record.answer) for record in unpack(frame)]
    [('r1', '7', b'{}')]
    """
    at = 0
    while at < len(payload):
        kind, time_us, name, content_type, version, body, answer = HEAD.unpack_from(payload, at)
        begin = at + HEAD.size
        name_end = begin + name
        type_end = name_end + content_type
        version_end = type_end + version
        body_end = version_end + body
        at = body_end + answer
        yield Record(
            kind,
            time_us,
            payload[begin:name_end].decode(),
            payload[name_end:type_end].decode("latin-1"),
            payload[type_end:version_end].decode(),
            payload[version_end:body_end],
            payload[body_end:at],
        )
