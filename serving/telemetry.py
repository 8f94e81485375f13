"""What Prometheus can see of a scoring server. Every series is named ``greenroom_…``.

Workers count requests, the supervisor adds up, counts swaps and refusals, and writes the text.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .counting import BATCH_BUCKETS, LATENCY_BUCKETS_S, Histogram, add_up
from .predictions.tally import CRASH, OVERFLOW, SINK, UNREADABLE, Tally

__all__ = ["NO_VERSION", "Telemetry"]

NO_VERSION: Final = "none"
"""Label and header value while nothing is loaded."""


class Telemetry:
    """The series of one scoring server; the last words of workers that ended are kept.

    Args:
        model: Name of the registered model.
        log: Where answered requests are logged; None: nowhere.
    """

    def __init__(self, model: str, log: str | None = None) -> None:
        self._model = model
        self._log = log
        self._swaps: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._restarts: Counter[str] = Counter()
        self._workers: dict[str, Mapping[str, Any]] = {}
        self._degraded = False

    def count_swap(self, version: str, path: str) -> None:
        """Counts a version that went on stage."""
        self._swaps[version, path] += 1

    def count_refusal(self, version: str, reason: str) -> None:
        """Counts a version that was refused."""
        self._refusals[version, reason] += 1

    def count_restart(self, process: str) -> None:
        """Counts a process that ended unasked and was replaced: ``worker``, ``native`` or ``log``."""
        self._restarts[process] += 1

    def set_degraded(self, degraded: bool) -> None:
        """Says whether what is served may not be what history says."""
        self._degraded = degraded

    def note(self, worker: str, counts: Mapping[str, Any]) -> None:
        """Notes what a worker has counted so far; the name is never used for another one."""
        self._workers[worker] = counts

    def bury(self, worker: str) -> None:
        """A worker has ended: its counts stay, nothing is in flight in it any more."""
        if worker in self._workers:
            counts = self._workers[worker]
            log = {**counts["log"], "problem": ""}
            self._workers[worker] = {**counts, "in_flight": 0, "waiting": 0, "log": log}

    def describe_log(self) -> dict[str, Any] | None:
        """What ``GET /info`` says of the prediction log; None: there is none."""
        if self._log is None:
            return None
        sums = add_up(self._workers.values()).log.dump()
        return {"log": self._log, **sums, "problem": sums["problem"] or None}

    def render(self) -> bytes:
        """All series in Prometheus' text format, version 0.0.4."""
        return ("\n".join(self._write()) + "\n").encode()

    def _write(self) -> Iterator[str]:
        sums, model = add_up(self._workers.values()), {"model": self._model}
        yield from _head("requests_total", "counter", "Requests for a prediction, by the status they got.")
        for (version, path, status), count in sorted(sums.requests.items()):
            labels = {**model, "path": path, "status": str(status), "version": version}
            yield _line("requests_total", labels, count)
        yield from _head("request_duration_seconds", "histogram", "From a request's head to its answer.")
        for (version, path), durations in sorted(sums.durations.items()):
            labels = {**model, "path": path, "version": version}
            yield from _spread("request_duration_seconds", labels, LATENCY_BUCKETS_S, durations)
        yield from _head("batch_requests", "histogram", "Requests that one call of a model answered.")
        for (version,), sizes in sorted(sums.batches.items()):
            yield from _spread("batch_requests", {**model, "version": version}, BATCH_BUCKETS, sizes)
        yield from _head("contract_violations_total", "counter", "Values that broke the data contract.")
        for (version, column, rule), count in sorted(sums.violations.items()):
            labels = {**model, "column": column, "rule": rule, "version": version}
            yield _line("contract_violations_total", labels, count)
        yield from self._write_gauges(sums.in_flight, sums.waiting)
        yield from self._write_events()
        if self._log is not None:
            yield from self._write_log(sums.log)

    def _write_gauges(self, in_flight: int, waiting: int) -> Iterator[str]:
        model = {"model": self._model}
        yield from _head("requests_in_flight", "gauge", "Requests for a prediction that are being answered.")
        yield _line("requests_in_flight", model, in_flight)
        yield from _head("requests_waiting", "gauge", "Of them, those that the native process has.")
        yield _line("requests_waiting", model, waiting)
        yield from _head("degraded", "gauge", "1 while what is served may not be what history says.")
        yield _line("degraded", model, int(self._degraded))

    def _write_events(self) -> Iterator[str]:
        model = {"model": self._model}
        yield from _head("swaps_total", "counter", "Times another version went on stage.")
        for (version, path), count in sorted(self._swaps.items()):
            yield _line("swaps_total", {**model, "path": path, "version": version}, count)
        yield from _head("refusals_total", "counter", "Versions that were not put on stage, by the reason.")
        for (version, reason), count in sorted(self._refusals.items()):
            yield _line("refusals_total", {**model, "reason": reason, "version": version}, count)
        yield from _head("restarts_total", "counter", "Processes that ended unasked and were replaced.")
        for process, count in sorted(self._restarts.items()):
            yield _line("restarts_total", {**model, "process": process}, count)

    def _write_log(self, log: Tally) -> Iterator[str]:
        model = {"model": self._model}
        yield from _head("predictions_logged_total", "counter", "Answered requests that are in the log.")
        yield _line("predictions_logged_total", model, log.logged)
        yield from _head("feedback_logged_total", "counter", "Truths that are in the log.")
        yield _line("feedback_logged_total", model, log.feedback)
        yield from _head("predictions_lost_total", "counter", "Answered requests and truths never logged.")
        for reason in (OVERFLOW, SINK, CRASH, UNREADABLE):
            yield _line("predictions_lost_total", {**model, "reason": reason}, log.lost[reason])


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP greenroom_{name} {words}"
    yield f"# TYPE greenroom_{name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"greenroom_{name}{{{pairs}}} {float(value)}"


def _spread(name: str, labels: Mapping[str, str], bounds: Sequence[float], have: Histogram) -> Iterator[str]:
    so_far = 0
    for bound, count in zip([*map(float, bounds), None], have.buckets, strict=True):
        so_far += count
        yield _line(f"{name}_bucket", {**labels, "le": "+Inf" if bound is None else str(bound)}, so_far)
    yield _line(f"{name}_count", labels, so_far)
    yield _line(f"{name}_sum", labels, have.total)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
