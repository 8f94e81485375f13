"""The bundle's file has one form: any other is refused before anybody looks at its content."""

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from registry.bundle.container import Member, check_member_path, read_container, write_container
from registry.errors import DataError, NotFoundError, TamperedError, UsageError

FLIPS = 400
CONTENT = {
    "artifact/MLmodel": b"flavors: {}\n",
    "artifact/data/größe.bin": bytes(range(256)) * 5,
    f"artifact/{'deep/' * 30}x": b"a long name",
    "artifact/empty": b"",
    "history.json": b"x" * 512,
}


def parse(index: bytes) -> tuple[Member, ...]:
    return tuple(Member(*line) for line in json.loads(index))


def make_index(content: dict[str, bytes]) -> bytes:
    lines = [[path, len(data), hashlib.sha256(data).hexdigest()] for path, data in content.items()]
    return json.dumps(lines).encode()


def write(folder: Path, content: dict[str, bytes], index: bytes | None = None) -> Path:
    """A bundle of this content; with an index of its own, a lying one."""
    sources = {}
    for number, (path, data) in enumerate(content.items()):
        sources[path] = folder / f"source-{number}"
        sources[path].write_bytes(data)
    write_container(folder / "bundle", index or make_index(content), sources)
    return folder / "bundle"


def read(bundle: Path, folder: Path, digest: str = "") -> str:
    folder.mkdir()
    return read_container(bundle, folder, parse, digest=digest)[0]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path, CONTENT)


def test_what_was_written_is_read(bundle: Path, tmp_path: Path) -> None:
    digest = read(bundle, tmp_path / "out")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in CONTENT} == CONTENT
    assert digest == hashlib.sha256(make_index(CONTENT)).hexdigest()


def test_the_same_content_is_the_same_file_and_nothing_else_is_left(bundle: Path, tmp_path: Path) -> None:
    first = bundle.read_bytes()
    assert write(tmp_path, CONTENT).read_bytes() == first
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_any_tar_lists_and_unpacks_it(bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        assert names[:3] == ["index.sha256", "index.json", "artifact/MLmodel"]
        assert names[3:5] == ["named-in-index/000001", "named-in-index/000002"]
        seal = archive.extractfile("index.sha256")
        assert seal is not None
        assert seal.read() == f"{hashlib.sha256(make_index(CONTENT)).hexdigest()}  index.json\n".encode()


def test_a_flipped_bit_anywhere_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole, chance = bundle.read_bytes(), random.Random(1)
    for number in range(FLIPS):
        place = number * 7 if number < 75 else chance.randrange(len(whole))  # every part of the first header
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        bundle.write_bytes(damaged)
        with pytest.raises(TamperedError):
            read(bundle, tmp_path / f"out-{number}")


def test_a_cut_or_longer_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    for number, other in enumerate((b"", whole[:100], whole[:-1], whole[:-1024], whole + b"\0", whole * 2)):
        bundle.write_bytes(other)
        with pytest.raises(TamperedError):
            read(bundle, tmp_path / f"out-{number}")


def test_another_digest_than_the_one_told_is_refused(bundle: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(make_index(CONTENT)).hexdigest()
    assert read(bundle, tmp_path / "same", digest.upper()) == digest
    with pytest.raises(TamperedError, match="another bundle"):
        read(bundle, tmp_path / "other", "0" * 64)


def test_a_tar_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """As their own tools write it: links, folders, owners, times."""
    index = make_index({"artifact/MLmodel": b"x"})
    with tarfile.open(tmp_path / "bundle", "w") as archive:
        for name, data in (("index.sha256", b"0" * 77), ("index.json", index)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("artifact/MLmodel")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(TamperedError):
        read(tmp_path / "bundle", tmp_path / "out")


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    bundle = write(tmp_path, {"artifact/a": b""})
    content = bytearray(bundle.read_bytes())
    start = content.index(b"artifact/a\0")
    header = tarfile.TarInfo("artifact/a")
    header.type, header.linkname, header.mode = tarfile.SYMTYPE, "/etc/passwd", 0o644
    content[start : start + 512] = header.tobuf(tarfile.USTAR_FORMAT)
    bundle.write_bytes(content)
    with pytest.raises(TamperedError, match="header of artifact/a"):
        read(bundle, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "", "a\\b", "a\0b", "a/./b", "C\n"]
)
def test_a_path_that_leads_out_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(TamperedError, match="unsafe path"):
        check_member_path(path)
    with pytest.raises(TamperedError):
        read(write(tmp_path, {path: b"x"}), tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    index = json.dumps(json.loads(make_index({"a": b"x"})) * 2).encode()
    once = write(tmp_path, {"a": b"x"}, index).read_bytes()
    member = once[once.index(b"a\0") : -1024]
    (tmp_path / "bundle").write_bytes(once[:-1024] + member + bytes(1024))
    with pytest.raises(DataError):
        read(tmp_path / "bundle", tmp_path / "out")


def test_an_index_that_promises_more_than_there_is_unpacks_nothing(tmp_path: Path) -> None:
    """No file can unfold into more than it is: a size beyond the end is refused before a byte is written."""
    index = json.dumps([["a", 10**15, "0" * 64]]).encode()
    with pytest.raises(TamperedError):
        read(write(tmp_path, {"a": b"x"}, index), tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises((UsageError, DataError)):
        write_container(tmp_path / "folder", b"[]", {})
    with pytest.raises(DataError, match="No such file"):
        write_container(tmp_path / "nowhere" / "bundle", b"[]", {})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read(tmp_path / "nothing", tmp_path / "out")
