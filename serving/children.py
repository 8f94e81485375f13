"""What processes that work for a server or a batch job are started with, and how their errors come back."""

from collections.abc import Mapping
from typing import Final

from registry import (
    AccessDeniedError,
    ArtifactError,
    DataError,
    GreenroomError,
    NotFoundError,
    RefusedError,
    StoreError,
    TamperedError,
    UnreachableError,
    UntrustedError,
    UsageError,
)

__all__ = ["CHILD_ENVIRONMENT", "ERRORS"]

CHILD_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""One thread each: with more, one busy neighbour makes each of them wait for all."""

ERRORS: Final[Mapping[str, type[GreenroomError]]] = {
    error.code: error
    for error in (
        AccessDeniedError, ArtifactError, DataError, GreenroomError, NotFoundError, RefusedError, StoreError,
        TamperedError, UnreachableError, UntrustedError, UsageError,
    )
}  # fmt: skip
"""By the code that stands in a child's answer."""
