"""Small versions of ``benchmarks/bench_drift.py``, and what a sentence says."""

import numpy as np
import pandas as pd
import pytest

from serving.monitoring.drift import DriftRule, Sample, find_drift

RULE = DriftRule()
COLUMNS = 20


def make_sample(values: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", blocks: object = None) -> Sample:
    table = pd.DataFrame(values, columns=[f"c{place}" for place in range(values.shape[1])])
    return Sample(table, pd.DataFrame(index=table.index), None if blocks is None else np.asarray(blocks))


def draw(seed: int, rows: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(size=(rows, COLUMNS))


def test_quiet_windows_seldom_alarm_and_a_shift_of_a_third_of_a_deviation_is_found() -> None:
    alarms, found = 0, 0
    for seed in range(20):
        reference, window = make_sample(draw(seed, 2_000)), draw(1_000 + seed, 2_000)
        alarms += find_drift(reference, make_sample(window), RULE).verdict == "drift"
        window[:, 7] += 0.3
        found += "c7" in find_drift(reference, make_sample(window), RULE).drifted
    assert alarms <= 4  # 5 % of 20 is 1; more than 4 would be a chance of 1 in 400
    assert found >= 19


def test_a_harmless_shift_of_many_rows_is_below_the_effect_floor() -> None:
    reference, window = draw(1, 20_000)[:, :3], draw(2, 50_000)[:, :3]
    window[:, 0] += 0.03
    drift = find_drift(make_sample(reference), make_sample(window), RULE)
    assert drift.verdict == "quiet"
    bare = find_drift(make_sample(reference), make_sample(window), DriftRule(min_effect=0.0))
    assert bare.drifted == ("c0",)  # it is there: what keeps quiet is the floor


def make_days(seed: int, days: int, *, shift: float = 0.0) -> Sample:
    """300 rows a day, which have a tenth of their variance in common."""
    generator = np.random.default_rng(seed)
    common = np.repeat(generator.normal(size=(days, 5)), 300, axis=0)
    values = np.sqrt(0.1) * common + np.sqrt(0.9) * generator.normal(size=(days * 300, 5))
    return make_sample(values + shift, np.repeat(np.arange(days), 300))


def test_days_with_something_in_common_alarm_by_rows_and_not_by_blocks() -> None:
    by_rows, by_blocks = 0, 0
    for seed in range(10):
        reference, window = make_days(seed, 30), make_days(100 + seed, 7)
        by_blocks += find_drift(reference, window, RULE).verdict == "drift"
        loose = [Sample(one.inputs, one.scores) for one in (reference, window)]
        by_rows += find_drift(loose[0], loose[1], RULE).verdict == "drift"
    assert by_rows >= 9
    assert by_blocks <= 3  # 0.5 expected; more than 3 would be a chance of 1 in 900


def test_blocks_find_a_shift_that_days_do_not_explain() -> None:
    assert find_drift(make_days(1, 30), make_days(2, 7, shift=1.0), RULE).verdict == "drift"


@pytest.mark.parametrize(("days", "verdict"), [(18, "not_enough_data"), (30, "drift")])
def test_one_day_needs_nineteen_to_be_compared_with(days: int, verdict: str) -> None:
    drift = find_drift(make_days(1, days), make_days(2, 1, shift=3.0), RULE)
    assert drift.verdict == verdict
    if days == 18:
        assert "at least 19 are needed" in drift.reason


def test_too_few_rows_are_not_enough_data_and_say_how_many_are() -> None:
    drift = find_drift(make_sample(draw(1, 2_000)), make_sample(draw(2, 199)), RULE)
    assert (drift.verdict, drift.reason) == ("not_enough_data", "200 predictions are needed")


def compare(before: object, after: object) -> tuple[str, str]:
    sides = [pd.DataFrame({"x": pd.Series(values)}) for values in (before, after)]
    reference, window = (Sample(side, pd.DataFrame(index=side.index)) for side in sides)
    drift = find_drift(reference, window, RULE)
    return drift.verdict, drift.reason


def test_missing_values_count_as_moved_rows() -> None:
    numbers = np.random.default_rng(1).normal(size=2_000)
    gaps = np.where(np.arange(2_000) % 5 == 0, np.nan, numbers)
    verdict, reason = compare(numbers, gaps)
    assert verdict == "drift"
    assert "missing 0% before, 20% now" in reason


def test_new_categories_are_named() -> None:
    verdict, reason = compare(["a", "b"] * 500, ["a", "b", "A", "a"] * 250)
    assert verdict == "drift"
    assert "25% in categories that the reference does not have" in reason


def test_identifiers_that_never_come_twice_are_no_drift() -> None:
    assert compare([f"u{n}" for n in range(1_000)], [f"w{n}" for n in range(1_000)])[0] == "quiet"


def test_a_category_is_the_same_whether_it_came_as_text_or_number() -> None:
    before = pd.Series([True, False] * 500)
    assert compare(before.astype(object), pd.Series([1.0, 0.0] * 500))[0] == "quiet"


def test_a_constant_that_stays_one_is_quiet_and_one_that_changes_is_not() -> None:
    assert compare([1.0] * 500, [1.0] * 500)[0] == "quiet"
    assert compare([1.0] * 500, [2.0] * 500)[0] == "drift"


def test_moments_are_not_compared_as_texts_either() -> None:
    hours = [f"2026-03-01T{hour:02d}:00:00" for hour in range(10)] * 50
    sides = [pd.DataFrame({"at": pd.Series(hours, dtype=object)}), pd.DataFrame({"at": ["2026-04-01"] * 500})]
    reference, window = (Sample(side, pd.DataFrame(index=side.index)) for side in sides)
    assert find_drift(reference, window, RULE).skipped == {"at": "moments always move on"}


def test_an_ignored_column_and_one_that_the_log_lacks_are_told() -> None:
    reference = make_sample(draw(1, 500)[:, :3])
    window = make_sample(draw(2, 500)[:, :2] + 5.0)
    drift = find_drift(reference, window, DriftRule(ignore=("c0",)))
    assert drift.drifted == ("c1",)
    assert drift.skipped == {"c0": "the policy ignores it", "c2": "the log does not have it"}
