"""``train-model --every`` and ``--on-drift``: the options, the long run, and its report."""

import argparse
import os
import re
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry import Answer, UsageError, format_time, parse_time, say

if TYPE_CHECKING:
    from datetime import datetime

    from .schedule import Schedule
    from .scheduler import Options, Scheduler, Training

__all__ = ["add_schedule_options", "is_scheduled", "read_now", "run_schedule"]

SCHEMA: Final = "greenroom/schedule/1"
EXIT_INTERRUPTED: Final = 130
SHOWN_SLOTS: Final = 5
DEFAULT_POLL: Final = "60s"
DEFAULT_LEASE: Final = "60s"
MAX_DURATION_S: Final = 86_400


def add_schedule_options(parser: argparse.ArgumentParser) -> None:
    """Adds what makes one run a schedule."""
    group = parser.add_argument_group("again and again")
    group.add_argument("--every", metavar="CRON|DURATION", help="train at each slot: '0 3 * * *', 6h, 30m")
    group.add_argument("--timezone", metavar="ZONE", help="of a cron line (default: UTC)")
    group.add_argument(
        "--catch-up",
        choices=("latest", "none"),
        help="of the slots that nobody ran: run the latest, or none (default: latest)",
    )
    group.add_argument("--on-drift", action="store_true", help="train when monitoring asks for it")
    group.add_argument("--poll", metavar="DURATION", help="between two looks for requests (default: 60s)")
    group.add_argument(
        "--lease",
        metavar="DURATION",
        help="a training without a sign of life for so long counts as killed (default: 60s)",
    )
    group.add_argument("--promote", choices=("staging", "production"), help="ask the gates after each run")
    group.add_argument("--policy", metavar="FILE", help="what they ask (TOML)")
    parser.add_argument(
        "--now", metavar="TIME", help="what relative moments of [split] are relative to (default: now)"
    )


def is_scheduled(arguments: argparse.Namespace) -> bool:
    """Whether a schedule is asked for.

    Raises:
        UsageError: An option goes with a schedule, and there is none.
    """
    if arguments.every is not None or arguments.on_drift:
        if arguments.now is not None:
            raise UsageError("--now is for a single run; a schedule's moments are its slots.")
        if arguments.poll is not None and not arguments.on_drift:
            raise UsageError("--poll goes with --on-drift.")
        if arguments.every is None and (arguments.timezone is not None or arguments.catch_up is not None):
            raise UsageError("--timezone and --catch-up go with --every.")
        if arguments.policy is not None and arguments.promote is None:
            raise UsageError("--policy goes with --promote.")
        return True
    for name in ("timezone", "catch_up", "poll", "lease", "promote", "policy"):
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            after = " After a single run: promote-model." if name in {"promote", "policy"} else ""
            raise UsageError(f"{option} goes with --every or --on-drift.", hint=after.strip())
    return False


def read_now(arguments: argparse.Namespace) -> "datetime | None":
    """The moment that ``--now`` names; None without it.

    Raises:
        UsageError: It is none.
    """
    if arguments.now is None:
        return None
    try:
        return parse_time(arguments.now)
    except ValueError as error:
        raise UsageError(
            f"--now {arguments.now!r} is no time.", hint="Write, e.g., 2026-03-01T03:00Z."
        ) from error


def run_schedule(arguments: argparse.Namespace) -> Answer:
    """Trains at each slot and on request, until it is interrupted; then reports what it did.

    Raises:
        UsageError: The job, the policy or an option is written wrongly.
        AccessDeniedError: MLflow does not let this user write.
    """
    from registry import SystemClock, read_policy, read_settings  # noqa: PLC0415 - pydantic

    from .jobfile import read_job  # noqa: PLC0415 - pydantic
    from .schedule import parse_schedule  # noqa: PLC0415 - beside its user

    zone = arguments.timezone or "UTC"
    schedule = parse_schedule(arguments.every, zone) if arguments.every is not None else None
    durations = (
        _read_duration("--poll", arguments.poll or DEFAULT_POLL),
        _read_duration("--lease", arguments.lease or DEFAULT_LEASE),
    )
    job = read_job(arguments.job, arguments.overrides)
    read_policy(Path(arguments.policy) if arguments.policy else None)
    settings = read_settings()
    if settings.run_id is not None:
        raise UsageError("A schedule cannot run inside the one run that mlflow run opened.")
    if arguments.dry_run:
        return _plan(schedule, job.name, SystemClock().now())
    return _go_on(arguments, schedule, job.name, durations)


def _go_on(
    arguments: argparse.Namespace, schedule: "Schedule | None", model: str, durations: tuple[float, float]
) -> Answer:
    from registry import SystemClock, open_agenda, open_store, read_settings  # noqa: PLC0415 - not for --help

    from .engine import open_engine  # noqa: PLC0415 - beside its user
    from .periodic import Periodic  # noqa: PLC0415 - imports mlflow
    from .progress import make_progress  # noqa: PLC0415 - beside its user
    from .scheduler import Scheduler  # noqa: PLC0415 - beside its user

    settings, clock = read_settings(), SystemClock()
    store = open_store(settings, may_create=True)
    runner = Periodic(
        path=Path(arguments.job),
        overrides=arguments.overrides,
        settings=settings,
        store=store,
        to=arguments.promote,
        policy=Path(arguments.policy) if arguments.policy else None,
        make_progress=make_progress,
        open_engine=partial(open_engine, arguments.engine, arguments.scheduler),
    )
    options = _make_options(arguments, schedule, durations)
    agenda = open_agenda(store, model, settings=settings, clock=clock)
    scheduler = Scheduler(agenda, options, runner, clock=clock, tell=say)
    try:
        scheduler.run()
    except KeyboardInterrupt:
        say("Interrupted.")
        return _answer(scheduler, schedule, model, clock.now())


def _make_options(
    arguments: argparse.Namespace, schedule: "Schedule | None", durations: tuple[float, float]
) -> "Options":
    from registry import get_host, get_user_name  # noqa: PLC0415 - not for --help

    from .scheduler import Options  # noqa: PLC0415 - beside its user

    name = schedule.name if schedule else "on request"
    whom = f"{get_user_name()}@{get_host()}"[:50]
    return Options(
        schedule=schedule,
        lane=f"{Path(arguments.job).name[:60]}: {name}",
        who=f"{whom}, process {os.getpid()} ({secrets.token_hex(3)})",
        catch_up=arguments.catch_up or "latest",
        on_drift=arguments.on_drift,
        poll_s=durations[0],
        lease_s=durations[1],
    )


def _read_duration(option: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|min|h)?", text.strip())
    seconds = float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3_600, None: 1}[found[2]] if found else 0.0
    if not 0 < seconds < MAX_DURATION_S:
        raise UsageError(f"{option} {text!r} is no duration.", hint="Write, e.g., 60s or 5m.")
    return seconds


def _plan(schedule: "Schedule | None", model: str, now: "datetime") -> Answer:
    """What ``--dry-run`` says: the next slots."""
    slots, moment = [], now
    for _ in range(SHOWN_SLOTS if schedule else 0):
        assert schedule is not None
        moment = schedule.next_after(moment)
        slots.append(format_time(moment))
    document = _head(schedule, model) | {
        "trainings": [],
        "missed": 0,
        "overlapped": 0,
        "next": slots[0] if slots else None,
        "slots": slots,
        "dry_run": True,
    }
    when = "at " + ", ".join(slots) + ", …" if slots else "when monitoring asks for it"
    return Answer(document, f"Would train {model} {when}; nothing was written.")


def _answer(scheduler: "Scheduler", schedule: "Schedule | None", model: str, now: "datetime") -> Answer:
    upcoming = format_time(schedule.next_after(now)) if schedule else None
    document = _head(schedule, model) | {
        "trainings": [_list_training(one) for one in scheduler.trainings],
        "missed": scheduler.counts["missed"],
        "overlapped": scheduler.counts["overlapped"],
        "next": upcoming,
        "slots": [],
        "dry_run": False,
    }
    good = sum(one.ending.outcome == "trained" for one in scheduler.trainings)
    text = f"{model}: trainings of this process {len(scheduler.trainings)}, new versions {good}."
    if upcoming:
        text += f" The next slot is {upcoming}; whoever runs the same command takes it."
    return Answer(document, text, EXIT_INTERRUPTED)


def _head(schedule: "Schedule | None", model: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": model,
        "every": schedule.text if schedule else None,
        "timezone": schedule.zone if schedule else None,
    }


def _list_training(training: "Training") -> dict[str, Any]:
    ending = training.ending
    return {
        "slot": training.claim.slot or None,
        "requests": [request.run_id for request in training.requests],
        "outcome": ending.outcome,
        "run_id": ending.run_id or None,
        "version": ending.version or None,
        "text": ending.text,
    }
