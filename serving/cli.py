"""``serve-model``: parses, calls, prints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry import (
    Answer,
    Command,
    UsageError,
    announce,
    check_log,
    check_model_name,
    check_stage,
    read_settings,
    run_command,
    say,
)

if TYPE_CHECKING:
    from .bundled import BundledVersion
    from .live import State

__all__ = ["COMMAND", "main"]

MAX_PORT: Final = 65535

EPILOG = """\
examples:
  serve-model flight-delay
  serve-model flight-delay --stage staging --port 0
  serve-model flight-delay --from /srv/version
  serve-model flight-delay --log-predictions s3://logs/predictions --log-redact name,email

routes: POST /invocations, GET /ping /health /version (MLflow's scoring protocol), GET /ready /info /metrics,
        POST /feedback
exit codes: 0 stopped by SIGTERM, 1 failed, 4 MLflow unreachable and nothing cached, 130 Ctrl-C
"""


def main() -> int:
    """Entry point of the console script."""
    return run_command(COMMAND)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the registered model")
    parser.add_argument("--stage", default="production", help="staging or production (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="processes that answer (default: one per processor)"
    )
    parser.add_argument(
        "--poll-interval-s",
        type=_positive,
        default=0.5,
        metavar="S",
        help="seconds between two looks at the stage (default: %(default)s)",
    )
    parser.add_argument(
        "--max-body-mb",
        type=_positive,
        default=16.0,
        metavar="MB",
        help="larger request bodies are refused with 413; 1 MB = 2^20 bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--max-rows",
        type=_count,
        metavar="N",
        help="compiled requests with more rows are refused with 413 (default: no limit but the body's)",
    )
    parser.add_argument(
        "--timeout-s",
        type=_not_negative,
        default=60.0,
        metavar="S",
        help="a request that takes longer gets 504; 0 waits for ever (default: %(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=int,
        default=128,
        metavar="N",
        help="predictions of MLflow's own code that may wait; one more gets 503 (default: %(default)s)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="callers must send the bearer token that stands in this file; it may change at any time",
    )
    parser.add_argument(
        "--memory-budget-mb",
        type=_positive,
        metavar="MB",
        help="a version that takes more to be loaded is refused (default: no limit)",
    )
    parser.add_argument(
        "--cache-limit-mb",
        type=_positive,
        default=10240.0,
        metavar="MB",
        help="above it, what is neither served nor staged leaves the cache (default: %(default)s)",
    )
    parser.add_argument(
        "--trust-author",
        action="store_true",
        help="load versions without a recorded manifest even if they hold code that nobody vouched for, "
        "as MLflow does",
    )
    parser.add_argument(
        "--from",
        dest="bundled",
        metavar="FOLDER",
        help="serve the version in this folder (of greenroom package) and follow nothing",
    )
    _configure_log(parser)


def _configure_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-predictions",
        metavar="LOG",
        help="keep what was asked and answered as Parquet files in this folder or s3://BUCKET/PREFIX",
    )
    parser.add_argument(
        "--log-sample",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="share of the requests that are logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log-redact",
        type=_names,
        default=(),
        metavar="COLUMN,…",
        help="inputs and outputs that the log never holds",
    )
    parser.add_argument(
        "--log-flush-seconds",
        type=_positive,
        default=5.0,
        metavar="S",
        help="what is answered is in the log after this time (default: %(default)s)",
    )
    parser.add_argument(
        "--log-buffer-mb",
        type=_positive,
        default=32.0,
        metavar="MB",
        help="what each process may hold while the log cannot be written; more is lost and counted "
        "(default: %(default)s)",
    )


def _run(arguments: argparse.Namespace) -> Answer:
    from .server import serve  # noqa: PLC0415 - uvicorn and more, not on the way to --help
    from .settings import MIB, ServeSettings  # noqa: PLC0415 - as above

    if arguments.max_waiting < 0:
        raise UsageError("--max-waiting must not be negative.")
    model = check_model_name(arguments.name)
    bundled = _read_bundled(arguments.bundled, model) if arguments.bundled else None
    chosen = {"workers": arguments.workers} if arguments.workers else {}
    settings = ServeSettings(
        **chosen,
        model=model,
        stage=bundled.stage if bundled else check_stage(arguments.stage),
        host=arguments.host,
        port=arguments.port,
        poll_interval_s=arguments.poll_interval_s,
        max_body_bytes=int(arguments.max_body_mb * MIB),
        timeout_s=arguments.timeout_s or None,
        max_waiting=arguments.max_waiting,
        trust_author=arguments.trust_author,
        max_rows=arguments.max_rows or 0,
        token_file=str(Path(arguments.token_file).absolute()) if arguments.token_file else None,
        memory_budget_bytes=int((arguments.memory_budget_mb or 0) * MIB),
        cache_limit_bytes=int(arguments.cache_limit_mb * MIB),
        log=check_log(arguments.log_predictions) if arguments.log_predictions else None,
        log_sample=arguments.log_sample,
        log_redact=arguments.log_redact,
        log_flush_s=arguments.log_flush_seconds,
        log_buffer_bytes=int(arguments.log_buffer_mb * MIB),
    )
    announcer = _Announcer(settings.model, settings.stage, as_json=arguments.json)
    serve(settings, read_settings(), announce=announcer.announce, bundled=bundled)
    return Answer(document={}, text="")


def _read_bundled(folder: str, model: str) -> "BundledVersion":
    from .bundled import read_bundled  # noqa: PLC0415 - not on the way to --help

    found = read_bundled(Path(folder))
    if found.model != model:
        raise UsageError(f"{folder} holds a version of {found.model}, not of {model}.")
    return found


class _Announcer:
    """Says where the server is; with ``--json`` prints the one document, once."""

    def __init__(self, model: str, stage: str, *, as_json: bool) -> None:
        self._model = model
        self._stage = stage
        self._as_json = as_json

    def announce(self, address: str, state: "State") -> None:
        served = state.model
        if served is not None:
            source = f"ledger entry {served.target.seq}" if served.target.managed else "by alias, no ledger"
            say(f"Ready: {address} serves {self._model} version {served.version} ({self._stage}, {source}).")
        elif state.following.empty:
            say(
                f"Waiting: {address} is up, but {self._model} has no {self._stage} version yet. "
                f"Promote one: promote-model {self._model} --to {self._stage}"
            )
        else:
            say(f"Waiting: {address} is up, but {'; '.join(state.following.problems)}")
        if self._as_json:
            self._as_json = False
            document = {
                "schema": "greenroom/serving/1",
                "address": address,
                "model": self._model,
                "stage": self._stage,
                "ready": served is not None,
                "version": served.version if served else None,
                "seq": served.target.seq if served else None,
            }
            announce(document)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be 0 to {MAX_PORT}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be greater than 0 and at most 1")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must not be negative")
    return value


COMMAND = Command(
    name="serve-model",
    help="Answer MLflow's scoring protocol for the version that holds a stage, and follow it when it moves.",
    configure=_configure,
    run=_run,
    epilog=EPILOG,
)
