"""``train-model --online``: its options, its run, and what it prints."""

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry import Answer, UsageError, steps

if TYPE_CHECKING:
    from .result import OnlinePlan, OnlineResult

__all__ = ["add_online_options", "is_online", "run_online"]

SCHEMA: Final = "greenroom/online/1"


def add_online_options(parser: argparse.ArgumentParser) -> None:
    """Adds what makes a stream of a job; ``--promote`` and ``--policy`` are there already."""
    group = parser.add_argument_group("event by event")
    group.add_argument(
        "--online",
        action="store_true",
        help="score each event, then learn from it; goes on where it was left",
    )
    group.add_argument(
        "--until-end",
        action="store_true",
        help="of a prediction log: stop when all that is known was learned",
    )


def is_online(arguments: argparse.Namespace) -> bool:
    """Whether a stream is asked for.

    Raises:
        UsageError: Options that do not go together.
    """
    if not arguments.online:
        if arguments.until_end:
            raise UsageError("--until-end goes with --online.")
        return False
    for name in ("every", "on_drift", "timezone", "catch_up", "poll", "lease", "now"):
        if getattr(arguments, name, None):
            raise UsageError(f"--{name.replace('_', '-')} does not go with --online.")
    if arguments.policy is not None and arguments.promote is None:
        raise UsageError("--policy goes with --promote.")
    if arguments.dry_run and arguments.promote:
        raise UsageError("--promote does not go with --dry-run.")
    return True


def run_online(arguments: argparse.Namespace) -> Answer:
    """Drives the stream; Ctrl-C or SIGTERM ends it, and the next start goes on from the last snapshot."""
    from registry import read_policy  # noqa: PLC0415 - pydantic
    from training.jobfile import read_job  # noqa: PLC0415 - pydantic

    from .trainer import plan_online, train_online  # noqa: PLC0415 - slow import

    job = read_job(arguments.job, arguments.overrides)
    if arguments.dry_run:
        plan = plan_online(job)
        return Answer(_document_plan(plan), _word_plan(plan))
    policy = read_policy(Path(arguments.policy)) if arguments.policy else None
    signal.signal(signal.SIGTERM, _interrupt)
    with steps() as progress:
        result = train_online(
            job,
            promote_to=arguments.promote,
            policy=policy,
            until_end=arguments.until_end,
            progress=progress,
        )
    return Answer(_document(result), _word(result))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _document(result: "OnlineResult") -> dict[str, Any]:
    versions = [one.version for one in result.snapshots if one.version]
    return {
        "schema": SCHEMA,
        "run_id": result.run_id,
        "model": result.model,
        "version": versions[-1] if versions else None,
        "metrics": {name: reading.value for name, reading in result.figures.items()},
        "scored": result.scored,
        "known": result.known,
        "learned": result.learned,
        "pending": result.pending,
        "snapshots": [
            {
                "number": one.number,
                "version": one.version,
                "run_id": one.run_id,
                "verdicts": one.verdicts,
            }
            for one in result.snapshots
        ],
        "link": result.link,
        "dry_run": False,
    }


def _word(result: "OnlineResult") -> str:
    lines = [
        f"  {name:<16}{reading.value:>9.4f}  (95 %: {reading.low:.4f} to {reading.high:.4f})"
        for name, reading in result.figures.items()
    ]
    lines += [
        "",
        (
            f"{result.scored:,} events scored, {result.known:,} truths known, {result.learned:,} learned, "
            f"{result.pending:,} pending."
        ),
    ]
    for one in result.snapshots:
        name = f"{result.model} version {one.version}" if one.version else "no version: nothing held out yet"
        said = "".join(f"; {stage}: {verdict}" for stage, verdict in one.verdicts.items())
        lines.append(f"Snapshot {one.number}: {name}{said}")
    lines.append(f"See {result.link}" if "://" in result.link else "Look at it: greenroom server")
    return "\n".join(lines)


def _document_plan(plan: "OnlinePlan") -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run_id": None,
        "model": plan.model,
        "version": None,
        "metrics": {},
        "scored": 0,
        "known": 0,
        "learned": 0,
        "pending": 0,
        "snapshots": [],
        "link": "",
        "dry_run": True,
    }


def _word_plan(plan: "OnlinePlan") -> str:
    begins = plan.begins or f"not yet: the warm-up takes {plan.warmup}"
    return "\n".join(
        [
            f"Would stream {plan.model} from {plan.text}; nothing was written.",
            f"  events     {plan.events:,}, {plan.held:,} of them held out",
            f"  task       {plan.task}",
            f"  features   {plan.features}",
            f"  begins     {begins}",
        ]
    )
