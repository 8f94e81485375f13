"""A tracking server with its UI and a scoring server, until Ctrl-C: what ``make up`` runs.

Everything is kept in one folder; the one that ``make demo`` names works too.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry import Caretaker, GreenroomError, Settings, keep_running, open_store, say, start_server

BIN = Path(sys.executable).parent


def main() -> int:
    """Runs both; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("greenroom-data"), help="keeps everything")
    parser.add_argument("--model", default="flight-delay", help="what to serve (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="tracking server (default: %(default)s)")
    parser.add_argument("--serving-port", type=int, default=8080, help="default: %(default)s")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _run(folder, arguments.model, arguments.port, arguments.serving_port)
    except KeyboardInterrupt:
        return 130
    except GreenroomError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(folder: Path, model: str, port: int, serving_port: int) -> int:
    with start_server(
        port=port,
        backend_store_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        folder=folder,
        log=folder / "server.log",
    ) as server:
        print(f"MLflow with its UI: {server.uri}")
        print(f"For commands: export MLFLOW_TRACKING_URI={server.uri}")
        settings = Settings(tracking_uri=server.uri, registry_uri=server.uri)
        store = open_store(settings)
        caretaker = Caretaker(store, settings, say)
        if model not in [found.name for found in store.list_models()]:
            print(f"No model {model!r} is registered, so nothing is served. Train one: train-model JOB.toml")
            keep_running(server, caretaker)
        print(f"The model: {server.uri}/#/models/{model}")
        with _serving(model, serving_port, server.uri):
            keep_running(server, caretaker)
    return 0


@contextmanager
def _serving(model: str, port: int, uri: str) -> Iterator[None]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    process = subprocess.Popen([BIN / "serve-model", model, "--port", str(port)], env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
