"""Where tables come from: CSV, Parquet, S3, SQL or a Python function, each behind one door."""

from .digest import compute_table_digest
from .location import Source, SourceKind, parse_source
from .reading import read_source, read_table
from .s3 import translating_s3_errors

__all__ = [
    "Source",
    "SourceKind",
    "compute_table_digest",
    "parse_source",
    "read_source",
    "read_table",
    "translating_s3_errors",
]
