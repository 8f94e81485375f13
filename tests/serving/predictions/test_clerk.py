"""A real clerk process, and outlets as workers have them."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry import read_predictions
from serving.predictions.keeper import ClerkKeeper, bind_log
from serving.predictions.outlet import HOLD_S, Outlet
from serving.predictions.tally import Tally
from serving.settings import ServeSettings
from serving.telemetry import Telemetry

FLUSH_S = 0.4
BODY = json.dumps(
    {"dataframe_split": {"columns": ["x", "secret"], "data": [[1.5, "nobody may know"]]}}
).encode()
ANSWER = b'{"predictions":[2.5]}'


@dataclass
class Room:
    """One clerk, kept alive, and one worker's outlet."""

    keeper: ClerkKeeper
    outlet: Outlet
    tally: Tally
    telemetry: Telemetry
    log: str
    noted: int = 0

    def note(self, count: int) -> None:
        for _ in range(count):
            self.noted += 1
            self.outlet.note("1", f"r{self.noted}", b"application/json", BODY, ANSWER, native=False)

    async def wait_until(self, is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"it did not happen in time: {self.tally}"
            await asyncio.sleep(0.01)

    def find_clerk(self) -> int:
        process = self.keeper._process
        assert process is not None
        return process.pid

    def read_ids(self) -> list[str]:
        return read_predictions(self.log, "m").meta["id"].tolist()


def play(folder: Path, scene: Callable[[Room], Awaitable[None]], *, log: str = "", **settings: Any) -> Room:
    """Plays a scene; then the worker leaves, and the clerk finishes."""

    async def run() -> Room:
        address = log or str(folder / "log")
        telemetry, tally = Telemetry("m", address), Tally()
        (folder / "sockets").mkdir()
        listener, path = bind_log(folder / "sockets")
        options = ServeSettings(model="m", log=address, log_flush_s=FLUSH_S, **settings)
        outlet = Outlet(path, tally, sample=options.log_sample, limit_bytes=options.log_buffer_bytes)
        room = Room(ClerkKeeper(options, listener, telemetry), outlet, tally, telemetry, address)
        try:
            await scene(room)
        finally:
            await outlet.close()
            await room.keeper.close()
            listener.close()
        return room

    return asyncio.run(run())


def test_what_is_answered_is_in_the_log_within_the_flush_interval_and_no_redacted_column_is(
    tmp_path: Path,
) -> None:
    async def scene(room: Room) -> None:
        await room.wait_until(room.outlet._connected.is_set)
        room.note(300)
        room.outlet.note("1", "odd", b"", BODY, b"an answer that is no JSON", native=True)
        room.outlet.note(
            "2", "multi", b"", b'{"instances": [[1], [2]]}', b'{"predictions":[1,2]}', native=True
        )
        assert room.outlet.take_feedback([("r7", 3.5, None), ("multi/1", True, 1_000_000)])
        await room.wait_until(lambda: room.tally.total() == 304)
        known = {"logged": 301, "feedback": 2, "lost": {"unreadable": 1}, "problem": ""}
        assert room.tally.dump() == known

    room = play(tmp_path, scene, log_redact=("secret",))
    table = read_predictions(room.log, "m")
    assert len(table.meta) == 302
    assert list(table.inputs) == ["x", "0"]
    truths = dict(zip(table.meta["id"], table.truth["truth"], strict=True))
    assert (truths["r7"], truths["multi/1"]) == (3.5, True)
    assert table.truth["truth_time"].notna().tolist().count(True) == 2
    (second,) = table.meta[table.meta["id"] == "multi/1"].to_dict("records")
    assert (second["version"], second["path"]) == ("2", "native")


def test_what_is_handed_over_before_the_end_is_in_the_log_after_it(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        room.note(50)  # nobody is connected yet, nothing is flushed

    assert len(play(tmp_path, scene).read_ids()) == 50


def test_a_clerk_that_is_killed_loses_what_is_counted_and_another_one_goes_on(tmp_path: Path) -> None:
    """How old that is at most, is measured by benchmarks/bench_logging.py."""
    written = 0

    async def scene(room: Room) -> None:
        nonlocal written
        room.note(100)
        await room.wait_until(lambda: room.tally.logged == 100)
        room.note(100)
        await room.wait_until(lambda: room.outlet._records == 0)  # it has them, and waits for more
        written = room.tally.logged
        os.kill(room.find_clerk(), signal.SIGKILL)
        await room.wait_until(lambda: room.telemetry._restarts["log"] == 1)
        room.note(10)

    room = play(tmp_path, scene)
    ids = set(room.read_ids())
    lost = {f"r{number}" for number in range(1, 211)} - ids
    assert lost <= {f"r{number}" for number in range(written + 1, 201)}
    assert len(lost) <= room.tally.lost["crash"] <= 100
    assert room.tally.lost.keys() <= {"crash"}


def test_a_folder_that_takes_nothing_is_told_and_gets_everything_later(tmp_path: Path) -> None:
    blocked = tmp_path / "log"
    blocked.write_text("a file where the folder should be")

    async def scene(room: Room) -> None:
        room.note(20)
        await room.wait_until(lambda: room.tally.problem != "")
        assert str(blocked) in room.tally.problem
        blocked.unlink()
        await room.wait_until(lambda: room.tally.logged == 20)
        assert room.tally.problem == ""

    room = play(tmp_path, scene)
    assert len(room.read_ids()) == 20
    assert room.tally.lost.total() == 0


def test_what_does_not_fit_while_nothing_can_be_written_is_lost_and_counted(tmp_path: Path) -> None:
    blocked = tmp_path / "log"
    blocked.write_text("a file where the folder should be")

    async def scene(room: Room) -> None:
        room.note(1)
        await room.wait_until(lambda: room.tally.problem != "")
        began_s = time.monotonic()
        while not room.tally.lost:
            room.note(100)
            await asyncio.sleep(HOLD_S)
            assert time.monotonic() - began_s < 20
        assert not room.outlet.take_feedback([("r1", 1, None)] * 1000)
        blocked.unlink()
        await room.wait_until(lambda: room.tally.total() == room.noted)

    room = play(tmp_path, scene, log_buffer_bytes=100_000)
    assert room.tally.lost["sink"] == room.noted - len(room.read_ids()) > 0
    assert room.noted < 5000


def test_a_sample_keeps_about_its_share(tmp_path: Path) -> None:
    async def hold() -> int:
        outlet = Outlet(tmp_path / "nobody", Tally(), sample=0.25, limit_bytes=10**7)
        for _ in range(2000):
            outlet.note("1", "r", b"", BODY, ANSWER, native=False)
        outlet._connecting.cancel()
        return outlet._records

    assert 380 < asyncio.run(hold()) < 620  # six standard deviations


def test_a_bucket_that_is_away_gets_everything_when_it_is_back(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port}")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port, verbose=False)

    async def scene(room: Room) -> None:
        room.note(20)
        await room.wait_until(lambda: "no answer" in room.tally.problem)
        server.start()
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="clerk-log")
        await room.wait_until(lambda: room.tally.logged == 20)

    try:
        room = play(tmp_path, scene, log="s3://clerk-log/deep")
        assert len(room.read_ids()) == 20
    finally:
        with suppress(AttributeError):
            server.stop()
