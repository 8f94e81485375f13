"""``greenroom server``: the MLflow tracking server and UI, with settings that hold under load."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from registry.console import EXIT_INTERRUPTED, Answer, Command, announce, say
from registry.errors import GreenroomError

if TYPE_CHECKING:
    from registry.caretaking import Caretaker

__all__ = ["COMMAND"]

SCHEMA = "greenroom/server/1"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=5000, help="port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--backend-store-uri",
        metavar="URI",
        help="database for runs and models (default: MLFLOW_BACKEND_STORE_URI, else sqlite:///mlflow.db)",
    )
    parser.add_argument(
        "--artifacts",
        metavar="URI",
        help="folder or s3://… for files (default: MLFLOW_ARTIFACTS_DESTINATION, else mlartifacts)",
    )
    parser.add_argument("--workers", type=int, default=1, help="server processes (default: %(default)s)")
    parser.add_argument(
        "--allowed-hosts", metavar="NAMES", help="host names under which others reach it, comma-separated"
    )


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.environment import read_server_settings  # noqa: PLC0415 - not on the way to --help
    from registry.server import keep_running, start_server  # noqa: PLC0415 - not on the way to --help

    settings = read_server_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds: the server is stopped on the way out
    say("Starting MLflow …")
    with start_server(
        host=arguments.host,
        port=arguments.port,
        backend_store_uri=arguments.backend_store_uri or settings.backend_store_uri,
        artifacts=arguments.artifacts or settings.artifacts,
        workers=arguments.workers,
        allowed_hosts=arguments.allowed_hosts,
    ) as server:
        say(f"MLflow is at {server.uri} (Ctrl-C stops it).")
        say(f"For other commands: export MLFLOW_TRACKING_URI={server.uri}")
        if arguments.json:
            announce({"schema": SCHEMA, "uri": server.uri})
        with _without_a_second_document() if arguments.json else nullcontext():
            keep_running(server, _make_caretaker(server.uri))
    return Answer({}, "")


@contextmanager
def _without_a_second_document() -> Iterator[None]:
    """The one document was printed when the server was ready: how it ended is the exit code's to say."""
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(EXIT_INTERRUPTED)
    except GreenroomError as error:
        say(str(error))
        sys.exit(error.exit_code)


def _make_caretaker(uri: str) -> "Caretaker":
    from registry.caretaking import Caretaker  # noqa: PLC0415 - not on the way to --help
    from registry.environment import read_settings  # noqa: PLC0415 - not on the way to --help
    from registry.stores import open_store  # noqa: PLC0415 - not on the way to --help

    settings = replace(read_settings(), tracking_uri=uri, registry_uri=uri)
    return Caretaker(open_store(settings), settings, say)


COMMAND = Command(
    name="server",
    help="Run the MLflow tracking server and UI with settings that hold under load.",
    configure=_configure,
    run=_run,
    epilog="""examples:
  greenroom server
  greenroom server --host 0.0.0.0 --allowed-hosts mlflow.example.com
  greenroom server --backend-store-uri postgresql+psycopg://user@db/mlflow --artifacts s3://models/mlflow
""",
)
