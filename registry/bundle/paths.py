r"""Finds, and takes out, the absolute file paths that say where on somebody's machine a thing was made.

They mean nothing elsewhere, and tell more than they should. Looked for is what begins like a path of a
machine (``/home/…``, ``/tmp/…``, ``C:\…``) and this machine's own folders, whatever they are called. Not
every text with slashes: a category of a model may well be ``/shop/shoes``.
"""

import mmap
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from registry.errors import DataError

__all__ = ["clean_text", "find_own_folders", "find_paths"]

ROOTS: Final = (
    "Users|Volumes|app|content|data|databricks|dbfs|efs|etc|gpfs|home|kaggle|lustre|media|mnt|nix|opt|private"
    "|proc|repo|root|run|scratch|srv|tmp|usr|var|work|workdir|workspace|workspaces"
)
"""Where files are, by the Filesystem Hierarchy Standard 3.0 and the habits of macOS, clusters, notebooks."""

_START: Final = re.compile(rb"/(?:" + ROOTS.encode() + rb")/")
_WINDOWS: Final = re.compile(rb":\\\\?[A-Za-z0-9_]")
"""From the colon on; a drive's letter comes before. In text only: in binary files it is everywhere."""
_REST: Final = re.compile(rb"[^\s\"'`<>|:;,()\[\]{}\x00-\x1f\x7f]*")
_BEFORE: Final = re.compile(rb"[A-Za-z0-9_.~#%-]")
SHOWN: Final = 20
"""Paths listed per file; the first is enough to know what is the matter."""

SAMPLE: Final = 1 << 16
"""Bytes at a file's beginning that are without a zero if it is text."""

MIN_OWN: Final = 6
"""Characters of a folder's name worth looking for: ``/`` and ``/a/b`` are anywhere."""


def find_own_folders(uris: Iterable[str]) -> tuple[str, ...]:
    """This machine's folders that might be named: home, working and scratch folder, and those of addresses.

    Args:
        uris: Of databases and artifact stores; what is no local path is left aside.
    """
    import tempfile  # noqa: PLC0415 - with its only user

    places = {str(Path.home()), str(Path.cwd()), tempfile.gettempdir()}
    for uri in uris:
        text = uri.partition("?")[0].removeprefix("file://")
        local = text.partition(":///")[2] if text.startswith("sqlite") else text
        if local.startswith("/"):
            places.add(str(PurePosixPath(local).parent))
    return tuple(sorted(place for place in places if len(place) >= MIN_OWN))


def find_paths(file: Path, own: Iterable[str] = ()) -> tuple[str, ...]:
    """The absolute paths in a file of any kind, the first few, as they stand there.

    Args:
        file: What to look through; it is read as bytes.
        own: Folders to look for literally, besides.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if file.stat().st_size == 0:
            return ()
        with file.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return tuple(_find(content, own))
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error


def clean_text(text: str, own: Iterable[str] = ()) -> str:
    """Leaves of every absolute path its last part.

    >>> clean_text('source = "/home/ada/flights/rows.csv"')
    'source = "rows.csv"'
    >>> clean_text("https://example.org/home/x and models:/m/3 and /shop/shoes")
    'https://example.org/home/x and models:/m/3 and /shop/shoes'
    """
    content = text.encode("utf-8", "surrogatepass")
    pieces, done = [], 0
    for start, end in _locate(content, own):
        if start >= done:
            last = re.split(rb"[/\\]+", content[start:end].rstrip(b"/\\"))[-1]
            pieces += [content[done:start], last]
            done = end
    return b"".join([*pieces, content[done:]]).decode("utf-8", "surrogatepass")


def clean_pairs(pairs: Mapping[str, str], own: Iterable[str] = ()) -> dict[str, str]:
    """The same for the values of params or tags."""
    return {key: clean_text(value, own) for key, value in pairs.items()}


def _find(content: mmap.mmap, own: Iterable[str]) -> Iterable[str]:
    found = dict.fromkeys(
        content[start:end].decode("utf-8", "replace") for start, end in _locate(content, own)
    )
    return list(found)[:SHOWN]


def _locate(content: bytes | mmap.mmap, own: Iterable[str]) -> list[tuple[int, int]]:
    """Start and end of every path, in order."""
    starts = {match.start() for match in _START.finditer(content) if _is_start(content, match.start())}
    if content.find(b"\x00", 0, SAMPLE) < 0:
        drives = (match.start() - 1 for match in _WINDOWS.finditer(content) if match.start())
        starts |= {place for place in drives if _is_drive(content, place)}
    for folder in own:
        place = content.find(folder.encode())
        while place >= 0:
            starts.add(place)
            place = content.find(folder.encode(), place + 1)
    return [(start, _find_end(content, start)) for start in sorted(starts)]


def _is_drive(content: bytes | mmap.mmap, place: int) -> bool:
    return content[place : place + 1].isalpha() and not content[max(place - 1, 0) : place].isalnum()


def _find_end(content: bytes | mmap.mmap, start: int) -> int:
    """A Windows path has a colon and backslashes of its own at the beginning."""
    skipped = 0 if content[start : start + 1] == b"/" else 2
    match = _REST.match(content, start + skipped)
    return match.end() if match else start


def _is_start(content: bytes | mmap.mmap, place: int) -> bool:
    """Not in the middle of a longer path or an address: ``s3://data/x``, ``a/home/b``, ``#/home/``."""
    before = content[max(place - 2, 0) : place]
    return not _BEFORE.fullmatch(before[-1:]) and before != b":/"
