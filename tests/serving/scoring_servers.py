"""Real scoring servers, ours and MLflow's, started as users start them."""

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 90.0
"""Patience with a server on a busy machine."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own, with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def predict(port: int, value: float = 1.0) -> Reply:
    """Asks for one prediction."""
    body = json.dumps({"dataframe_records": [{"x": value}]}).encode()
    return ask(port, "POST", "/invocations", body, {"content-type": "application/json"})


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Waits, in small steps; fails if it never becomes so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class ServeModel:
    """A running ``serve-model`` process."""

    process: "subprocess.Popen[bytes]"
    announced: Mapping[str, Any]
    log: Path

    @property
    def port(self) -> int:
        return int(self.announced["address"].rpartition(":")[2])

    def info(self) -> Any:
        return ask(self.port, "GET", "/info").document

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serve_model(
    name: str,
    uri: str,
    folder: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
    script: Path | None = None,
) -> Iterator[ServeModel]:
    """Runs ``serve-model`` (another one, if told) until the block ends; entered once it has said it is up."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "serve-model.log"
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": uri,
        "GREENROOM_CACHE_DIR": str(folder / "cache"),
        **(env or {}),
    }
    script = script or Path(sys.executable).with_name("serve-model")
    command = [str(script), name, "--port", "0", "--json", "--poll-interval-s", "0.1", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            cwd=folder,
            preexec_fn=preexec,  # noqa: PLW1509 - sets a limit and nothing else
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"serve-model ended with {process.wait()}: {log.read_text()}"
        yield ServeModel(process, json.loads(line), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def mlflow_models_serve(uri: str, model_uri: str, folder: Path, port: int) -> Iterator[int]:
    """Runs ``mlflow models serve`` with everything it starts, until the block ends."""
    script = Path(sys.executable).with_name("mlflow")
    command = [str(script), "models", "serve", "-m", model_uri, "-p", str(port), "--env-manager", "local"]
    path = f"{script.parent}{os.pathsep}{os.environ.get('PATH', '')}"  # it starts uvicorn by its name
    with (folder / "mlflow-models-serve.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path},
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert process.poll() is None, (folder / "mlflow-models-serve.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/ping").status == 200
    except OSError:
        return False


def log_version(uri: str, name: str, model: Any, example: Any, signature: Any = None) -> str:
    """Logs a scikit-learn model with plain MLflow and registers it; returns the version."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's hints about integer columns and the like
        with mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=signature,
                input_example=example,
                pip_requirements=["scikit-learn"],
                registered_model_name=name,
            )
    return str(logged.registered_model_version)


def log_constants(uri: str, name: str, values: Sequence[int]) -> Sequence[str]:
    """Versions that always predict their own number: an answer shows which of them gave it."""
    import pandas as pd
    from sklearn.dummy import DummyRegressor

    example = pd.DataFrame({"x": [0.0, 1.0]})
    versions = []
    for value in values:
        model = DummyRegressor(strategy="constant", constant=float(value)).fit(example, [0.0, 1.0])
        versions.append(log_version(uri, name, model, example))
    return versions


def set_alias(uri: str, name: str, version: str, alias: str = "production") -> None:
    """Moves an alias with plain MLflow."""
    from mlflow import MlflowClient

    MlflowClient(uri).set_registered_model_alias(name, alias, version)


def copy_template(template: Path, folder: Path) -> str:
    """A fresh MLflow on SQLite with local artifacts, for fixtures that outlive a test."""
    shutil.copyfile(template, folder / "mlflow.db")
    connection = sqlite3.connect(folder / "mlflow.db")
    with connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (str(folder / "mlruns"),))
    connection.close()
    return f"sqlite:///{folder / 'mlflow.db'}"
