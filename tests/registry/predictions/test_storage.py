import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import DataError, UnreachableError, append_predictions, read_predictions
from registry.predictions.storage import STALE_S, open_storage
from tests.registry.predictions.frames import make_table


@contextmanager
def no_room(limit_bytes: int) -> Iterator[None]:
    """A disk on which no file gets longer; the kernel's limit, which fails as a full one does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind_and_trying_again_helps(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    with no_room(1000), pytest.raises(UnreachableError, match="File too large"):
        storage.write("m/part-1.parquet", b"x" * 5000)
    assert [path.name for path in tmp_path.rglob("*.*")] == []
    storage.write("m/part-1.parquet", b"x" * 5000)
    assert storage.read("m/part-1.parquet") == b"x" * 5000


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(DataError, match="Name a folder"):
        append_predictions(str(tmp_path / "log"), "m", make_table(["a"]))


def test_what_a_killed_writer_left_is_not_read_and_is_swept_when_it_is_old(tmp_path: Path) -> None:
    append_predictions(str(tmp_path), "m", make_table(["a"]))
    (part,) = tmp_path.rglob("*.parquet")
    old, new = (part.with_name(f".part-{name}.parquet.77.tmp") for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"PAR1 and then the writer was killed")
    os.utime(old, (time.time() - STALE_S - 60,) * 2)
    assert len(read_predictions(str(tmp_path), "m").meta) == 1
    append_predictions(str(tmp_path), "m", make_table(["b"]))
    assert (old.exists(), new.exists()) == (False, True)
