"""``promote-model``: asks the gates, then moves a version to staging or production."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from registry.console import Answer, Command, say, steps
from registry.names import STAGES

if TYPE_CHECKING:
    from registry.gates.verdict import GateResult
    from registry.promotion import Outcome

__all__ = ["COMMAND"]

SCHEMA = "greenroom/promotion/1"
MARKS = {"yes": "yes", "no": "NO", "not_enough_data": "not enough data", "pending": "pending"}
EXIT_CODES = {"yes": 0, "no": 3, "not_enough_data": 3, "pending": 3, "conflict": 5}


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="registered model")
    parser.add_argument("--to", required=True, choices=STAGES, help="the stage to move to")
    parser.add_argument(
        "--version", metavar="N", help="which version (default: newest candidate, staged one)"
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="what the team asks of a version (TOML)")
    parser.add_argument("--data", metavar="DATA", help="rows to judge by: CSV, Parquet, folder or s3:// URI")
    parser.add_argument("--expect", type=int, metavar="SEQ", help="only if the history's head is still SEQ")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the history")
    parser.add_argument("--override", metavar="REASON", help="quality gates are recorded, but do not decide")
    parser.add_argument("--dry-run", action="store_true", help="judge, but write nothing")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.policy import read_policy  # noqa: PLC0415 - pydantic
    from registry.promotion import PromotionRequest, promote  # noqa: PLC0415 - not on the way to --help

    request = PromotionRequest(
        name=arguments.name,
        to=arguments.to,
        version=arguments.version,
        policy=read_policy(arguments.policy),
        data=arguments.data,
        expect=arguments.expect,
        reason=arguments.reason,
        override=arguments.override,
        dry_run=arguments.dry_run,
    )
    ledger = open_ledger(arguments.name)
    with steps() as progress:
        outcome = promote(ledger, request, progress=progress)
    if outcome.unfinished:
        say(outcome.unfinished)
    text = _word(outcome, arguments.policy, ledger.store.tracking_uri)
    return Answer(_document(outcome), text, EXIT_CODES[outcome.verdict])


def _document(outcome: "Outcome") -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": outcome.model,
        "stage": outcome.stage,
        "version": outcome.version,
        "was": outcome.was,
        "seq": outcome.seq,
        "verdict": outcome.verdict,
        "gates": [
            {"name": gate.name, "verdict": gate.verdict, "reason": gate.reason, "decides": gate.decides}
            for gate in outcome.gates
        ],
        "evidence_run": outcome.evidence_run,
        "dry_run": outcome.dry_run,
        "moved": outcome.moved,
    }
    if outcome.unfinished:
        document["unfinished"] = outcome.unfinished
    return document | ({"conflict": outcome.conflict} if outcome.conflict else {})


def _word(outcome: "Outcome", policy: Path | None, tracking_uri: str) -> str:
    width = max((len(gate.name) for gate in outcome.gates), default=0)
    lines = [f"  {gate.name:<{width}}  {_mark(gate)}: {gate.reason}" for gate in outcome.gates]
    lines.append(_conclude(outcome, policy))
    links = _list_links(outcome, tracking_uri)
    return "\n".join([*lines, *links])


def _mark(gate: "GateResult") -> str:
    return MARKS[gate.verdict] + ("" if gate.decides else " (overridden)")


def _conclude(outcome: "Outcome", policy: Path | None) -> str:
    what = f"{outcome.model} version {outcome.version}"
    if outcome.verdict == "conflict":
        return f"Not moved: {outcome.conflict}"
    nothing = " Nothing was written (--dry-run)." if outcome.dry_run else ""
    if outcome.verdict == "pending":
        return f"{what} stays where it is: the answer is pending.{nothing or _name_next(outcome, policy)}"
    if outcome.verdict != "yes":
        said = "not enough data" if outcome.verdict == "not_enough_data" else "no"
        return f"{what} stays where it is: the answer is {said}.{nothing}"
    if outcome.dry_run:
        return f"{what} would move to {outcome.stage}.{nothing}"
    if not outcome.moved:
        return f"{what} is in {outcome.stage} already (entry {outcome.seq}); nothing was changed."
    was = f", was version {outcome.was}" if outcome.was else ""
    return f"{what} is in {outcome.stage} now (entry {outcome.seq}{was})."


def _name_next(outcome: "Outcome", policy: Path | None) -> str:
    """Approved is not moved: whoever asked asks again, and the same policy finds the word."""
    words = ["promote-model", outcome.model, "--version", outcome.version, "--to", outcome.stage]
    words += ["--policy", str(policy)] if policy else []
    return (
        f" It waits for a person's word; entry {outcome.seq} says so. Once it is approved, ask again: "
        f"{shlex.join(words)}"
    )


def _list_links(outcome: "Outcome", tracking_uri: str) -> list[str]:
    if not tracking_uri.startswith("http"):
        return ["Look at it: greenroom server"] if outcome.moved else []
    links = [f"  {tracking_uri}/#/models/{quote(outcome.model)}/versions/{outcome.version}"]
    if outcome.evidence_run:
        run = f"#/experiments/{outcome.evidence_experiment}/runs/{outcome.evidence_run}"
        links.append(f"  {tracking_uri}/{run} (evidence)")
    return links


COMMAND = Command(
    name="promote-model",
    help="Ask the gates, then move a model version to staging or production.",
    configure=_configure,
    run=_run,
    epilog=(
        "examples:\n"
        "  promote-model flight-delay --to staging\n"
        "  promote-model flight-delay --to production --reason 'trained through June'\n"
        "  promote-model flight-delay --version 7 --to production --json --expect 12\n\n"
        "exit codes: 0 moved, 3 the answer is no, 4 try again, 5 somebody else moved first"
    ),
)
