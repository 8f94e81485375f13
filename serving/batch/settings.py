"""What a batch is asked to do, as one value."""

import os
from dataclasses import dataclass, field
from typing import Final

from .order import NATIVE

__all__ = ["BATCH_ROWS", "DASK", "LOCAL", "ScoreSettings", "count_cores"]

LOCAL: Final = "local"
DASK: Final = "dask"
BATCH_ROWS: Final = 32_768
"""Enough that what a call costs besides its rows is not seen; a table of 100 columns takes 26 MB then."""


def count_cores() -> int:
    """Processors that this process may use, which a container may have fewer of than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """One batch.

    Attributes:
        model: The registered model.
        stage: Whose version, where none is named.
        version: The version; None: that of the stage.
        input: Address of the rows.
        output: Address of a folder for the answers.
        engine: ``local`` or ``dask``.
        scheduler: Address of a Dask scheduler; None: a cluster on this machine.
        path: ``native`` or ``compiled``.
        workers: Processes that score; with a scheduler it has its own.
        batch_rows: Rows that are scored at once.
        params: ``KEY=VALUE``, for ``predict``.
        keep: Columns of the input that the output has too.
        refuse_bad: The first bad row ends the job; else it is set aside.
        trust_author: Load a version that nobody vouched for.
        restart: Delete what an earlier job wrote to the output.
        dry_run: Say what would be done.
    """

    model: str
    input: str
    output: str
    stage: str = "production"
    version: str | None = None
    engine: str = LOCAL
    scheduler: str | None = None
    path: str = NATIVE
    workers: int = field(default_factory=count_cores)
    batch_rows: int = BATCH_ROWS
    params: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    refuse_bad: bool = False
    trust_author: bool = False
    restart: bool = False
    dry_run: bool = False
