"""What a worker counts, cheaply enough for every request, and how the counts of all workers add up."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .predictions.tally import Tally

if TYPE_CHECKING:
    from registry import Finding

__all__ = ["BATCH_BUCKETS", "LATENCY_BUCKETS_S", "Counts", "Sums", "add_up"]

LATENCY_BUCKETS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Requests that were answered by one call of the model."""


@dataclass(slots=True)
class Histogram:
    """Observations per bucket (not cumulated; the last one has no upper bound), and their sum."""

    buckets: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Counts:
    """One worker's counts since it started.

    Attributes:
        in_flight: Requests for a prediction that are being answered now.
        log: What became of answers that were to be logged.
    """

    in_flight: int = 0
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    durations: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    batches: dict[str, Histogram] = field(default_factory=dict)
    violations: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    log: Tally = field(default_factory=Tally)

    def count_request(self, version: str, path: str, status: int, duration_s: float) -> None:
        """Counts an answered request."""
        self.requests[version, path, status] += 1
        durations = self.durations.get((version, path))
        if durations is None:
            durations = self.durations[version, path] = Histogram([0] * (len(LATENCY_BUCKETS_S) + 1))
        durations.buckets[bisect_left(LATENCY_BUCKETS_S, duration_s)] += 1
        durations.total += duration_s

    def count_batch(self, version: str, size: int) -> None:
        """Counts one call of a compiled model for so many requests."""
        batches = self.batches.get(version)
        if batches is None:
            batches = self.batches[version] = Histogram([0] * (len(BATCH_BUCKETS) + 1))
        batches.buckets[bisect_left(BATCH_BUCKETS, size)] += 1
        batches.total += size

    def count_violations(self, version: str, findings: "Iterable[Finding]") -> None:
        """Counts values that broke the data contract of a compiled model."""
        for finding in findings:
            self.violations[version, finding.column, finding.rule] += finding.count

    def dump(self, waiting: int) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "in_flight": self.in_flight,
            "waiting": waiting,
            "requests": [[*key, count] for key, count in self.requests.items()],
            "durations": [[*key, one.buckets, one.total] for key, one in self.durations.items()],
            "batches": [[key, one.buckets, one.total] for key, one in self.batches.items()],
            "violations": [[*key, count] for key, count in self.violations.items()],
            "log": self.log.dump(),
        }


@dataclass(slots=True)
class Sums:
    """The counts of several workers together."""

    in_flight: int = 0
    waiting: int = 0
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    durations: dict[tuple[str, ...], Histogram] = field(default_factory=dict)
    batches: dict[tuple[str, ...], Histogram] = field(default_factory=dict)
    violations: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    log: Tally = field(default_factory=Tally)


def add_up(documents: Iterable[Mapping[str, Any]]) -> Sums:
    """Adds the documents of :meth:`Counts.dump`."""
    sums = Sums()
    for document in documents:
        sums.in_flight += document["in_flight"]
        sums.waiting += document["waiting"]
        for version, path, status, count in document["requests"]:
            sums.requests[version, path, status] += count
        for version, path, buckets, total in document["durations"]:
            _add(sums.durations, (version, path), buckets, total)
        for version, buckets, total in document["batches"]:
            _add(sums.batches, (version,), buckets, total)
        for version, column, rule, count in document["violations"]:
            sums.violations[version, column, rule] += count
        sums.log.add(document["log"])
    return sums


def _add(
    histograms: dict[tuple[str, ...], Histogram], key: tuple[str, ...], buckets: Sequence[int], total: float
) -> None:
    have = histograms.setdefault(key, Histogram([0] * len(buckets)))
    have.buckets = [one + other for one, other in zip(have.buckets, buckets, strict=True)]
    have.total += total
