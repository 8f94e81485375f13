"""The ``train-model`` command: parses, calls, prints."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from registry import Answer, Command, run_command

from .engine import check_engine, open_engine
from .online.command import add_online_options, is_online, run_online
from .schedule_command import add_schedule_options, is_scheduled, read_now, run_schedule

__all__ = ["COMMAND", "main"]

SCHEMA: Final = "greenroom/training/1"
EPILOG: Final = """\
examples:
  train-model job.toml
  train-model job.toml --set split.train_until=2013-07-01 --set model.params.max_iter=300
  train-model job.toml --dry-run
  train-model job.toml --every '0 3 * * *' --timezone Europe/Zurich --promote staging
  train-model job.toml --every 6h --on-drift
  train-model job.toml --engine dask --scheduler tcp://cluster:8786
  train-model job.toml --online --promote production
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``train-model``; returns its exit code."""
    return run_command(COMMAND, argv)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB.toml", help="the job file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="set a key of the job, e.g. job.seed=7; may be given several times",
    )
    parser.add_argument("--dry-run", action="store_true", help="check job and data; write nothing")
    add_schedule_options(parser)
    parser.add_argument(
        "--engine", choices=("local", "dask"), default="local", help="where to compute (default: local)"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster (default: an own one on this machine)"
    )
    add_online_options(parser)


def _run(arguments: argparse.Namespace) -> Answer:
    from .jobfile import read_job  # noqa: PLC0415 - pydantic
    from .progress import make_progress  # noqa: PLC0415 - beside its user

    check_engine(arguments.engine, arguments.scheduler, is_online=is_online(arguments))
    if is_online(arguments):
        return run_online(arguments)
    if is_scheduled(arguments):
        signal.signal(signal.SIGTERM, _interrupt)
        return run_schedule(arguments)
    job = read_job(arguments.job, arguments.overrides, now=read_now(arguments))
    progress = make_progress()
    if arguments.dry_run:
        return _plan(job, progress)
    from .texts import write_answer  # noqa: PLC0415 - beside its user
    from .trainer import train  # noqa: PLC0415 - slow import

    signal.signal(signal.SIGTERM, _interrupt)
    with open_engine(arguments.engine, arguments.scheduler):
        result = train(job, progress=progress)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run_id": result.run_id,
        "model": result.model,
        "version": result.version,
        "metrics": result.metrics,
        "experiment_id": result.experiment_id,
        "link": result.link,
        "warnings": list(result.warnings),
        "dry_run": False,
    }
    return Answer(document, write_answer(result))


def _plan(job: Any, progress: Any) -> Answer:
    from .texts import write_plan  # noqa: PLC0415 - beside its user
    from .trainer import plan_training  # noqa: PLC0415 - slow import

    try:
        plan = plan_training(job, progress)
    finally:
        progress.close()
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run_id": None,
        "model": job.name,
        "version": None,
        "metrics": {},
        "warnings": list(plan.warnings),
        "dry_run": True,
    }
    return Answer(document, write_plan(plan))


def _interrupt(*_: object) -> None:
    """A polite kill (SIGTERM, as from an orchestrator) closes the run as Ctrl-C does."""
    raise KeyboardInterrupt


COMMAND: Final = Command(
    name="train-model",
    help="Train a job: data to a candidate version in MLflow.",
    configure=_configure,
    run=_run,
    epilog=EPILOG,
)

if __name__ == "__main__":  # python -m training.cli, as MLproject calls it
    sys.exit(main())
