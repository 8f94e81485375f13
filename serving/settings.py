"""What a scoring server is asked to do, as one value."""

import os
from dataclasses import dataclass, field
from typing import Final

from registry import PRODUCTION

__all__ = ["ServeSettings"]

MIB: Final = 2**20
MIN_THREADS: Final = 4
"""Below it one slow model call could hold up every other caller on a small machine."""


def _count_threads() -> int:
    return max(MIN_THREADS, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The settings of one scoring server.

    Attributes:
        model: Name of the registered model.
        stage: The stage that is followed.
        host: Address to bind; the loopback address unless told otherwise.
        port: Port to bind; 0 takes a free one.
        poll_interval_s: Pause between two looks at the stage, give or take a tenth.
        max_body_bytes: A larger request body is refused with 413.
        timeout_s: A request that takes longer is answered with 504; None waits for ever.
        threads: Predictions that run at the same time.
        max_waiting: Predictions that may wait for a thread; one more is refused with 503.
        trust_author: Load a version that nobody vouched for, as MLflow does everywhere.
    """

    model: str
    stage: str = PRODUCTION
    host: str = "127.0.0.1"
    port: int = 8080
    poll_interval_s: float = 1.0
    max_body_bytes: int = 16 * MIB
    timeout_s: float | None = 60.0
    threads: int = field(default_factory=_count_threads)
    max_waiting: int = 128
    trust_author: bool = False
