"""``score-model``: parses, calls, prints."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from registry import PRODUCTION, Answer, Command, UsageError, parse_model_ref, read_settings, run_command

__all__ = ["COMMAND", "main"]

SHOWN: Final = 5
"""Reasons told to a person; the record has all."""

EPILOG = """\
examples:
  score-model flight-delay --input flights.parquet --output scored/
  score-model flight-delay@staging --input s3://data/flights/ --output s3://data/scored/ --params output=full

exit codes: 0 all rows are answered or set aside, 1 failed, 3 the output is another job's, or the version may
not be loaded, 5 another job writes there now, 130 Ctrl-C; after 1, 4, 5 and 130 the same command goes on
"""


def main() -> int:
    """Entry point of the console script."""
    return run_command(COMMAND)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME[@STAGE]", help="the model; without a stage the version in production")
    add(
        "--input",
        required=True,
        metavar="DATA",
        help="CSV or Parquet: file, folder, pattern or s3://…",
    )
    add("--output", required=True, metavar="DATA", help="folder or s3://BUCKET/PREFIX for the answers")
    add("--version", metavar="N", help="this version, whatever its stage")
    add("--engine", choices=("local", "dask"), default="local", help="who scores (default: %(default)s)")
    add(
        "--scheduler",
        metavar="ADDR",
        help="a Dask scheduler: tcp://host:8786 (default: its own cluster)",
    )
    add(
        "--engine-path",
        choices=("native", "compiled"),
        default="native",
        help="MLflow's own code, or the compiled plan that serve-model uses (default: %(default)s)",
    )
    add("--workers", type=_count, metavar="N", help="processes that score (default: one per processor)")
    add("--batch-rows", type=_count, metavar="N", help="rows scored at once (default: 32768)")
    add(
        "--params",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the model, e.g. output=full; may be given several times",
    )
    add("--keep", default="", metavar="COL,COL", help="columns of the input that the output has too")
    add(
        "--bad-rows",
        choices=("quarantine", "refuse"),
        default="quarantine",
        help="rows that cannot be answered: set them aside, or stop at the first (default: %(default)s)",
    )
    add(
        "--restart",
        action="store_true",
        help="delete what an earlier job wrote, and begin anew",
    )
    add(
        "--trust-author",
        action="store_true",
        help="load code that nobody vouched for",
    )
    add("--dry-run", action="store_true", help="say what would be scored; write nothing")


def _run(arguments: argparse.Namespace) -> Answer:
    from .driver import score  # noqa: PLC0415 - pyarrow and more, not on the way to --help
    from .settings import DASK, ScoreSettings  # noqa: PLC0415 - as above

    name, stage = parse_model_ref(arguments.name)
    if stage and arguments.version:
        raise UsageError(f"{arguments.name} and --version {arguments.version} name a version twice.")
    if arguments.scheduler and arguments.engine != DASK:
        raise UsageError("--scheduler goes with --engine dask.")
    chosen = {"workers": arguments.workers, "batch_rows": arguments.batch_rows}
    settings = ScoreSettings(
        **{key: value for key, value in chosen.items() if value},
        model=name,
        stage=stage or PRODUCTION,
        version=arguments.version,
        input=arguments.input,
        output=arguments.output,
        engine=arguments.engine,
        scheduler=arguments.scheduler,
        path=arguments.engine_path,
        params=tuple(arguments.params),
        keep=tuple(filter(None, arguments.keep.split(","))),
        refuse_bad=arguments.bad_rows == "refuse",
        trust_author=arguments.trust_author,
        restart=arguments.restart,
        dry_run=arguments.dry_run,
    )
    document = score(settings, read_settings())
    return Answer(document, _tell_dry(document) if document["dry_run"] else _tell(document))


def _tell_dry(document: Mapping[str, Any]) -> str:
    rows = "an unknown number of" if document["rows"] is None else f"{document['rows']:,}"
    there = f", of which {document['resumed_parts']} are there" if document["resumed_parts"] else ""
    by = f"version {document['version']} of {document['model']}"
    what = f"Would score {rows} rows in {document['parts']} parts{there}, by {by}"
    return f"{what}, into {document['output']}. Nothing was written."


def _tell(document: Mapping[str, Any]) -> str:
    by = f"version {document['version']} of {document['model']}"
    speed = f"{document['seconds']:,} s, {document['rows_per_s']:,.0f} rows/s"
    lines = [f"{document['rows_written']:,} rows scored by {by} into {document['output']} ({speed})."]
    if document["rows_quarantined"]:
        lines.append(
            f"{document['rows_quarantined']:,} rows could not be answered and are set aside in "
            f"{document['output'].rstrip('/')}/_quarantine:"
        )
    elif document["reasons"]:
        lines.append(f"{document['rows_warned']:,} rows break the model's contract, and are answered:")
    lines += [f"  {count:,} × {reason}" for reason, count in list(document["reasons"].items())[:SHOWN]]
    return "\n".join(lines)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


COMMAND = Command(
    name="score-model",
    help="Score a table, however large, with one version; every row exactly once.",
    configure=_configure,
    run=_run,
    epilog=EPILOG,
)
