import numpy as np
import pytest

from registry.gates.bootstrap import compare


def simulate(seed: int, *, blocks: int, size: int, shift: float, block_noise: float) -> tuple:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    day = np.repeat(np.arange(blocks), size)
    holder = 0.6 + generator.normal(0, 0.3, len(day))
    candidate = (
        holder - shift + generator.normal(0, 0.3, len(day)) + generator.normal(0, block_noise, blocks)[day]
    )
    return holder, candidate, day


def test_a_clear_improvement_is_seen_and_its_bounds_hold_the_truth_as_often_as_they_say() -> None:
    found = [
        compare(*simulate(seed, blocks=30, size=50, shift=0.05, block_noise=0.02), draws=500)
        for seed in range(200)
    ]
    assert all(one.lower > 0 for one in found)
    assert 165 <= sum(one.lower < 0.05 < one.upper for one in found) <= 195  # 90 % of 200, 3 sd, few blocks
    assert (found[0].rows, found[0].blocks) == (1500, 30)


def test_rows_that_depend_on_each_other_are_not_counted_as_independent() -> None:
    holder, candidate, day = simulate(2, blocks=30, size=200, shift=0.0, block_noise=0.1)
    by_day = compare(holder, candidate, day)
    by_row = compare(holder, candidate)
    assert by_day.standard_error > 3 * by_row.standard_error


def test_an_equal_model_is_called_better_about_one_time_in_twenty() -> None:
    wrong = sum(
        compare(*simulate(seed, blocks=40, size=20, shift=0.0, block_noise=0.05), draws=500).lower > 0
        for seed in range(300)
    )
    assert 3 <= wrong <= 33


def test_the_same_evidence_gives_the_same_figures() -> None:
    material = simulate(3, blocks=10, size=50, shift=0.01, block_noise=0.02)
    assert compare(*material) == compare(*material)


def test_it_says_how_many_blocks_would_be_needed() -> None:
    small = compare(*simulate(4, blocks=12, size=50, shift=0.02, block_noise=0.05))
    needed = small.blocks_needed
    assert needed is not None
    assert needed > 12
    found = [
        compare(*simulate(seed, blocks=needed, size=50, shift=small.improvement, block_noise=0.05), draws=500)
        for seed in range(40)
    ]
    assert sum(one.lower > 0 for one in found) >= 24


def test_no_number_of_blocks_is_named_for_a_model_that_is_not_better() -> None:
    assert compare(np.array([0.1, 0.2]), np.array([0.2, 0.3])).blocks_needed is None


def test_memory_stays_bounded_with_many_blocks() -> None:
    found = compare(np.full(50_000, 0.6), np.full(50_000, 0.5), draws=200)
    assert found.lower == pytest.approx(0.1)


@pytest.mark.parametrize(("holder", "candidate"), [(np.zeros(3), np.zeros(4)), (np.zeros(0), np.zeros(0))])
def test_losses_that_cannot_be_paired_are_refused(holder: np.ndarray, candidate: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(holder, candidate)
