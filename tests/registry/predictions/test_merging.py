import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from registry import PredictionWriter, read_predictions
from registry.predictions.merging import MANY_ROWS, Merger
from registry.predictions.storage import open_storage

DAY_US = 86_400_000_000


class Quiet:
    """A writer of one row at a time, whose small files are put together by threes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = open_storage(str(folder))
        self.writer = PredictionWriter(str(folder), "m")
        self.merger = Merger(self.storage, parts=3)
        self.rows = 0

    def write(self, value: Any = 1.0, day: int = 20_000, rows: int = 1) -> None:
        self.rows += 1
        (part,) = self.writer.encode_predictions(
            "1",
            ids=[f"r{self.rows}"],
            times_us=[day * DAY_US + self.rows],
            paths=["native"],
            inputs={"x": [value]},
            outputs={"prediction": [1]},
        )
        self.storage.write(part.name, part.content)
        self.merger.note(part.name, rows)

    def list_files(self) -> list[str]:
        return sorted(path.name.rpartition("-")[2] for path in self.folder.rglob("*.parquet"))

    def read_ids(self) -> list[str]:
        return read_predictions(str(self.folder), "m").meta["id"].tolist()


def test_small_files_that_follow_each_other_become_one(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    for value in (1.0, None, 2.0, 3.0):
        quiet.write(value)
    before = read_predictions(str(tmp_path), "m")
    quiet.merger.merge()
    assert quiet.list_files() == ["000003.parquet", "000004.parquet"]  # 1 to 3, and 4
    after = read_predictions(str(tmp_path), "m")
    assert after.meta.equals(before.meta)
    assert after.inputs.equals(before.inputs)


def test_the_files_of_a_day_that_is_over_do_not_wait_for_more(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    for day in (20_000, 20_000, 20_001):
        quiet.write(day=day)
    quiet.merger.merge()
    assert quiet.list_files() == ["000002.parquet", "000003.parquet"]
    assert quiet.read_ids() == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("rows", "files"),
    [
        ([1, 1, MANY_ROWS + 1, 1], ["000002.parquet", "000003.parquet", "000004.parquet"]),
        (
            [MANY_ROWS] * 11,
            ["000003.parquet", "000006.parquet", "000009.parquet", "000010.parquet", "000011.parquet"],
        ),
    ],
)
def test_large_files_stay_and_what_surrounds_them_is_put_together_apart(
    tmp_path: Path, rows: list[int], files: list[str]
) -> None:
    quiet = Quiet(tmp_path)
    for count in rows:
        quiet.write(rows=count)
    quiet.merger.merge()
    assert quiet.list_files() == files
    assert quiet.read_ids() == [f"r{number}" for number in range(1, len(rows) + 1)]


def test_many_rows_are_enough_for_a_large_file(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    quiet.merger = Merger(quiet.storage)
    for _ in range(11):
        quiet.write(rows=MANY_ROWS)
    quiet.merger.merge()
    assert quiet.list_files() == ["000010.parquet", "000011.parquet"]


def test_files_whose_columns_are_of_other_kinds_stay_as_they_are(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)
    for value in (1.0, "text", [1]):
        quiet.write(value)
    quiet.merger.merge()
    assert len(quiet.list_files()) == 3
    assert quiet.read_ids() == ["r1", "r2", "r3"]


@pytest.mark.parametrize("left", [0, 1])
def test_a_writer_killed_between_the_new_file_and_the_last_old_one_doubles_nothing(
    tmp_path: Path, left: int
) -> None:
    quiet = Quiet(tmp_path / "log")
    for _ in range(3):
        quiet.write()
    shutil.copytree(tmp_path / "log", tmp_path / "before")
    quiet.merger.merge()
    for path in sorted((tmp_path / "before").rglob("*.parquet"))[left:]:
        shutil.copy(path, tmp_path / "log" / path.relative_to(tmp_path / "before"))
    assert len(quiet.list_files()) == 4 - left
    assert quiet.read_ids() == ["r1", "r2", "r3"]
    PredictionWriter(str(tmp_path / "log"), "m").sweep()
    assert quiet.list_files() == ["000003.parquet"]
    assert quiet.read_ids() == ["r1", "r2", "r3"]


def test_who_reads_meanwhile_sees_every_row_once(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path)

    def work() -> None:
        for _ in range(60):
            quiet.write()
            quiet.merger.merge()

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        at_least = quiet.rows - 1
        ids = quiet.read_ids()
        assert len(ids) == len(set(ids)) >= at_least
    worker.join()
    assert len(quiet.read_ids()) == 60
    assert len(quiet.list_files()) == 20
