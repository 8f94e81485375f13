import pytest

from registry.gates.latency import judge_latency
from registry.gates.material import Timing
from registry.policy import LatencyPolicy

HOLDER = Timing((2.0, 2.0, 50.0), (8.0, 8.0, 8.0), 1000, 300.0)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_ratio": 1.5}, "one row takes 2.00 × the holder's, 1.5 × is allowed"),
        ({"max_ms": 3}, "one row takes 4.0 ms, 3 ms are allowed"),
        ({"max_batch_ms": 9}, "a batch takes 10.0 ms, 9 ms are allowed"),
        ({"max_memory_mb": 500}, "memory takes 600.0 MB, 500 MB are allowed"),
        ({"max_memory_ratio": 1.2}, "memory takes 2.00 × the holder's, 1.2 × is allowed"),
    ],
)
def test_each_limit_is_kept_by_the_median(limits: dict[str, float], said: str) -> None:
    slow = Timing((4.0, 4.0, 4.0), (10.0, 10.0, 99.0), 1000, 600.0)
    found = judge_latency({"candidate": slow, "holder": HOLDER}, LatencyPolicy(**limits))
    assert found.verdict == "no"
    assert said in found.reason


def test_a_model_that_costs_no_more_passes_and_its_figures_are_told() -> None:
    everything = LatencyPolicy(
        max_ratio=1.1, max_ms=3, max_batch_ms=9, max_memory_ratio=1.1, max_memory_mb=400
    )
    found = judge_latency({"candidate": HOLDER, "holder": HOLDER}, everything)
    assert (found.verdict, found.numbers["candidate_one_ms"]) == ("yes", 2.0)
    assert "one row 2.00 ms, 1,000 rows 8.0 ms, 300 MB (holder: 2.00 ms" in found.reason
    assert judge_latency({"candidate": HOLDER}, everything).verdict == "yes"
