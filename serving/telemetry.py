"""What Prometheus can see of a scoring server. Every series is named ``greenroom_…``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["NO_VERSION", "Telemetry"]

NO_VERSION: Final = "none"
"""Label and header value while nothing is loaded."""

LATENCY_BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class Telemetry:
    """The series of one scoring server, in a registry of its own."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._registry = CollectorRegistry()
        labels = ["model", "version", "path"]
        self._requests = Counter(
            "greenroom_requests",
            "Requests for a prediction, by the status they were answered with.",
            [*labels, "status"],
            registry=self._registry,
        )
        self._duration = Histogram(
            "greenroom_request_duration_seconds",
            "Time from a request's first byte to its answer.",
            labels,
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "greenroom_requests_in_flight",
            "Requests for a prediction that are being answered.",
            ["model"],
            registry=self._registry,
        ).labels(model)
        self._swaps = Counter(
            "greenroom_swaps",
            "Times another version went on stage.",
            labels,
            registry=self._registry,
        )
        self._refusals = Counter(
            "greenroom_refusals",
            "Versions that were not put on stage, by the reason.",
            ["model", "version", "reason"],
            registry=self._registry,
        )
        self._degraded = Gauge(
            "greenroom_degraded",
            "1 while what is served may not be what history says.",
            ["model"],
            registry=self._registry,
        ).labels(model)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Counts a request as being answered."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def count_request(self, version: str, path: str, status: int, duration_s: float) -> None:
        """Counts an answered request."""
        self._requests.labels(self._model, version, path, str(status)).inc()
        self._duration.labels(self._model, version, path).observe(duration_s)

    def count_swap(self, version: str, path: str) -> None:
        """Counts a version that went on stage."""
        self._swaps.labels(self._model, version, path).inc()

    def count_refusal(self, version: str, reason: str) -> None:
        """Counts a version that was refused."""
        self._refusals.labels(self._model, version, reason).inc()

    def set_degraded(self, degraded: bool) -> None:
        """Says whether what is served may not be what history says."""
        self._degraded.set(int(degraded))

    def render(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)
