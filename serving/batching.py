"""Compiled scoring: one version's plan, and what it leaves to MLflow's own code."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from .counting import Counts
from .errors import BrokenContractError, TooManyRowsError
from .scorer import COMPILED, JSON, Scored, Scorer

if TYPE_CHECKING:
    from registry import Finding

    from .compiled.values import Sent

__all__ = ["LARGE_BYTES", "Batch", "CompiledVersion", "Plan", "divide"]

LARGE_BYTES: Final = 256 * 1024
"""A larger body is read and scored in a thread, so that it does not hold up the small ones behind it."""
MAX_BATCH_ROWS: Final = 1024
"""Rows after which a batch is closed: more would make the first of them wait without making any faster."""


class Batch(Protocol):
    """The rows of one request, read."""

    @property
    def rows(self) -> int:
        """How many."""

    @property
    def output(self) -> str:
        """Which of the model's outputs was asked for."""

    @property
    def sent(self) -> "Sent | None":
        """The rows as they were sent; None: the body must be read again to know."""

    @property
    def violations(self) -> "Sequence[Finding]":
        """What breaks the model's data contract in them, where such rows are answered."""


class Plan(Protocol):
    """A compiled model; see :mod:`serving.compiled.plan`."""

    def parse(self, body: bytes, content_type: str | None) -> "Batch | None":
        """Reads a body; None: MLflow's own code must answer.

        Raises:
            BrokenContractError: A row breaks the model's data contract, and such rows are refused.
        """

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

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        """Predicts.

        Raises:
            TooManyRowsError: More rows than the server takes.
            BrokenContractError: A row breaks the model's data contract.
            RequestError: The native process's refusals.
        """
        try:
            if len(body) > LARGE_BYTES:
                scored = await asyncio.to_thread(self._score_alone, body, content_type)
            else:
                scored = self._score_alone(body, content_type)
        except BrokenContractError as error:
            self._counts.count_violations(self._version, error.findings)
            raise
        if scored is None:
            return await self._native.score(body, content_type, request_id)
        answer, violations = scored
        self._counts.count_batch(self._version, 1)
        self._counts.count_violations(self._version, violations)
        return Scored(answer, JSON, COMPILED)

    def read(self, body: bytes, content_type: str | None) -> Batch | None:
        """The rows of a body; None: MLflow's own code must answer.

        Raises:
            TooManyRowsError: More rows than the server takes.
            BrokenContractError: A row breaks the model's data contract; counted.
        """
        try:
            return self._read(body, content_type)
        except BrokenContractError as error:
            self._counts.count_violations(self._version, error.findings)
            raise

    def run(self, batches: Sequence[Batch]) -> list[bytes]:
        """Answers several requests by one call of the plan."""
        self._counts.count_batch(self._version, len(batches))
        for batch in batches:
            if batch.violations:
                self._counts.count_violations(self._version, batch.violations)
        return self._plan.run(batches)

    def _read(self, body: bytes, content_type: str | None) -> Batch | None:
        batch = self._plan.parse(body, content_type)
        if batch is not None and self._max_rows and batch.rows > self._max_rows:
            raise TooManyRowsError(self._max_rows)
        return batch

    def _score_alone(self, body: bytes, content_type: str | None) -> "tuple[bytes, Sequence[Finding]] | None":
        batch = self._read(body, content_type)
        return None if batch is None else (self._plan.run([batch])[0], batch.violations)


def divide(rows: Sequence[int], most: int = MAX_BATCH_ROWS) -> list[slice]:
    """Requests that share a call: as many as fit, in order, and at least one.

    >>> divide([400, 400, 400, 5000, 1], most=1000)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    parts, begin, total = [], 0, 0
    for place, count in enumerate(rows):
        if place > begin and total + count > most:
            parts.append(slice(begin, place))
            begin, total = place, 0
        total += count
    return [*parts, slice(begin, len(rows))]
