"""``greenroom status``: what is where."""

import argparse
from typing import TYPE_CHECKING, Any

from registry.console import Answer, Command
from registry.errors import GreenroomError, UnreachableError
from registry.names import PRODUCTION, STAGING

if TYPE_CHECKING:
    from registry.views import ModelStatus

__all__ = ["COMMAND"]

SCHEMA = "greenroom/status/1"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="registered model (default: all)")


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.views import read_status  # noqa: PLC0415 - not on the way to --help

    if arguments.name:
        status = read_status(open_ledger(arguments.name))
        return Answer({"schema": SCHEMA, **_document(status)}, _word(status))
    return _run_all()


def _run_all() -> Answer:
    from registry.access import open_ledger  # noqa: PLC0415 - not on the way to --help
    from registry.environment import read_settings  # noqa: PLC0415 - not on the way to --help
    from registry.stores import open_store  # noqa: PLC0415 - not on the way to --help
    from registry.views import ModelStatus, read_status  # noqa: PLC0415 - not on the way to --help

    settings = read_settings()
    store = open_store(settings)
    texts, documents, exit_code = [], [], 0
    for model in store.list_models():
        try:
            status = read_status(open_ledger(model.name, settings=settings, store=store))
        except UnreachableError:
            raise
        except GreenroomError as error:  # one sick model does not hide the healthy ones
            status = ModelStatus(model.name, 0, "", {}, (), (), (), managed=True, notes=(str(error),))
            exit_code = max(exit_code, error.exit_code)
        texts.append(_word(status))
        documents.append(_document(status))
    text = "\n\n".join(texts) or f"There are no registered models at {store.registry_uri}."
    return Answer({"schema": SCHEMA, "models": documents}, text, exit_code)


def _document(status: "ModelStatus") -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": status.model,
        "head": {"seq": status.seq, "hash": status.hash},
        "managed": status.managed,
    }
    for stage in (STAGING, PRODUCTION):
        holder = status.holders.get(stage)
        document[stage] = (
            {"version": holder.version, "seq": holder.seq, "since": holder.since} if holder else None
        )
    return document | {
        "candidates": list(status.candidates),
        "pending": list(status.pending),
        "rejected": list(status.rejected),
        "notes": list(status.notes),
    }


def _word(status: "ModelStatus") -> str:
    from registry.texts import read_time  # noqa: PLC0415 - not on the way to --help

    lines = [f"{status.model} (history at entry {status.seq})"]
    for stage in (PRODUCTION, STAGING):
        holder = status.holders.get(stage)
        since = f" since {read_time(holder.since)} (entry {holder.seq})" if holder and holder.since else ""
        lines.append(f"  {stage:<11} {f'version {holder.version}{since}' if holder else '–'}")
    for name, numbers in (
        ("candidates", status.candidates),
        ("pending", status.pending),
        ("rejected", status.rejected),
    ):
        if numbers:
            lines.append(f"  {name:<11} {', '.join(numbers)}")
    return "\n".join([*lines, *(f"  ! {note}" for note in status.notes)])


COMMAND = Command("status", "Show which version is in production, in staging, and waiting.", _configure, _run)
