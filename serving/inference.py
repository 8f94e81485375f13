"""Predictions in threads: as many at a time as there are threads, a bounded number waiting, none for ever.

Knows no transport: a body and a media type go in, a prediction or a RequestError comes out.
"""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from .errors import BusyError, TooLateError
from .scorer import Scored

__all__ = ["BlockingScorer", "Inference"]

RETRY_AFTER_S: Final = 1


class BlockingScorer(Protocol):
    """Predicts in the thread that asks; safe to call from several."""

    def score(self, body: bytes, content_type: str | None) -> Scored:
        """Predicts, or raises a RequestError."""


class Inference:
    """Runs scorers in a pool of threads, so that the event loop never blocks.

    Args:
        threads: Predictions at the same time.
        max_waiting: Predictions that may wait beside them.
        timeout_s: How long a caller waits; None: for ever.
    """

    def __init__(self, *, threads: int, max_waiting: int, timeout_s: float | None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._limit = threads + max_waiting
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._admitted = 0

    @property
    def admitted(self) -> int:
        """Predictions that run or wait now, those whose caller has given up included."""
        return self._admitted

    async def score(self, scorer: BlockingScorer, body: bytes, content_type: str | None) -> Scored:
        """Predicts with exactly this scorer.

        A prediction whose caller has given up is dropped if it has not begun; one that has begun keeps its
        place until it ends, since a thread cannot be stopped.

        Raises:
            BusyError: As many predictions wait as may.
            TooLateError: The time is over.
            RequestError: The scorer's own refusals.
        """
        future = self._admit(scorer, body, content_type)
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if self._timeout_s is None or not limit.expired():
                raise  # the model's own
            raise TooLateError(self._timeout_s) from None

    def close(self) -> bool:
        """Takes no more work; returns whether predictions still run that cannot be stopped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return self._admitted > 0

    def _admit(self, scorer: BlockingScorer, body: bytes, content_type: str | None) -> Future[Scored]:
        with self._lock:
            if self._admitted >= self._limit:
                raise BusyError(RETRY_AFTER_S)
            self._admitted += 1
        future = self._pool.submit(scorer.score, body, content_type)
        future.add_done_callback(self._release)
        return future

    def _release(self, _future: Future[Scored]) -> None:
        with self._lock:
            self._admitted -= 1
