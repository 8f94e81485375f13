"""A real server that logs what it answers."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from registry import read_predictions
from registry.commands.feedback import COMMAND
from registry.console import run_command
from tests.serving.scoring_servers import (
    Reply,
    ServeModel,
    ask,
    copy_template,
    log_version,
    serve_model,
    set_alias,
    wait_until,
)

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def registry_uri(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    uri = copy_template(sqlite_template, tmp_path_factory.mktemp("logged"))
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0], "secret": [1.0, 0.0, 1.0]})
    set_alias(
        uri, "logged", log_version(uri, "logged", LinearRegression().fit(table, [1, 2, 3]), table.head(2))
    )
    return uri


@pytest.fixture
def server(registry_uri: str, tmp_path: Path) -> Iterator[ServeModel]:
    options = (
        "--workers",
        "1",
        "--log-predictions",
        "kept",
        "--log-redact",
        "secret",
        "--log-flush-seconds",
        "0.5",
    )
    with serve_model("logged", registry_uri, tmp_path, *options) as server:
        yield server


def predict(server: ServeModel, rows: int, request_id: str) -> Reply:
    body = json.dumps(
        {"dataframe_split": {"columns": ["x", "secret"], "data": [[1.5, 7.25]] * rows}}
    ).encode()
    return ask(server.port, "POST", "/invocations", body, {**JSON, "x-request-id": request_id})


def predict_in_pieces(server: ServeModel) -> None:
    """Not for the fast lane."""
    body = b'{"inputs": {"x": [2.5], "secret": [1.0]}}'
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\nx-request-id: pieces\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body[:5])
        time.sleep(0.05)
        connection.sendall(body[5:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_what_was_answered_is_kept_whatever_ends(
    server: ServeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        assert predict(server, 1, f"one-{number}").status == 200
    predict(server, 3, "three")
    predict_in_pieces(server)
    assert predict(server, 0, "refused").status == 400
    truth = json.dumps([{"request_id": "one-3", "truth": 5}, {"request_id": "three", "row": 2, "truth": 6}])
    told = ask(server.port, "POST", "/feedback", truth.encode(), JSON)
    assert (told.status, told.document) == (202, {"taken": 2})
    assert ask(server.port, "POST", "/feedback", b'{"truth": 1}', JSON).status == 400

    time.sleep(0.3)  # what a worker holds for a moment is with the clerk
    (worker,) = (
        child
        for child in psutil.Process(server.process.pid).children()
        if "serving.worker" in child.cmdline()
    )
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: b'process="worker"' in fetch_metrics(server))
    assert predict(server, 1, "after").status == 200
    wait_until(lambda: server.info()["prediction_log"]["logged"] >= 1)
    log = server.info()["prediction_log"]
    assert (log["log"], log["lost"], log["problem"]) == (str(tmp_path / "kept"), {}, None)
    assert b'greenroom_predictions_lost_total{model="logged",reason="overflow"} 0.0' in fetch_metrics(server)
    predict(server, 1, "last")
    assert server.stop() == 0

    table = read_predictions(str(tmp_path / "kept"), "logged")
    ids = {f"one-{number}" for number in range(20)} | {
        "three/0",
        "three/1",
        "three/2",
        "pieces",
        "after",
        "last",
    }
    assert set(table.meta["id"]) == ids
    assert len(table.meta) == len(ids)
    assert set(table.inputs) == {"x"}
    assert table.outputs["prediction"].notna().all()
    known = dict(zip(table.meta["id"], table.truth["truth"], strict=True))
    assert (known["one-3"], known["three/2"]) == (5.0, 6.0)
    tell_by_file(tmp_path, capsys)


def fetch_metrics(server: ServeModel) -> bytes:
    try:
        return ask(server.port, "GET", "/metrics").body
    except OSError:  # its worker has just been killed
        return b""


def tell_by_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same truths by the command, and one for nobody."""
    file = folder / "truth.csv"
    file.write_text("id,truth,time\none-3,9,2099-01-01T00:00:00Z\n1e5,1,2026-01-01\n")
    for options, rows in ((["--dry-run"], 5.0), ([], 9.0)):
        arguments = ["logged", "--log", str(folder / "kept"), "--input", str(file), "--json", *options]
        assert run_command(COMMAND, arguments) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["rows"], said["unknown"], said["dry_run"]) == (2, 1, bool(options))
        table = read_predictions(str(folder / "kept"), "logged")
        assert table.truth["truth"][table.meta["id"] == "one-3"].tolist() == [rows]


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
