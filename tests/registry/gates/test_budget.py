import math

import pytest

from registry.gates.budget import level_of_attempt


def test_all_levels_together_never_exceed_the_budget() -> None:
    spent = math.fsum(level_of_attempt(0.05, attempt) for attempt in range(1, 200_000))
    assert 0.04999 < spent < 0.05


def test_later_attempts_ask_for_more() -> None:
    levels = [level_of_attempt(0.01, attempt) for attempt in range(1, 600)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(0.00608, abs=1e-5)


@pytest.mark.parametrize(("alpha", "attempt"), [(0.0, 1), (1.0, 1), (0.05, 0), (0.05, -3)])
def test_a_budget_that_is_none_is_refused(alpha: float, attempt: int) -> None:
    with pytest.raises(ValueError, match=r"alpha|attempts"):
        level_of_attempt(alpha, attempt)
