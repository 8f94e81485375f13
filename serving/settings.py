"""What a scoring server is asked to do, as one value."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from registry import PRODUCTION

__all__ = ["GIB", "MIB", "ServeSettings"]

MIB: Final = 2**20
GIB: Final = 2**30
MIN_THREADS: Final = 4
"""Below it one slow model call could hold up every other caller on a small machine."""


def _count_cores() -> int:
    """Processors that this process may use, which a container may have fewer of than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count_threads() -> int:
    return max(MIN_THREADS, _count_cores())


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The settings of one scoring server.

    Attributes:
        model: Name of the registered model.
        stage: The stage that is followed.
        host: Address to bind; the loopback address unless told otherwise.
        port: Port to bind; 0 takes a free one.
        workers: Processes that answer HTTP.
        poll_interval_s: Pause between two looks at the stage, give or take a tenth.
        max_body_bytes: A larger request body is refused with 413.
        max_rows: A request with more rows is refused with 413; 0: no limit but the body's. Counted on the
            compiled path only, since only there the rows are known before the work is done.
        timeout_s: A request that takes longer is answered with 504; None waits for ever.
        threads: Predictions of MLflow's own code that run at the same time.
        max_waiting: Predictions that may wait for a thread; one more is refused with 503.
        trust_author: Load a version that nobody vouched for, as MLflow does everywhere.
        token_file: Callers must send the bearer token that stands in this file; None: everybody may ask.
        memory_budget_bytes: A version that takes more to be loaded and to answer is refused; 0: no limit.
        log: Where answered requests are logged, a folder or ``s3://bucket/prefix``; None: nowhere.
        log_sample: Share of the requests that are logged, 0 to 1.
        log_redact: Columns, of inputs and outputs, that the log never holds.
        log_flush_s: An answer is in the log after this time, unless the log cannot be written.
        log_buffer_bytes: What each process may hold of what is not in the log yet; more is lost, and counted.
        cache_limit_bytes: What is neither served nor staged is thrown out of the cache above this size.
    """

    model: str
    stage: str = PRODUCTION
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = field(default_factory=_count_cores)
    poll_interval_s: float = 0.5
    max_body_bytes: int = 16 * MIB
    max_rows: int = 0
    timeout_s: float | None = 60.0
    threads: int = field(default_factory=_count_threads)
    max_waiting: int = 128
    trust_author: bool = False
    token_file: str | None = None
    memory_budget_bytes: int = 0
    log: str | None = None
    log_sample: float = 1.0
    log_redact: Sequence[str] = ()
    log_flush_s: float = 5.0
    log_buffer_bytes: int = 32 * MIB
    cache_limit_bytes: int = 10 * GIB
