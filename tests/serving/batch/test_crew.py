"""The command as users run it, with processes that are killed; and a cluster."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import UnreachableError
from registry.console import run_command
from serving.batch.cli import COMMAND
from serving.batch.dask_engine import DaskEngine
from serving.batch.driver import score
from serving.batch.settings import ScoreSettings
from tests.serving.batch.conftest import Stage, make_rows, read_output, read_record
from tests.serving.batch.inline import InlineCrew

FILES, FILE_ROWS = 12, 2_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    table = pa.Table.from_pandas(make_rows(FILES * FILE_ROWS), preserve_index=False)
    for number in range(FILES):
        part = table.slice(number * FILE_ROWS, FILE_ROWS)
        pq.write_table(part, folder / f"{number:02d}.parquet")
    return folder


def check_whole(folder: Path) -> pd.DataFrame:
    """Every row of the input is in the output once, and nothing is left behind."""
    found = read_output(folder)
    assert found["id"].tolist() == list(range(FILES * FILE_ROWS))
    assert sorted(path.name for path in folder.iterdir() if path.name[0] == "_") == [
        "_greenroom.begun.json",
        "_greenroom.json",
    ]
    return found


def find_workers(pid: int) -> list[psutil.Process]:
    """Those that score for a driver: children of the process that starts them."""
    return [worker for host in psutil.Process(pid).children() if is_host(host) for worker in host.children()]


def is_host(process: psutil.Process) -> bool:
    """Whether it starts workers; other tests' children may have ended, and are asked in vain."""
    with suppress(psutil.Error):
        return "serving.batch.host" in process.cmdline()
    return False


def wait_for(is_there: Callable[[], object], driver: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not is_there():
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def striking(folder: Path, killed: list[int]) -> Iterator[None]:
    """Kills two workers of this process, one after the other, while they are at work."""
    ended = threading.Event()
    before = len(list(folder.glob("part-*")))

    def strike() -> None:
        while not ended.wait(0.02) and len(killed) < 2:
            if len(list(folder.glob("part-*"))) <= before + len(killed):
                continue
            with suppress(psutil.Error):
                for worker in find_workers(psutil.Process().pid)[:1]:
                    worker.kill()
                    killed.append(worker.pid)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_job_that_loses_its_driver_and_then_its_workers_has_every_row_once(
    stage: Stage, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["late", "--keep", "id", "--batch-rows", "50", "--workers", "1", "--json"]
    options += ["--input", str(source), "--output", str(out)]
    script = str(Path(sys.executable).with_name("score-model"))
    driver = subprocess.Popen([script, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: find_workers(driver.pid), driver)
        family = psutil.Process(driver.pid).children(recursive=True)  # slow: before the first part is there
        wait_for(lambda: list(out.glob("part-*")), driver)
    finally:
        driver.kill()
        driver.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    killed: list[int] = []
    with striking(out, killed):
        assert run_command(COMMAND, options) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == read_record(out)
    assert killed
    assert 0 < document["resumed_parts"] < FILES
    assert document["rows_written"] == FILES * FILE_ROWS
    check_whole(out)


def test_dask_gives_the_same_rows(stage: Stage, source: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    make: Any = LocalCluster  # it is not typed
    with make(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        for engine in ("local", "dask"):
            chosen = {"engine": engine, "scheduler": cluster.scheduler_address}
            settings = ScoreSettings(
                model="late", input=str(source), output=str(tmp_path / engine), keep=("id",), **chosen
            )
            done = score(settings, stage.settings, crew=InlineCrew())
            assert (done["engine"], done["rows_written"]) == (engine, FILES * FILE_ROWS)
    assert check_whole(tmp_path / "local").equals(check_whole(tmp_path / "dask"))


def test_a_scheduler_that_is_not_there_is_named(free_port: int) -> None:
    address = f"tcp://127.0.0.1:{free_port}"
    with pytest.raises(UnreachableError, match=address), DaskEngine(1, address, connect_s=0.3):
        pass


def test_options_that_contradict_each_other_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["late@staging", "--input", "a", "--output", "b"]
    for wrong, words in {
        "--version": "name a version twice",
        "--scheduler": "goes with --engine dask",
    }.items():
        assert run_command(COMMAND, [*options, wrong, "1"]) == 2
        assert words in capsys.readouterr().err
