"""``greenroom lineage``: from a version back to its run, data and code."""

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from registry.console import Answer, Command, say
from registry.names import parse_model_ref

__all__ = ["COMMAND"]

SCHEMA = "greenroom/lineage/1"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="NAME[@STAGE]", help="registered model; its production version by default"
    )
    parser.add_argument("--version", metavar="N", help="another version")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.deviations import read_deviations  # noqa: PLC0415 - not on the way to --help
    from registry.views import read_lineage  # noqa: PLC0415 - not on the way to --help

    name, stage = parse_model_ref(arguments.model)
    ledger = open_ledger(name)
    found = read_lineage(ledger, arguments.version, stage)
    notes = read_deviations(ledger)
    for note in notes:
        say(f"! {note}")
    trained = datetime.fromtimestamp(found.trained_ms / 1000, UTC).isoformat(timespec="seconds")
    document = {"schema": SCHEMA, **asdict(found), "trained": trained, "notes": list(notes)}
    del document["trained_ms"]
    dirty = " (with uncommitted changes)" if found.dirty.lower() == "true" else ""
    rows = [
        ("version", f"{found.version}" + (f", in {found.stage}" if found.stage else "")),
        ("manifest", found.manifest or "not verified yet"),
        ("run", f"{found.run_id or '–'} {found.run_name}"),
        ("trained", f"{trained} by {found.user or '–'}"),
        ("data", f"sha256 {found.data_sha256}" if found.data_sha256 else "not recorded"),
        ("commit", f"{found.commit}{dirty}" if found.commit else "not recorded"),
        ("source", found.source or "–"),
        ("evidence", found.evidence_run or "–"),
    ]
    return Answer(document, "\n".join([found.model, *(f"  {key:<9} {value}" for key, value in rows)]))


COMMAND = Command("lineage", "Follow a version back to its run, data and commit.", _configure, _run)
