"""``greenroom schedule``: who trains a model when, what came of it, and who asks for more."""

import argparse
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from registry.console import Answer, Command

if TYPE_CHECKING:
    from registry.agenda import Occasion
    from registry.triggers import TrainingRequest

__all__ = ["COMMAND"]

SCHEMA: Final = "greenroom/agenda/1"
LIMIT: Final = 20


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument(
        "--limit",
        type=int,
        default=LIMIT,
        metavar="N",
        help=f"only the newest N trainings (default: {LIMIT})",
    )


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.agenda import open_agenda  # noqa: PLC0415 - not on the way to --help
    from registry.clock import SystemClock  # noqa: PLC0415 - not on the way to --help
    from registry.stores import open_store  # noqa: PLC0415 - not on the way to --help
    from registry.triggers import find_training_requests  # noqa: PLC0415 - not on the way to --help

    store, name = open_store(), arguments.name
    agenda = open_agenda(store, name)
    state, now = agenda.read(), SystemClock().now()
    occasions = agenda.list_occasions(max(1, arguments.limit))
    waiting = find_training_requests(store, name)
    schedules = [{"schedule": lane, "latest": latest} for lane, latest in state.schedules.items()]
    document = {
        "schema": SCHEMA,
        "model": name,
        "schedules": schedules,
        "trainings": [_list(one, now) for one in occasions],
        "waiting": [{"run_id": one.run_id, "reason": one.reason} for one in waiting],
    }
    return Answer(document, _write(name, document, waiting))


def _list(occasion: "Occasion", now: datetime) -> dict[str, Any]:
    claim = occasion.claim
    return {
        "schedule": claim.schedule,
        "slot": claim.slot or None,
        "requests": list(claim.requests),
        "missed": claim.missed,
        "who": claim.who,
        "began": claim.time,
        "outcome": _judge(occasion, now),
        "ended": occasion.time or None if occasion.outcome != "open" else None,
        "run_id": occasion.run_id or None,
        "version": occasion.version or None,
        "text": occasion.text,
    }


def _judge(occasion: "Occasion", now: datetime) -> str:
    """An open one without a sign of life is called silent here; the next scheduler declares it lost."""
    from registry.clock import parse_time  # noqa: PLC0415 - not on the way to --help

    if occasion.outcome != "open":
        return occasion.outcome
    alive = parse_time(occasion.time or occasion.claim.time)
    return "silent" if (now - alive).total_seconds() > occasion.claim.lease_s else "training"


def _write(name: str, document: dict[str, Any], waiting: "list[TrainingRequest]") -> str:
    if not document["schedules"] and not document["trainings"] and not waiting:
        return f"Nobody trains {name} by schedule: train-model JOB.toml --every 6h"
    lines = [name, *(f"  {one['schedule']}  newest {one['latest']}" for one in document["schedules"])]
    for one in document["trainings"]:
        cause = one["slot"] or f"on request of {', '.join(one['requests']) or 'a monitor'}"
        what = f"version {one['version']}" if one["version"] else one["outcome"]
        missed = f", {one['missed']} slots before it were missed" if one["missed"] else ""
        text = f": {one['text']}" if one["text"] else ""
        lines.append(f"  {cause}  {what}{missed}  {one['run_id'] or 'no run'}{text}")
    lines += [f"  waits: run {one.run_id}: {one.reason}" for one in waiting]
    return "\n".join(lines)


COMMAND = Command(
    name="schedule",
    help="Show who trains a model when, what came of it, and who asks for more.",
    configure=_configure,
    run=_run,
)
