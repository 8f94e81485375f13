"""A real server with two workers that keeps what it answers."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from registry import PredictionTable, read_predictions
from registry.commands.feedback import COMMAND
from registry.console import run_command
from tests.serving.conftest import Pair
from tests.serving.scoring_servers import Reply, ask, wait_until

JSON = {"content-type": "application/json"}
COLUMNS = ["a", "b", "n"]


def predict(pair: Pair, rows: int, request_id: str) -> Reply:
    body = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": [[1.5, "x", 7]] * rows}}).encode()
    return ask(pair.ours, "POST", "/invocations", body, {**JSON, "x-request-id": request_id})


def predict_in_pieces(pair: Pair, request_id: str) -> None:
    """Not for the fast lane."""
    body = b'{"inputs": {"a": [2.5], "b": ["y"], "n": [1]}}'
    head = "POST /invocations HTTP/1.1\r\nhost: x\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", pair.ours), 10) as connection:
        connection.sendall((head % (request_id, len(body))).encode() + body[:5])
        time.sleep(0.05)
        connection.sendall(body[5:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def tell_log(pair: Pair) -> Any:
    return ask(pair.ours, "GET", "/info").document["prediction_log"]


def fetch_metrics(pair: Pair) -> bytes:
    try:
        return ask(pair.ours, "GET", "/metrics").body
    except OSError:  # its worker has just been killed
        return b""


def wait_for(
    pair: Pair, ids: set[str], is_right: Callable[[PredictionTable], bool] = lambda _: True
) -> PredictionTable:
    """The log, once it holds these."""
    found = [read_predictions(str(pair.log), "pair")]

    def is_there() -> bool:
        found[0] = read_predictions(str(pair.log), "pair")
        return ids <= set(found[0].meta["id"]) and is_right(found[0])

    wait_until(is_there)
    return found[0]


def test_what_is_answered_is_kept_with_what_turned_out_to_be_true(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = predict(pair, 1, "told").document["predictions"][0]
    predict(pair, 3, "three")
    predict_in_pieces(pair, "pieces")
    ask(
        pair.ours,
        "POST",
        "/invocations",
        b"a,b,n\n1.5,x,7\n",
        {"content-type": "text/csv", "x-request-id": "csv"},
    )
    assert predict(pair, 0, "refused").status == 400
    truth = json.dumps([{"request_id": "told", "truth": 5}, {"request_id": "three", "row": 2, "truth": 6}])
    told = ask(pair.ours, "POST", "/feedback", truth.encode(), JSON)
    assert (told.status, told.document) == (202, {"taken": 2})
    assert ask(pair.ours, "POST", "/feedback", b'{"truth": 1}', JSON).status == 400

    ids = {"told", "three/0", "three/1", "three/2", "pieces", "csv"}
    table = wait_for(pair, ids, lambda table: table.truth["truth"].notna().sum() == 2)
    rows = {one: place for place, one in enumerate(table.meta["id"]) if one in ids}
    assert "refused" not in set(table.meta["id"])
    assert "n" not in table.inputs
    assert table.inputs.loc[[rows["told"], rows["pieces"]], ["a", "b"]].to_numpy().tolist() == [
        [1.5, "x"],
        [2.5, "y"],
    ]
    assert table.outputs["prediction"][rows["told"]] == table.outputs["prediction"][rows["csv"]] == answer
    assert [table.meta["path"][rows[one]] for one in ("told", "csv")] == ["compiled", "native"]
    assert [table.truth["truth"][rows[one]] for one in ("told", "three/2")] == [5.0, 6.0]
    assert tell_log(pair)["log"] == str(pair.log)
    said = fetch_metrics(pair)
    assert b'greenroom_predictions_lost_total{model="pair",reason="overflow"} 0.0' in said
    assert b'process="log"' not in said  # whatever the other tests sent, it has not ended
    tell_by_file(pair, tmp_path, capsys)


def tell_by_file(pair: Pair, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another truth for one of them by the command, and one for nobody, whose id looks like a number."""
    file = folder / "truth.csv"
    file.write_text("id,truth,time\ntold,9,2099-01-01T00:00:00Z\n1e5,1,2026-01-01\n")
    for options, truth in ((["--dry-run"], 5.0), ([], 9.0)):
        arguments = ["pair", "--log", str(pair.log), "--input", str(file), "--json", *options]
        assert run_command(COMMAND, arguments) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["rows"], said["unknown"], said["dry_run"]) == (2, 1, bool(options))
        table = read_predictions(str(pair.log), "pair")
        assert table.truth["truth"][table.meta["id"] == "told"].tolist() == [truth]


def test_a_worker_that_is_killed_takes_nothing_along_that_it_had_answered_a_moment_before(pair: Pair) -> None:
    ids = {f"killed-{number}" for number in range(20)}
    for one in ids:
        assert predict(pair, 1, one).status == 200
    time.sleep(0.3)  # a worker holds for 0.05 s what it has answered
    victim = next(
        child for child in psutil.Process(pair.pid).children() if "serving.worker" in child.cmdline()
    )
    os.kill(victim.pid, signal.SIGKILL)
    wait_for(pair, ids)
    wait_until(lambda: b'process="worker"' in fetch_metrics(pair))
    assert predict(pair, 1, "after-the-kill").status == 200
    wait_for(pair, {"after-the-kill"})


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("truth.txt", "id,truth\n", 2),
        ("gone.csv", None, 1),
        ("truth.csv", "id\nr1\n", 1),
        ("truth.parquet", "x", 1),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(
    tmp_path: Path, name: str, content: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    arguments = ["m", "--log", str(tmp_path / "log"), "--input", str(tmp_path / name)]
    assert run_command(COMMAND, arguments) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
