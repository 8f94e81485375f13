"""What was predicted and what turned out to be true: an append-only log of Parquet files."""

from .batch import append_feedback, append_predictions
from .parts import PredictionWriter
from .reading import count_unknown, read_predictions
from .table import PredictionTable

__all__ = [
    "PredictionTable",
    "PredictionWriter",
    "append_feedback",
    "append_predictions",
    "count_unknown",
    "read_predictions",
]
