"""Starts stock ``mlflow server`` with settings that hold under load, and stops all of it again."""

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .artifact_root import check_artifact_root
from .console import say
from .environment import get_child_environment
from .errors import GreenroomError, UnreachableError, UsageError
from .keeper import KeptProcess, start_kept
from .stores.database import check_database, is_database

__all__ = ["Server", "find_free_port", "keep_running", "start_server"]

SERVER_ENVIRONMENT: Final = {
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "20",
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "60",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Measured: MLflow's default pool lost 14 to 19 of 40 concurrent writes; job execution costs 8 processes."""

READY_TIMEOUT_S: Final = 120.0
"""A start imports MLflow twice and creates the tables: 6 to 10 s, much more on a busy machine."""

DATABASE_TIMEOUT_S: Final = 10.0
HOUSEKEEPING_S: Final = 1.0
MAX_PORT: Final = 65535
WORDS_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Server:
    """A running MLflow tracking server."""

    uri: str
    process: KeptProcess

    def is_running(self) -> bool:
        """False once the server has ended by itself."""
        return self.process.poll() is None


@contextmanager
def start_server(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    backend_store_uri: str = "sqlite:///mlflow.db",
    artifacts: str = "mlartifacts",
    workers: int = 1,
    allowed_hosts: str | None = None,
    app_name: str | None = None,
    folder: Path | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """Runs ``mlflow server`` until the context ends; then none of its processes is left.

    Settings that the user's environment already has are left alone.

    Args:
        host: Interface to bind.
        port: Port to bind; 0 takes a free one.
        backend_store_uri: Database where MLflow keeps runs and models.
        artifacts: Folder or URI where the server keeps the files it hands out itself.
        workers: Server processes; one is enough locally.
        allowed_hosts: Host names under which others reach it, comma-separated.
        app_name: MLflow's ``--app-name``, e.g. ``basic-auth``.
        folder: Working directory, where relative paths start; the present one if None.
        log: File that receives the server's own words; standard error if None.

    Raises:
        UsageError: The backend is no database.
        AccessDeniedError: A secret is wrong or missing, or the bucket does not exist.
        UnreachableError: The database, S3 or the new server itself does not answer.
        GreenroomError: The port is taken, or the server ended while starting.
    """
    folder = (folder or Path.cwd()).absolute()
    port = port or find_free_port(host)
    check_port(host, port)
    backend_store_uri = _place_backend(backend_store_uri, folder)
    check_database(backend_store_uri, DATABASE_TIMEOUT_S, variable="--backend-store-uri", may_create=True)
    artifacts = _place_artifacts(artifacts, folder)
    check_artifact_root(artifacts)
    command = build_command(
        host=host,
        port=port,
        backend_store_uri=backend_store_uri,
        artifacts=artifacts,
        workers=workers,
        allowed_hosts=allowed_hosts,
        app_name=app_name,
    )
    env = get_child_environment(SERVER_ENVIRONMENT, without=("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
    with ExitStack() as stack:
        output = sys.stderr.fileno() if log is None else stack.enter_context(log.open("ab"))
        process = start_kept(command, env=env, folder=folder, output=output)
        stack.callback(process.stop)
        server = Server(uri=f"http://{_bracket(_get_connect_host(host))}:{port}", process=process)
        wait_until_ready(server, _get_connect_host(host), port, log)
        yield server


def keep_running(server: Server, housekeeping: Callable[[], None] | None = None) -> None:
    """Stays until interrupted; does the housekeeping about every second.

    A GreenroomError of the housekeeping is told once and does not stop the server.

    Args:
        server: What runs.
        housekeeping: Something short to do again and again.

    Raises:
        GreenroomError: The server ended by itself.
    """
    told = ""
    while server.is_running():
        try:
            if housekeeping is not None:
                housekeeping()
                told = ""
        except GreenroomError as error:
            if str(error) != told:
                told = str(error)
                say(told)
        time.sleep(HOUSEKEEPING_S)
    raise GreenroomError(
        f"mlflow server on {server.uri} ended by itself (exit code {server.process.poll()}).",
        hint="Its own words are above.",
    )


def build_command(
    *,
    host: str,
    port: int,
    backend_store_uri: str,
    artifacts: str,
    workers: int,
    allowed_hosts: str | None,
    app_name: str | None,
) -> Sequence[str]:
    """The command line of stock ``mlflow server``."""
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--backend-store-uri", backend_store_uri, "--serve-artifacts"]
    command += ["--artifacts-destination", artifacts, "--workers", str(workers)]
    command += ["--uvicorn-opts", "--log-level warning"]  # a line per request helps nobody
    if allowed_hosts:
        command += ["--allowed-hosts", allowed_hosts]
    if app_name:
        command += ["--app-name", app_name]
    return command


def find_free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment."""
    with _bind(host, 0) as probe:
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raises if the address cannot be bound.

    Raises:
        UsageError: There is no such port.
        GreenroomError: Somebody listens there, or the address is not this machine's.
    """
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"{port} is no port.", hint=f"Ports are 1 to {MAX_PORT}; 0 takes a free one.")
    try:
        _bind(host, port).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise GreenroomError(
            f"Cannot listen on {host}:{port}: {reason}.",
            hint="Stop what runs there, or choose another port with --port.",
        ) from error


def wait_until_ready(server: Server, host: str, port: int, log: Path | None) -> None:
    """Returns once ``/health`` answers.

    Raises:
        GreenroomError: The server ended.
        UnreachableError: It did not answer in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _is_healthy(host, port):
        if not server.is_running():
            raise GreenroomError(
                f"mlflow server ended with exit code {server.process.poll()} while starting.{_quote(log)}",
                hint="" if log else "Its own words are above.",
            )
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"mlflow server on {server.uri} did not answer in {READY_TIMEOUT_S:.0f} s."
            )
        time.sleep(0.05)


def _place_backend(uri: str, folder: Path) -> str:
    """A relative SQLite path means the server's folder; MLflow's children may work elsewhere."""
    if not is_database(uri):
        raise UsageError(
            f"{uri} is no database.",
            hint="Write, for instance, sqlite:///mlflow.db or postgresql+psycopg://…",
        )
    scheme, _, path = uri.partition(":///")
    is_relative = scheme.startswith("sqlite") and path and not path.startswith(("/", ":", "file:"))
    return f"{scheme}:///{folder / path}" if is_relative else uri


def _place_artifacts(uri: str, folder: Path) -> str:
    return uri if ":" in uri else str(folder / uri)


def _bind(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _is_healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _get_connect_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not bound


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quote(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f" Its last words: {lines[-1][:WORDS_LENGTH]}" if lines else ""
