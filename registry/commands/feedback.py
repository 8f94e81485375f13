"""``greenroom feedback``: what turned out to be true, from a file into the prediction log."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from registry.console import Answer, Command
from registry.errors import DataError, UsageError
from registry.names import check_model_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMMAND", "read_feedback_file"]

SCHEMA = "greenroom/feedback/1"
EPILOG = """\
examples:
  greenroom feedback flight-delay --log s3://logs/predictions --input landed.csv
  greenroom feedback flight-delay --log predictions --input landed.parquet --dry-run

columns of the file: id (the X-Request-Id of the answer; of several rows ID/0, ID/1 and so on), truth, and
time if it has been known since another time than now (RFC 3339)
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the registered model")
    parser.add_argument("--log", required=True, help="the prediction log: a folder or s3://BUCKET/PREFIX")
    parser.add_argument("--input", required=True, metavar="FILE", help="CSV or Parquet: id, truth, time")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the file and look ids up; write nothing"
    )


def _run(arguments: argparse.Namespace) -> Answer:
    from registry.clock import SystemClock  # noqa: PLC0415 - not on the way to --help
    from registry.predictions.batch import append_feedback, check_feedback  # noqa: PLC0415 - pandas
    from registry.predictions.places import check_log  # noqa: PLC0415 - as above
    from registry.predictions.reading import count_unknown  # noqa: PLC0415 - as above

    model, log = check_model_name(arguments.name), check_log(arguments.log)
    feedback = read_feedback_file(Path(arguments.input))
    checked = check_feedback(feedback, now=SystemClock().now())
    unknown = count_unknown(log, model, checked["id"])
    if not arguments.dry_run:
        append_feedback(log, model, feedback)
    document = {
        "schema": SCHEMA,
        "model": model,
        "log": log,
        "rows": len(checked),
        "unknown": unknown,
        "dry_run": arguments.dry_run,
    }
    done = "would be added to" if arguments.dry_run else "were added to"
    odd = f" {unknown} ids stand for no prediction there yet." if unknown else ""
    return Answer(document, f"{len(checked)} truths {done} the prediction log of {model}.{odd}")


def read_feedback_file(path: Path) -> "pd.DataFrame":
    """Reads it; ids and times stay texts, as they are written.

    Raises:
        UsageError: It is neither CSV nor Parquet by its name.
        DataError: It does not exist, or is not what its name says.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    try:
        if path.suffix in {".parquet", ".pq"}:
            return pd.read_parquet(path)
        if ".csv" in path.suffixes:
            return pd.read_csv(path, dtype={"id": "str", "time": "str"})
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason.rstrip('.')}.") from error
    raise UsageError(f"{path} is neither CSV nor Parquet by its name.")


COMMAND = Command(
    "feedback", "Add what turned out to be true to the prediction log.", _configure, _run, EPILOG
)
