import numpy as np
import pytest
from hypothesis import given, strategies as st

from registry.gates.slices import adjust_p_values, compare_slices


def simulate(
    seed: int, sizes: list[int], shift: dict[int, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    where = np.repeat(np.arange(len(sizes)), sizes)
    holder = generator.exponential(size=len(where))
    worse = np.array([shift.get(place, 0.0) for place in range(len(sizes))])[where]
    return holder, holder + worse + generator.normal(0, 0.3, len(where)), where


def test_the_slice_that_got_worse_is_found_and_no_other() -> None:
    holder, candidate, where = simulate(0, [400] * 6, {3: 0.1})
    found = compare_slices(holder, candidate, {"where": where}, level=0.05)
    assert [(one.value, one.verdict) for one in found] == [
        (str(place), "worse" if place == 3 else "fine") for place in range(6)
    ]
    assert found[3].improvement < 0
    assert found[3].lower < found[3].improvement < found[3].upper < 0


def test_a_margin_lets_a_little_harm_pass() -> None:
    holder, candidate, where = simulate(1, [400] * 3, {1: 0.1})
    found = compare_slices(holder, candidate, {"where": where}, level=0.05, margin=0.12)
    assert {one.verdict for one in found} == {"fine"}


def test_a_slice_with_few_rows_is_shown_and_does_not_decide() -> None:
    holder, candidate, where = simulate(2, [400, 30], {1: 3.0})
    small = compare_slices(holder, candidate, {"where": where}, level=0.05, min_rows=100)[1]
    assert (small.verdict, small.rows, small.p_value) == ("too_few_rows", 30, 1.0)
    assert small.improvement < -2


def test_columns_are_corrected_together_and_come_in_order() -> None:
    holder, candidate, where = simulate(3, [300, 300], {})
    columns = {"b": where, "a": np.where(np.arange(600) % 2, "odd", "even")}
    found = compare_slices(holder, candidate, columns, level=0.05)
    assert [(one.column, one.value) for one in found] == [("b", "0"), ("b", "1"), ("a", "even"), ("a", "odd")]
    assert sum(one.rows for one in found) == 1_200


def test_equal_models_are_refused_by_any_of_twelve_slices_less_often_than_the_level() -> None:
    refused = 0
    for seed in range(120):
        holder, candidate, where = simulate(seed, [60] * 12, {})
        found = compare_slices(holder, candidate, {"where": where}, level=0.05, min_rows=10)
        refused += any(one.verdict == "worse" for one in found)
    assert refused <= 12  # 6 expected at the level, 2.5 standard deviations above


def test_labels_are_compared_exactly_and_days_as_blocks() -> None:
    days = np.repeat(np.arange(40), 25)
    where = np.where(np.arange(1_000) % 2, "a", "b")
    holder = np.zeros(1_000)
    candidate = np.where((where == "a") & (np.arange(1_000) % 4 == 1), 1.0, 0.0)
    by_row = compare_slices(holder, candidate, {"where": where}, level=0.05)
    by_day = compare_slices(holder, candidate, {"where": where}, days, level=0.05)
    assert [one.verdict for one in by_row] == [one.verdict for one in by_day] == ["worse", "fine"]
    assert (by_row[0].blocks, by_day[0].blocks) == (500, 40)


def test_missing_values_are_a_slice_of_their_own() -> None:
    values = np.array(["a", None, "a", None], dtype=object)
    found = compare_slices(np.ones(4), np.zeros(4), {"where": values}, level=0.05, min_rows=1)
    assert {one.value: one.rows for one in found} == {"None": 2, "a": 2}


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holms_correction_keeps_order_and_never_makes_smaller(p_values: list[float]) -> None:
    adjusted = adjust_p_values(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    if p_values:
        assert min(adjusted) == pytest.approx(min(1.0, min(p_values) * len(p_values)))
