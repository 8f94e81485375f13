"""Compiled scoring: requests that wait at the same moment share one call; none waits for more of them."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from .counting import Counts
from .errors import TooManyRowsError
from .scorer import COMPILED, JSON, Scored, Scorer

__all__ = ["Batch", "CompiledVersion", "Plan"]

LARGE_BYTES: Final = 256 * 1024
"""A larger body is read and scored in a thread, so that it does not hold up the small ones behind it."""
MAX_BATCH_ROWS: Final = 1024
"""Rows after which a batch is closed: more would make the first of them wait without making any faster."""


class Batch(Protocol):
    """The rows of one request, read."""

    @property
    def rows(self) -> int:
        """How many."""


class Plan(Protocol):
    """A compiled model; see :mod:`serving.compiled.plan`."""

    def parse(self, body: bytes, content_type: str | None) -> "Batch | None":
        """Reads a body; None: MLflow's own code must answer."""

    def run(self, batches: Sequence[Any]) -> list[bytes]:
        """One answer for each."""


class CompiledVersion:
    """One version's plan, as a :class:`~serving.scorer.Scorer`; what the plan leaves to others goes to them.

    Args:
        plan: Answers.
        native: Answers what the plan does not read.
        version: For the counts.
        counts: Of this worker.
        max_rows: More in one request are refused; 0: any number.
    """

    def __init__(self, plan: Plan, native: Scorer, *, version: str, counts: Counts, max_rows: int) -> None:
        self._plan = plan
        self._native = native
        self._version = version
        self._counts = counts
        self._max_rows = max_rows
        self._waiting: list[tuple[Batch, asyncio.Future[bytes]]] = []

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        """Predicts.

        Raises:
            TooManyRowsError: More rows than the server takes.
            RequestError: The native process's refusals.
        """
        if len(body) > LARGE_BYTES:
            answer = await asyncio.to_thread(self._score_apart, body, content_type)
        else:
            batch = self._read(body, content_type)
            answer = None if batch is None else await self._run(batch)
        if answer is None:
            return await self._native.score(body, content_type, request_id)
        return Scored(answer, JSON, COMPILED)

    def _read(self, body: bytes, content_type: str | None) -> Batch | None:
        batch = self._plan.parse(body, content_type)
        if batch is not None and self._max_rows and batch.rows > self._max_rows:
            raise TooManyRowsError(self._max_rows)
        return batch

    def _score_apart(self, body: bytes, content_type: str | None) -> bytes | None:
        batch = self._read(body, content_type)
        return None if batch is None else self._plan.run([batch])[0]

    async def _run(self, batch: Batch) -> bytes:
        if self._counts.in_flight <= 1:  # nobody to wait for
            self._counts.count_batch(self._version, 1)
            return self._plan.run([batch])[0]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._answer_waiting)
        self._waiting.append((batch, future))
        return await future

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        begin, rows = 0, 0
        for place, (batch, _) in enumerate(waiting):
            if rows and rows + batch.rows > MAX_BATCH_ROWS:
                self._answer(waiting[begin:place])
                begin, rows = place, 0
            rows += batch.rows
        self._answer(waiting[begin:])

    def _answer(self, waiting: Sequence[tuple[Batch, "asyncio.Future[bytes]"]]) -> None:
        self._counts.count_batch(self._version, len(waiting))
        try:
            answers = self._plan.run([batch for batch, _ in waiting])
        except Exception as error:  # noqa: BLE001 - handed on to the request border, once for each
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(waiting, answers, strict=True):
            if not future.done():
                future.set_result(answer)
