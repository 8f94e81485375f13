"""Requests as bytes on a socket: many in a row, broken ones, and what comes back."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from tests.serving.scoring_servers import Reply

__all__ = ["connect", "post", "read_replies", "receive", "send_in_a_row", "talk"]

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def post(body: bytes, content_type: str | None = "application/json", *headers: bytes) -> bytes:
    """A request for a prediction."""
    lines = [b"POST /invocations HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *headers]
    if content_type is not None:
        lines.append(b"content-type: " + content_type.encode("latin-1"))
    return b"\r\n".join([*lines, b"", body])


@contextmanager
def connect(port: int, timeout_s: float = 20.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        yield connection


def send_in_a_row(port: int, requests: Sequence[bytes]) -> list[Reply]:
    """Sends all before it reads any; as many answers must come, in this order."""
    with connect(port, 60.0) as connection:
        connection.sendall(b"".join(requests))
        replies: list[Reply] = []
        rest = bytearray()
        while len(replies) < len(requests):
            piece = connection.recv(2**16)
            assert piece, f"the connection was closed after {len(replies)} of {len(requests)} answers"
            rest += piece
            found, rest = read_replies(rest)
            replies += found
    assert rest == b""
    return replies


def receive(connection: socket.socket) -> Reply:
    """The next answer, whole."""
    received = bytearray()
    while True:
        piece = connection.recv(2**16)
        assert piece, f"the connection was closed after {received!r}"
        received += piece
        if replies := read_replies(received)[0]:
            return replies[0]


def read_replies(data: bytearray) -> tuple[list[Reply], bytearray]:
    """Whole answers out of what was received, and the rest."""
    replies, at = [], 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        head = bytes(data[at : end + 2])
        status, length = _STATUS.match(head), _LENGTH.search(head)
        assert status, head
        assert length, head
        stop = end + 4 + int(length[1])
        if len(data) < stop:
            break
        lines = (line.decode("latin-1").partition(":") for line in head.split(b"\r\n")[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in lines}
        replies.append(Reply(int(status[1]), headers, bytes(data[end + 4 : stop])))
        at = stop
    return replies, data[at:]


def talk(port: int, sent: bytes, *, is_all: bool = True) -> list[Reply]:
    """Sends bytes, says (if that is all) that no more will come, and reads until the server hangs up."""
    received = bytearray()
    with connect(port, 60.0) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        if is_all:
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(2**16):
            received += piece
    replies, _rest = read_replies(received)
    return replies
