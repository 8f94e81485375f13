"""``monitor-model``: parses, calls, prints."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from registry import Answer, Command, UsageError, check_model_name, check_stage, run_command, say, steps

if TYPE_CHECKING:
    from .supply import Watch

__all__ = ["COMMAND", "main"]

EXIT_ALARM: Final = 3

EPILOG: Final = """\
examples:
  monitor-model flight-delay --log predictions
  monitor-model flight-delay --log s3://bucket/predictions --window 1w --every 1h --policy policy.toml
  monitor-model flight-delay --log predictions --reference 2026-01-01..2026-02-01 --group day --dry-run

exit codes: 0 quiet, or not enough data yet; 3 an alarm stands; 4 no answer, try again; 130 Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``monitor-model``; returns its exit code."""
    return run_command(COMMAND, argv)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the registered model")
    parser.add_argument("--log", required=True, metavar="LOG", help="the prediction log: a folder or s3://…")
    parser.add_argument("--stage", default="production", help="whose version (default: %(default)s)")
    parser.add_argument("--version", metavar="N", help="a version instead of the stage's")
    parser.add_argument(
        "--window",
        default="1d",
        metavar="SPAN",
        help="how long a window is: 30m, 6h, 1d, 1w, or a number of predictions (default: %(default)s)",
    )
    parser.add_argument(
        "--reference",
        default="evaluation",
        metavar="WHAT",
        help="what to compare with: evaluation (the rows its training was judged on), START..END (that part "
        "of the log), or a data file (default: %(default)s)",
    )
    parser.add_argument(
        "--group",
        default="auto",
        metavar="HOW",
        help="which rows depend on each other: none, hour, day or a column; auto does as the training job "
        "did (default: %(default)s)",
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="what counts, and what follows: [monitor] and [metric]"
    )
    parser.add_argument("--since", metavar="TIME", help="windows begin no earlier")
    parser.add_argument("--until", metavar="TIME", help="windows end no later (default: now)")
    parser.add_argument("--every", metavar="DURATION", help="again and again, e.g. 1h, until Ctrl-C")
    parser.add_argument("--dry-run", action="store_true", help="say what is seen; write nothing, do nothing")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry import open_ledger  # noqa: PLC0415 - not on the way to --help

    from .keeping import keep_report  # noqa: PLC0415 - pandas
    from .monitor import Monitor  # noqa: PLC0415 - as above
    from .report import write_document  # noqa: PLC0415 - as above
    from .texts import write_text  # noqa: PLC0415 - as above
    from .windows import parse_seconds  # noqa: PLC0415 - as above

    watch = _read_watch(arguments)
    every_s = parse_seconds(arguments.every) if arguments.every else None
    if every_s and arguments.until:
        raise UsageError("--until and --every do not go together: the end would never come.")
    signal.signal(signal.SIGTERM, _interrupt)
    ledger = open_ledger(check_model_name(arguments.name))
    with steps() as show:
        monitor = Monitor(
            ledger,
            watch,
            keep=lambda report, experiment_id: keep_report(ledger.store, report, experiment_id),
            progress=show,
        )
        if every_s:
            from .rounds import watch_again  # noqa: PLC0415 - pandas

            say(f"Watching {ledger.name} every {arguments.every} (Ctrl-C ends it) ...")
            watch_again(monitor.look, every_s, sleep=ledger.clock.sleep, tell=say)
        report = monitor.look()
    return Answer(write_document(report), write_text(report), EXIT_ALARM if report.standing else 0)


def _read_watch(arguments: argparse.Namespace) -> "Watch":
    from pathlib import Path  # noqa: PLC0415 - beside its user

    from registry import read_policy  # noqa: PLC0415 - pydantic

    from .supply import Watch  # noqa: PLC0415 - pandas
    from .windows import parse_moment, parse_span  # noqa: PLC0415 - as above

    return Watch(
        log=arguments.log,
        span=parse_span(arguments.window),
        reference=arguments.reference,
        group=arguments.group,
        stage=check_stage(arguments.stage),
        version=arguments.version,
        policy=read_policy(Path(arguments.policy) if arguments.policy else None),
        since=parse_moment(arguments.since) if arguments.since else None,
        until=parse_moment(arguments.until) if arguments.until else None,
        dry_run=arguments.dry_run,
    )


def _interrupt(*_: object) -> None:
    """A polite kill (SIGTERM, as from an orchestrator) ends it as Ctrl-C does."""
    raise KeyboardInterrupt


COMMAND: Final = Command(
    name="monitor-model",
    help="Watch a model by its predictions: drift, live quality, and what follows by policy.",
    configure=_configure,
    run=_run,
    epilog=EPILOG,
)

if __name__ == "__main__":
    sys.exit(main())
