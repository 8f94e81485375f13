"""Where tables come from: CSV, Parquet, S3, SQL or a Python function, each behind one door."""

from .digest import compute_table_digest
from .location import Source, SourceKind, parse_source
from .pieces import Piece, RowBatch, SourceFile
from .reading import read_source, read_table
from .s3 import connect_s3, translating_s3_errors
from .streaming import cut_source, list_source, read_piece

__all__ = [
    "Piece",
    "RowBatch",
    "Source",
    "SourceFile",
    "SourceKind",
    "compute_table_digest",
    "connect_s3",
    "cut_source",
    "list_source",
    "parse_source",
    "read_piece",
    "read_source",
    "read_table",
    "translating_s3_errors",
]
