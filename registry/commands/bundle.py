"""``greenroom export`` and ``greenroom import``: a version, and all that is known about it, in one file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.console import Answer, Command, say, steps
from registry.names import PRODUCTION, STAGING, check_model_name, parse_model_ref

if TYPE_CHECKING:
    from registry.bundle.content import Bundle
    from registry.bundle.exporting import Exported
    from registry.bundle.importing import Imported
    from registry.ledger.ledger import Ledger
    from registry.promotion import Outcome

__all__ = ["EXPORT", "IMPORT"]

EXPORT_SCHEMA = "greenroom/export/1"
IMPORT_SCHEMA = "greenroom/import/1"
EXIT_NO = 3
EXIT_CONFLICT = 5


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="NAME[@STAGE]", help="registered model; its production version by default"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the bundle to write")
    parser.add_argument("--version", metavar="N", help="another version")
    parser.add_argument(
        "--keep-paths", action="store_true", help="write it although a bound file names a path of a machine"
    )
    parser.add_argument("--dry-run", action="store_true", help="collect and check, write nothing")


def _configure_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the bundle to read")
    parser.add_argument(
        "--name", metavar="NAME", help="registered model that gets it (default: its own name)"
    )
    parser.add_argument("--to", choices=[STAGING], help="then ask for this stage, by its integrity gates")
    parser.add_argument(
        "--digest", metavar="SHA256", help="refuse another bundle than the one that export printed this of"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")


def _export(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.bundle.exporting import export_bundle  # noqa: PLC0415 - not on the way to --help
    from registry.views import find_version  # noqa: PLC0415 - not on the way to --help

    name, stage = parse_model_ref(arguments.model)
    ledger = open_ledger(name)
    version = find_version(ledger, arguments.version, stage or PRODUCTION)
    with steps() as progress:
        done = export_bundle(
            ledger,
            version,
            arguments.file,
            keep_paths=arguments.keep_paths,
            dry_run=arguments.dry_run,
            progress=progress,
        )
    for note in done.index.notes:
        say(f"! {note}")
    return Answer(_describe_export(done), _word_export(done))


def _describe_export(done: "Exported") -> dict[str, Any]:
    index = done.index
    return {
        "schema": EXPORT_SCHEMA,
        "model": index.origin.model,
        "version": index.origin.version,
        "stage": index.stage,
        "file": str(done.file),
        "digest": done.digest,
        "bytes": done.size,
        "files": len(index.files),
        "manifest": index.manifest,
        "seq": index.origin.seq,
        "runs": list(index.runs),
        "parts": index.parts,
        "paths": list(index.paths),
        "notes": list(index.notes),
        "dry_run": done.dry_run,
    }


def _word_export(done: "Exported") -> str:
    index, verb = done.index, "would be" if done.dry_run else "is"
    amount = f"{len(index.files)} files, {done.size:,} bytes, {index.origin.seq} entries of its history"
    return "\n".join(
        [
            f"{index.origin.model} version {index.origin.version} {verb} in {done.file} ({amount}).",
            f"  digest   {done.digest}",
            f"  manifest {index.manifest}",
            f"Take it in elsewhere: greenroom import {done.file.name} --digest {done.digest}",
        ]
    )


def _import(arguments: argparse.Namespace) -> Answer:
    import tempfile  # noqa: PLC0415 - not on the way to --help

    from registry.bundle.content import open_bundle  # noqa: PLC0415 - not on the way to --help

    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch, steps() as progress:
        progress("checking every byte")
        bundle = open_bundle(arguments.file, Path(scratch), digest=arguments.digest or "")
        if arguments.dry_run:
            return _answer(bundle, _preview(arguments, bundle), None)
        done, ledger = _bring_in(arguments, bundle, progress)
    outcome = None
    if arguments.to and done.version and _is_candidate(ledger, done.version):
        outcome = _promote(ledger, done.version, arguments.to)
    if done.unfinished:
        say(done.unfinished)
    return _answer(bundle, done, outcome)


def _preview(arguments: argparse.Namespace, bundle: "Bundle") -> "Imported":
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.bundle.importing import preview_import  # noqa: PLC0415 - same
    from registry.environment import read_settings  # noqa: PLC0415 - same
    from registry.errors import NotFoundError  # noqa: PLC0415 - same
    from registry.stores import open_store  # noqa: PLC0415 - same

    name, settings = _choose_name(arguments, bundle), read_settings()
    try:
        store = open_store(settings)
    except NotFoundError:
        return preview_import(None, name, bundle)  # a database that importing would make
    return preview_import(open_ledger(name, settings=settings, store=store), name, bundle)


def _bring_in(arguments: argparse.Namespace, bundle: "Bundle", progress: Any) -> "tuple[Imported, Ledger]":
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.bundle.importing import import_bundle  # noqa: PLC0415 - same
    from registry.environment import read_settings  # noqa: PLC0415 - same
    from registry.stores import open_store  # noqa: PLC0415 - same
    from registry.stores.making import Maker  # noqa: PLC0415 - imports MLflow

    name, settings = _choose_name(arguments, bundle), read_settings()
    ledger = open_ledger(name, settings=settings, store=open_store(settings, may_create=True))
    return import_bundle(ledger, Maker(settings), bundle, progress=progress), ledger


def _choose_name(arguments: argparse.Namespace, bundle: "Bundle") -> str:
    return check_model_name(arguments.name or bundle.index.origin.model)


def _is_candidate(ledger: "Ledger", version: str) -> bool:
    """Not where it is in a stage already: an import that is done again moves nothing."""
    created_ms = ledger.store.get_version(ledger.name, version).created_ms
    return ledger.open().state.standing(version, created_ms) == "candidate"


def _promote(ledger: "Ledger", version: str, stage: str) -> "Outcome":
    from registry.promotion import PromotionRequest, promote  # noqa: PLC0415 - not on the way to --help

    with steps() as progress:
        return promote(ledger, PromotionRequest(ledger.name, stage, version=version), progress=progress)


def _answer(bundle: "Bundle", done: "Imported", outcome: "Outcome | None") -> Answer:
    there = bundle.index.origin
    document = {
        "schema": IMPORT_SCHEMA,
        "model": done.model,
        "version": done.version,
        "seq": outcome.seq if outcome else done.seq,
        "run_id": done.run_id,
        "record": done.record,
        "manifest": bundle.index.manifest,
        "digest": bundle.digest,
        "from": {"model": there.model, "version": there.version, "server": there.server, "seq": there.seq},
        "already": done.already,
        "trust": list(done.trust),
        "verdict": outcome.verdict if outcome else None,
        "dry_run": done.dry_run,
    } | ({"unfinished": done.unfinished} if done.unfinished else {})
    code = {None: 0, "yes": 0, "conflict": EXIT_CONFLICT}.get(
        str(outcome.verdict) if outcome else None, EXIT_NO
    )
    return Answer(document, "\n".join(_word_import(bundle, done, outcome)), code)


def _word_import(bundle: "Bundle", done: "Imported", outcome: "Outcome | None") -> list[str]:
    there = bundle.index.origin
    source = f"version {there.version} of {there.model} at {there.server}"
    if done.dry_run and not done.already:
        return [f"{source} would become a candidate of {done.model}. Every byte is as it was written."]
    lines = [f"{source} is version {done.version} of {done.model} now, a candidate (entry {done.seq})."]
    if done.already:
        lines = [f"{source} is here already, as version {done.version} of {done.model}. Nothing was written."]
        if outcome is None:
            return lines
    if done.trust:
        lines.append(f"It would run code that nobody vouched for here ({done.trust[0]}). Look at it, then:")
        lines.append(f"  greenroom approve {done.model} --version {done.version}")
    if outcome is None:
        lines.append(f"Next: promote-model {done.model} --version {done.version} --to {STAGING}")
    else:
        lines += [f"  {gate.name:<12} {gate.verdict}: {gate.reason}" for gate in outcome.gates]
        moved = "is in staging now" if outcome.verdict == "yes" else "stays a candidate"
        lines.append(f"{done.model} version {done.version} {moved}.")
    return lines


EXPORT = Command(
    "export",
    "Write a version, with its files, runs, evidence and history, into one file.",
    _configure_export,
    _export,
    epilog="example:\n  greenroom export flight-delay flight-delay.bundle",
)
IMPORT = Command(
    "import",
    "Take a version in that another MLflow's Greenroom has exported.",
    _configure_import,
    _import,
    epilog="example:\n  greenroom import flight-delay.bundle --to staging",
)
