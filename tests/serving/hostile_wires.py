"""Connections that no proper client opens: heads without end, lengths that lie, halves, garbage."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.serving.hostile_bodies import MARKER
from tests.serving.raw_http import post

__all__ = ["GOOD", "make_wires"]

GOOD: Final = b'{"dataframe_records": [{"a": 1.0, "b": "x", "n": 1}]}'
_MARK: Final = MARKER.encode()
_HEADS: Final = [
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _MARK,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _MARK,
    b"GET /ping\r\n\r\n",
    b"GET /ping HTTP/1.0\r\n\r\n",
    b"GET /ping HTTP/0.9\r\n\r\n",
    b"GET /ping HTTP/9.9\r\n\r\n",
    b"GET http://[::1/%s HTTP/1.1\r\nhost: x\r\n\r\n" % _MARK,
    b"GET /%ff%00%0d%0a" + _MARK + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET //%s/.. HTTP/1.1\r\nhost: x\r\n\r\n" % _MARK,
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT %s:443 HTTP/1.1\r\nhost: x\r\n\r\n" % _MARK,
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"TRACE /invocations HTTP/1.1\r\nhost: x\r\nx-token: %s\r\n\r\n" % _MARK,
    b"FROBNICATE /invocations HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /invocations HTTP/1.1\r\n\r\n",
    b"POST /invocations HTTP/1.1\r\nhost : x\r\n\r\n",
    b"POST /invocations HTTP/1.1\r\nhost: x\r\n folded: %s\r\n\r\n" % _MARK,
    b"POST /invocations HTTP/1.1\nhost: x\ncontent-length: 0\n\n",
    b"POST /invocations HTTP/1.1\r\nhost: x\x00y\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x85",
    b"GET /ping HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\r\n",
    b"GET /info HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
]
_LENGTHS: Final = [
    b"content-length: -1",
    b"content-length: +5",
    b"content-length: 0x5",
    b"content-length: 5, 5",
    b"content-length: 5\r\ncontent-length: 6",
    b"content-length: 99999999999999999999999",
    b"content-length: 18446744073709551615",
    b"content-length: 1_0",
    b"content-length: 5\r\ntransfer-encoding: chunked",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding: xchunked",
    b"transfer-encoding:\x0bchunked",
    b"transfer-encoding: gzip",
]
_CHUNKS: Final = [
    b"zz\r\n",
    b"-1\r\nx\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5;ext=" + b"e" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    b"35\r\n" + GOOD + b"\r\n0\r\ntrailer: %s\r\n\r\n" % _MARK,
    b"1\r\n{\r\n" * 400 + b"0\r\n\r\n",
    b"5\r\nhel",
]


_HEAD: Final = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
_AFTER: Final = [_MARK, b"\0" * 50, b"GET", b"\r\n\r\n", b"{}" * 30, post(GOOD)[:40]]
_IDS: Final = [
    b"a\tb", b"i" * 129, b"\xff", b"a;b", b'"}', b"<script>", b"a\x7f", b"{%s}" % _MARK, b"",
    b"a\rb", b"a\nb: c",
]  # fmt: skip


def make_wires(count: int, seed: int = 7) -> Iterator[tuple[str, bytes]]:
    """So many conversations: kind, and the bytes that are sent before the client says that it is done."""
    chance = random.Random(seed)
    for kind in chance.choices(list(_KINDS), k=count):
        yield kind, _KINDS[kind](chance)


def _lengths(chance: random.Random) -> bytes:
    body = chance.choice([b"", b"hello", b"5\r\nhello\r\n", GOOD])
    return _HEAD + chance.choice(_LENGTHS) + b"\r\n\r\n" + body


def _flood(chance: random.Random) -> bytes:
    line = chance.choice([b"x-%d: 1\r\n", b"x-request-id: %d\r\n", b"cookie: %d" + b"c" * 200 + b"\r\n"])
    lines = b"".join(line % number for number in range(chance.choice([100, 2000])))
    return _HEAD + lines + b"connection: close\r\n\r\n"


def _lie(chance: random.Random) -> bytes:
    length = chance.choice([0, 1, len(GOOD) - 3, len(GOOD) + 50, 10**6])
    return _HEAD + b"content-length: %d\r\n\r\n" % length + GOOD


def _cut(chance: random.Random) -> bytes:
    good = post(GOOD)
    return good[: chance.randrange(len(good))]


_KINDS: Final[Mapping[str, Callable[[random.Random], bytes]]] = {
    "heads": lambda chance: chance.choice(_HEADS),
    "lengths": _lengths,
    "chunks": lambda chance: _HEAD + b"transfer-encoding: chunked\r\n\r\n" + chance.choice(_CHUNKS),
    "floods": _flood,
    "lies": _lie,
    "after": lambda chance: post(GOOD) + chance.choice(_AFTER),
    "noise": lambda chance: chance.randbytes(chance.choice([1, 30, 5000])) + _MARK,
    "ids": lambda chance: post(GOOD, "application/json", b"x-request-id: " + chance.choice(_IDS)),
    "cut": _cut,
}
