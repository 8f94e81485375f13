"""The bundle's file: a plain tar archive that has exactly one possible form for its content.

Any ``tar`` unpacks it, and ``sha256sum -c index.sha256`` checks the index. It is read strictly: every header,
every byte of padding and the end must be what writing the same members would make, so there is no byte that
may change unnoticed, and there are no links, devices, doubles or compressed bombs, because there is no form
in which they could come. Not zip: that says everything twice (local and central), and readers differ about
which counts. Members are not compressed: models hardly shrink, and hashing stays as fast as the disk.

Source: POSIX.1-2017, pax, "ustar Interchange Format"; sizes of 8 GiB and more as GNU tar writes them.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from registry.errors import DataError, NotFoundError, TamperedError, UsageError

__all__ = ["INDEX", "SEAL", "Member", "check_member_path", "read_container", "write_container"]

INDEX: Final = "index.json"
SEAL: Final = "index.sha256"
BLOCK: Final = 512
CHUNK: Final = 1 << 20
MAX_NAME: Final = 100
"""Bytes of a name in a ustar header; longer ones, and such beyond ASCII, get a number instead."""
MAX_OCTAL: Final = 8**11
MAX_INDEX: Final = 64 << 20
"""Bytes of an index that are read into memory: some 300,000 files."""
FIRST_PRINTABLE: Final = 0x20
END: Final = bytes(2 * BLOCK)

Parse = Callable[[bytes], "tuple[Member, ...]"]


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the bundle: where it goes (relative POSIX path), its size in bytes, and its sha256."""

    path: str
    size: int
    sha256: str


def write_container(
    target: Path,
    index: bytes,
    members: Mapping[str, Path],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> str:
    """Writes the file beside its name and renames it, so that a half-made one is never there.

    Args:
        target: Where to; a file of that name is replaced.
        index: The text that names the members, in order.
        members: Path in the bundle → file, in the index's order.
        progress: Told how many bytes have been written.

    Returns:
        sha256 of the index, in hexadecimal: with it, every byte of the bundle is known.

    Raises:
        DataError: It cannot be written there, or the disk is full.
    """
    digest = hashlib.sha256(index).hexdigest()
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with _translating(f"write {target}"):
        try:
            with draft.open("xb") as file:
                _write_bytes(file, SEAL, _make_seal(digest))
                _write_bytes(file, INDEX, index)
                for place, (path, source) in enumerate(members.items()):
                    _write_file(file, _name_member(path, place), source)
                    progress(file.tell())
                file.write(END)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return digest


def read_container(
    source: Path,
    folder: Path,
    parse: Parse,
    *,
    digest: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[str, bytes]:
    """Checks every byte and unpacks the members below a folder.

    Args:
        source: The bundle.
        folder: An existing, empty, private folder. What is in it may be used only if this returns.
        parse: Reads the index: bytes → members. Raises TamperedError if it is none.
        digest: What the index's sha256 must be, where the sender told it.
        progress: Told how many bytes have been read.

    Returns:
        sha256 of the index, and the index.

    Raises:
        NotFoundError: There is no such file.
        TamperedError: It is no bundle, is cut, or a byte is not what was written.
        DataError: It cannot be read, or there is no room to unpack it.
    """
    if not source.is_file():
        raise NotFoundError(f"There is no file {source}.")
    with _translating(f"read {source}"), source.open("rb") as file:
        reader = _Reader(file, source)
        seal = reader.take(SEAL, len(_make_seal("0" * 64)))
        found, index = _read_index(reader, seal)
        if digest and found != digest.lower():
            raise TamperedError(
                f"{source} is another bundle than the one you were told of: its index has sha256 {found}.",
                hint="Ask the sender. Nothing was opened.",
            )
        for place, member in enumerate(parse(index)):
            check_member_path(member.path)
            reader.unpack(_name_member(member.path, place), member, folder)
            progress(file.tell())
        reader.expect(END, "its end")
        if file.read(1):
            raise reader.complain("something follows its end")
    return found, index


def check_member_path(path: str) -> str:
    """Returns a relative path that stays below its folder, or raises.

    Raises:
        TamperedError: It is absolute, climbs, or is written in a form of which there are several.

    >>> check_member_path("artifact/MLmodel")
    'artifact/MLmodel'
    """
    parts = PurePosixPath(path).parts
    sound = bool(parts) and not path.startswith("/") and "/".join(parts) == path
    if not sound or ".." in parts or "\\" in path or any(ord(mark) < FIRST_PRINTABLE for mark in path):
        raise TamperedError(f"The bundle holds a file with the unsafe path {path!r}.", hint="Do not use it.")
    return path


class _Reader:
    """Takes members off a bundle in order; whatever is not exactly as it would be written is refused."""

    def __init__(self, file: IO[bytes], source: Path) -> None:
        self._file = file
        self._source = source
        self._size = os.fstat(file.fileno()).st_size

    def complain(self, what: str) -> TamperedError:
        """Words what is wrong."""
        return TamperedError(
            f"{self._source} is no whole bundle of Greenroom: {what}.",
            hint="Nothing was opened. Copy or export it again.",
        )

    def expect(self, wanted: bytes, what: str) -> None:
        """Reads exactly these bytes."""
        if self._file.read(len(wanted)) != wanted:
            raise self.complain(f"{what} is not as it was written")

    def read_size(self, name: str) -> int:
        """The size that the next header names; the file's position stays."""
        place = self._file.tell()
        header = self._file.read(BLOCK)
        self._file.seek(place)
        try:
            size = int(header[124:135], 8)
        except ValueError as error:
            raise self.complain(f"the header of {name} is not as it was written") from error
        if header != _make_header(name, size):
            raise self.complain(f"the header of {name} is not as it was written")
        return size

    def take(self, name: str, size: int) -> bytes:
        """Reads a small member."""
        self.expect(_make_header(name, size), f"the header of {name}")
        content = self._file.read(size)
        if len(content) != size:
            raise self.complain(f"{name} is cut")
        self.expect(_pad(size), f"the padding of {name}")
        return content

    def unpack(self, name: str, member: Member, folder: Path) -> None:
        """Copies a member below a folder, and checks it."""
        self.expect(_make_header(name, member.size), f"the header of {member.path}")
        if self._file.tell() + member.size > self._size:
            raise self.complain(f"{member.path} is cut")
        target = folder / member.path
        target.parent.mkdir(parents=True, exist_ok=True)
        left, content = member.size, hashlib.sha256()
        with target.open("xb") as sink:
            while left and (chunk := self._file.read(min(left, CHUNK))):
                content.update(chunk)
                sink.write(chunk)
                left -= len(chunk)
        if left or content.hexdigest() != member.sha256:
            raise self.complain(f"{member.path} is not as it was written")
        self.expect(_pad(member.size), f"the padding of {member.path}")


def _read_index(reader: _Reader, seal: bytes) -> tuple[str, bytes]:
    size = reader.read_size(INDEX)
    if size > MAX_INDEX:
        raise reader.complain(f"an index of {size} bytes is longer than any")
    index = reader.take(INDEX, size)
    digest = hashlib.sha256(index).hexdigest()
    if seal != _make_seal(digest):
        raise reader.complain("its index is not as it was written")
    return digest, index


def _make_seal(digest: str) -> bytes:
    """A line that ``sha256sum -c`` reads."""
    return f"{digest}  {INDEX}\n".encode()


def _name_member(path: str, place: int) -> str:
    """What a member is called in the archive.

    >>> _name_member("artifact/MLmodel", 7), _name_member("artifact/größe.json", 7)
    ('artifact/MLmodel', 'named-in-index/000007')
    """
    return path if path.isascii() and len(path) <= MAX_NAME else f"named-in-index/{place:06d}"


def _make_header(name: str, size: int) -> bytes:
    """The one header of a member: a plain file, of nobody, of no time, that its owner may read and write."""
    length = b"%011o\x00" % size if size < MAX_OCTAL else b"\x80" + size.to_bytes(11, "big")
    fields = (
        name.encode("ascii").ljust(MAX_NAME, b"\x00"),
        b"0000644\x00" + b"0000000\x00" * 2,  # mode, user, group
        length,
        b"00000000000\x00",  # time
        b" " * 8,  # the sum's own place while it is computed
        b"0",  # a plain file
        bytes(MAX_NAME),  # no link
        b"ustar\x0000",
        bytes(64),  # no names of user and group
        b"0000000\x00" * 2,  # no device
        bytes(167),
    )
    header = b"".join(fields)
    return header[:148] + b"%06o\x00 " % sum(header) + header[156:]


def _pad(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _write_bytes(file: IO[bytes], name: str, content: bytes) -> None:
    file.write(_make_header(name, len(content)) + content + _pad(len(content)))


def _write_file(file: IO[bytes], name: str, source: Path) -> None:
    size = source.stat().st_size
    file.write(_make_header(name, size))
    with source.open("rb") as content:
        while chunk := content.read(CHUNK):
            file.write(chunk)
    file.write(_pad(size))


@contextmanager
def _translating(deed: str) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError as error:
        raise UsageError(f"Cannot {deed}: it is a folder.", hint="Name a file.") from error
    except OSError as error:
        raise DataError(f"Cannot {deed}: {error.strerror or error}.") from error
