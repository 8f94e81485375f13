"""Where the log's files lie: paths that are safe for any model's name and version, and that say what to skip.

``MODEL/predictions/version=V/date=YYYY-MM-DD/part-….parquet`` and
``MODEL/feedback/date=YYYY-MM-DD/part-….parquet``, dates in UTC: Hive's partitioning, as DuckDB, Spark, Polars
and pyarrow read it.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from registry.errors import UsageError

__all__ = [
    "check_log",
    "feedback_folder",
    "list_parts",
    "locate_feedback",
    "locate_predictions",
    "name_merged",
    "name_part",
    "parse_version",
    "predictions_folder",
    "quote_name",
]

MAX_NAME_BYTES: Final = 180
"""Of a name as part of a path: ext4, XFS, NTFS and APFS take 255, encrypted home folders 143 characters."""
DIGEST_CHARACTERS: Final = 16
_PART: Final = re.compile(
    r"part-(?P<moment>\w+)-(?P<writer>[0-9a-f]+)-(?P<first>\d+)(?:-(?P<last>\d+))?\.parquet"
)


def check_log(log: str) -> str:
    """Returns a log's address as it means the same everywhere on this machine; touches nothing.

    Raises:
        UsageError: It is neither a folder nor ``s3://bucket/prefix``.

    >>> check_log("s3://logs/models/"), check_log("file:///var/log/models")
    ('s3://logs/models', '/var/log/models')
    """
    if log.startswith("s3://"):
        if not log.removeprefix("s3://").partition("/")[0]:
            raise UsageError(f"{log!r} names no bucket.", hint="Write s3://BUCKET/PREFIX.")
        return log.rstrip("/")
    folder = log.removeprefix("file://")
    if "://" in folder or not folder.strip():
        raise UsageError(
            f"A prediction log cannot be at {log!r}.", hint="Name a folder or s3://BUCKET/PREFIX."
        )
    return str(Path(folder).expanduser().absolute())


def quote_name(text: str) -> str:
    """A name as one part of a path; different names stay different.

    >>> quote_name("flight delay"), quote_name(".."), quote_name("a=b")
    ('flight%20delay', '%2E.', 'a%3Db')
    """
    quoted = quote(text, safe="")
    if quoted.startswith((".", "_")):  # hidden, the folder above, or skipped by Spark
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted) <= MAX_NAME_BYTES:
        return quoted or "%"
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]
    return f"{quoted[: MAX_NAME_BYTES - DIGEST_CHARACTERS - 1]}~{digest}"


def predictions_folder(model: str) -> str:
    """Where a model's predictions lie, below the log."""
    return f"{quote_name(model)}/predictions"


def feedback_folder(model: str) -> str:
    """Where what is known about a model's predictions lies, below the log."""
    return f"{quote_name(model)}/feedback"


def locate_predictions(model: str, version: str, day: date, part: str) -> str:
    """Path of a file of predictions, below the log."""
    return f"{predictions_folder(model)}/version={quote_name(version)}/date={day.isoformat()}/{part}"


def locate_feedback(model: str, day: date, part: str) -> str:
    """Path of a file of feedback, below the log."""
    return f"{feedback_folder(model)}/date={day.isoformat()}/{part}"


def name_part(moment: datetime, writer: str, number: int) -> str:
    """A file's name: unique by its writer and number even if the clock goes backwards.

    >>> name_part(datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC), "1f2e3d4c", 7)
    'part-20260301T120000000005Z-1f2e3d4c-000007.parquet'
    """
    return f"part-{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{writer}-{number:06d}.parquet"


def name_merged(names: Sequence[str]) -> str:
    """The name of a file that holds what these files of one writer hold, which follow each other.

    >>> name_merged(["part-1Z-aa-000007.parquet", "part-2Z-aa-000009.parquet"])
    'part-1Z-aa-000007-000009.parquet'
    """
    first, last = _PART.fullmatch(names[0]), _PART.fullmatch(names[-1])
    assert first is not None
    assert last is not None
    return (
        f"part-{first['moment']}-{first['writer']}-{first['first']}-{last['last'] or last['first']}.parquet"
    )


def list_parts(names: Iterable[str]) -> list[str]:
    """Our files among others, without those that were put together in another one of them.

    >>> list_parts(["_SUCCESS", "part-1Z-aa-01.parquet", "part-1Z-aa-01-02.parquet", "part-2Z-aa-03.parquet"])
    ['part-1Z-aa-01-02.parquet', 'part-2Z-aa-03.parquet']
    """
    found = {name: match for name in names if (match := _PART.fullmatch(name))}
    merged = [match for match in found.values() if match["last"]]
    return sorted(
        name
        for name, match in found.items()
        if match["last"]
        or not any(
            match["writer"] == one["writer"] and int(one["first"]) <= int(match["first"]) <= int(one["last"])
            for one in merged
        )
    )


def parse_version(folder: str) -> str | None:
    """The version that a folder's name stands for; None if it is no such folder."""
    return unquote(folder.removeprefix("version=")) if folder.startswith("version=") else None
