"""Whether predicting costs no more time and memory than the policy allows."""

from collections.abc import Iterator, Mapping
from statistics import median

from registry.policy import LatencyPolicy

from .material import CANDIDATE, HOLDER, Timing
from .verdict import GateResult

__all__ = ["judge_latency"]


def judge_latency(timings: Mapping[str, Timing], policy: LatencyPolicy) -> GateResult:
    """Medians against the limits; noise of a shared machine falls on both models, which took turns.

    >>> slow, fast = Timing((4.0,), (9.0,), 1000, 300.0), Timing((2.0,), (8.0,), 1000, 300.0)
    >>> judge_latency({"candidate": slow, "holder": fast}, LatencyPolicy(max_ratio=1.5)).verdict
    'no'
    """
    own = timings[CANDIDATE]
    numbers = dict(_list_numbers(timings))
    exceeded = [what for what, found, limit in _compare(timings, policy) if found > limit]
    said = (
        f"one row {numbers['candidate_one_ms']:.2f} ms, {own.batch_rows:,} rows "
        f"{numbers['candidate_batch_ms']:.1f} ms, {own.memory_mb:.0f} MB"
    )
    if HOLDER in timings:
        said += (
            f" (holder: {numbers['holder_one_ms']:.2f} ms, {numbers['holder_batch_ms']:.1f} ms, "
            f"{timings[HOLDER].memory_mb:.0f} MB)"
        )
    if exceeded:
        return GateResult(
            "latency", "no", f"It costs too much: {'; '.join(exceeded)}. {said}.", numbers=numbers
        )
    return GateResult("latency", "yes", f"Medians: {said}.", numbers=numbers)


def _list_numbers(timings: Mapping[str, Timing]) -> Iterator[tuple[str, float]]:
    for who, timing in timings.items():
        yield f"{who}_one_ms", median(timing.one_ms)
        yield f"{who}_batch_ms", median(timing.batch_ms)
        yield f"{who}_memory_mb", timing.memory_mb


def _compare(timings: Mapping[str, Timing], policy: LatencyPolicy) -> Iterator[tuple[str, float, float]]:
    """What is found and what is allowed, for every limit of the policy that can be compared."""
    own, holder = timings[CANDIDATE], timings.get(HOLDER)
    one, batch = median(own.one_ms), median(own.batch_ms)
    limits = (
        ("one row", one, policy.max_ms, "ms"),
        ("a batch", batch, policy.max_batch_ms, "ms"),
        ("memory", own.memory_mb, policy.max_memory_mb, "MB"),
    )
    for what, found, limit, unit in limits:
        if limit is not None:
            yield f"{what} takes {found:.1f} {unit}, {limit:g} {unit} are allowed", found, limit
    if holder is None:
        return
    ratios = (
        ("one row", one / median(holder.one_ms), policy.max_ratio),
        ("a batch", batch / median(holder.batch_ms), policy.max_ratio),
        ("memory", own.memory_mb / holder.memory_mb, policy.max_memory_ratio),
    )
    for what, found, limit in ratios:
        if limit is not None:
            yield f"{what} takes {found:.2f} × the holder's, {limit:g} × is allowed", found, limit
