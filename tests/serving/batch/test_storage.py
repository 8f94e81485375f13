import json
import multiprocessing
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import AccessDeniedError, ConflictError, DataError, UsageError
from serving.batch.lock import OutputLock
from serving.batch.storage import OutputStorage, open_output


@pytest.fixture(params=["folder", "bucket"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OutputStorage]:
    if request.param == "folder":
        yield open_output(str(tmp_path / "out"))
        return
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": request.getfixturevalue("moto_server"),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="data")
    yield open_output("s3://data/out/")


def test_a_storage_keeps_files_and_of_many_who_create_one_wins(storage: OutputStorage) -> None:
    assert (storage.list(), storage.read("a"), storage.read_metadata("a")) == ([], None, None)
    won = []
    threads = [threading.Thread(target=lambda: won.append(storage.create("one", b"1"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]
    storage.write("_quarantine/x", b"x")
    storage.write("one", b"2")
    assert (storage.read("one"), storage.list(), storage.list("on")) == (
        b"2",
        ["_quarantine/x", "one"],
        ["one"],
    )
    with storage.drafting() as draft:
        pq.write_table(pa.table({"x": range(1000)}), draft)
        assert storage.list() == ["_quarantine/x", "one"]
        storage.publish(draft, "part")
    assert storage.read_metadata("part").num_rows == 1000
    assert storage.read_metadata("one") is None
    storage.delete("one")
    storage.delete("one")
    assert storage.list() == ["_quarantine/x", "part"]


def test_a_lock_is_had_by_one_and_given_back(storage: OutputStorage) -> None:
    with OutputLock(storage, beat_s=0.05) as lock:
        with pytest.raises(ConflictError, match="is at work"):
            OutputLock(storage, beat_s=0.05).acquire()
        lock.check()
    assert storage.list() == []
    with OutputLock(storage):
        pass


def leave(storage: OutputStorage, **changes: object) -> None:
    """A lock as somebody left it behind."""
    lock = OutputLock(storage)
    storage.create("_greenroom.lock.0", json.dumps({**lock._owner, **changes}).encode())


@pytest.fixture
def folder(tmp_path: Path) -> OutputStorage:
    return open_output(str(tmp_path / "out"))


def test_a_lock_of_a_process_that_ended_here_is_taken_at_once(folder: OutputStorage) -> None:
    leave(folder, start="1")
    with OutputLock(folder, lease_s=60):
        assert folder.list("_greenroom.lock.") == ["_greenroom.lock.0", "_greenroom.lock.1"]
    assert folder.list() == []


@pytest.mark.parametrize("content", [b'{"host": "elsewhere", "pid": 1}', b"", b"["])
def test_a_lock_of_somebody_elsewhere_is_taken_when_no_beat_comes(
    folder: OutputStorage, content: bytes
) -> None:
    folder.create("_greenroom.lock.0", content)
    told: list[str] = []
    with OutputLock(folder, beat_s=0.05, lease_s=0.2, tell=told.append):
        pass
    assert "watching for 0.2 s" in told[0]


def test_of_two_who_find_the_same_dead_lock_one_gets_it(folder: OutputStorage) -> None:
    leave(folder, start="1")
    locks = [OutputLock(folder) for _ in range(4)]
    got: list[OutputLock] = []

    def take(lock: OutputLock) -> None:
        try:
            lock.acquire()
        except ConflictError:
            return
        got.append(lock)

    threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) <= 1  # none, if they saw each other in the very same moment: each may try again
    for lock in got:
        lock.release()
    assert folder.list() == [] or not got


def test_who_was_taken_for_dead_sees_it_at_the_next_beat(folder: OutputStorage) -> None:
    with OutputLock(folder, beat_s=0.02) as lock:
        folder.create("_greenroom.lock.1", b"{}")
        lock._thread.join(5)
        with pytest.raises(ConflictError, match="took this one for dead"):
            lock.check()


def fill(place: str, answer: "multiprocessing.connection.Connection") -> None:
    """In a process that may write 4 kB per file: what a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    storage = open_output(place)
    try:
        with storage.drafting() as draft:
            draft.write_bytes(b"x" * 100_000)
            storage.publish(draft, "part")
    except DataError as error:
        answer.send(str(error))


def test_a_full_disk_is_said_and_leaves_nothing_half(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=fill, args=(str(tmp_path / "out"), theirs))
    process.start()
    process.join(30)
    assert "Make room; the same command goes on" in ours.recv()
    assert list((tmp_path / "out").iterdir()) == []


def test_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for address in ("s3://bucket", "sqlite:///x", " "):
        with pytest.raises(UsageError):
            open_output(address)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        open_output(str(tmp_path / "file")).list()
    with pytest.raises((AccessDeniedError, DataError), match="cannot be written"):
        open_output("/proc/nowhere").create("a", b"")
