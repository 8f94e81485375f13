"""Windows in a row, and a diary that several write."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from registry import FixedClock
from registry.stores.memory import MemoryStore
from serving.monitoring.diary import Diary
from serving.monitoring.findings import MAX_WAITING, Finding, Series, Waiting


def make_finding(day: int, *marks: str, kind: str = "drift", verdict: str = "") -> Finding:
    return Finding(
        kind="drift" if kind == "drift" else "quality",
        since=f"2026-03-{day:02d}",
        until=f"2026-03-{day + 1:02d}",
        verdict=verdict or ("bad" if marks else "quiet"),  # type: ignore[arg-type] # one of three
        marks=marks,
        rows=10,
        reason="a moved",
    )


def fold(*findings: Finding) -> Series:
    series = Series()
    for finding in findings:
        series = series.step(finding)
    return series


def test_two_windows_in_a_row_with_the_same_column_are_ripe() -> None:
    assert fold(make_finding(1, "a"), make_finding(2, "a", "b")).drift.list_ripe(2) == ("a",)
    assert fold(make_finding(1, "a"), make_finding(2, "b")).drift.list_ripe(2) == ()
    assert fold(make_finding(1, "a"), make_finding(2), make_finding(3, "a")).drift.list_ripe(2) == ()


def test_a_window_with_too_little_data_neither_counts_nor_interrupts() -> None:
    thin = make_finding(2, verdict="not_enough_data")
    assert fold(make_finding(1, "a"), thin, make_finding(3, "a")).drift.list_ripe(2) == ("a",)


def test_an_alarm_uses_its_windows_up_and_stands_until_a_quiet_one() -> None:
    series = fold(make_finding(1, "a"), make_finding(2, "a")).alarm("drift")
    assert (series.drift.stands, series.drift.list_ripe(2)) == (True, ())
    series = series.step(make_finding(3, "a"))
    assert (series.drift.stands, series.drift.list_ripe(2)) == (True, ())
    assert series.step(make_finding(4, "a")).drift.list_ripe(2) == ("a",)
    assert not series.step(make_finding(4)).drift.stands


@given(st.lists(st.integers(1, 8), max_size=30))
def test_a_window_counts_once_however_often_and_late_it_is_judged(days: list[int]) -> None:
    series, newest = Series(), 0
    for day in days:
        before = series
        series = series.step(make_finding(day, "a"))
        assert (series == before) == (day <= newest)
        newest = max(newest, day)
    assert series.waiting == tuple(sorted(series.waiting, key=lambda one: one.since))


def test_quality_is_judged_of_windows_that_wait_and_gives_older_ones_up() -> None:
    series = fold(make_finding(1), make_finding(2), make_finding(3))
    assert not series.is_new(make_finding(4, kind="quality"))
    series = series.step(make_finding(2, "quality", kind="quality"))
    assert series.waiting == (Waiting("2026-03-03", "2026-03-04"),)
    assert not series.is_new(make_finding(1, kind="quality"))
    many = fold(*(make_finding(day) for day in range(1, 25)))
    assert len(many.waiting) == MAX_WAITING


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(MemoryStore(tmp_path), "m", "greenroom/m", FixedClock())


def test_of_many_monitors_one_records_a_window_and_one_raises_the_alarm(diary: Diary) -> None:
    diary.begin()

    def watch(number: int) -> tuple[int, int]:
        run = f"run{number}"
        won = sum(diary.record("s", make_finding(day, "a"), run) for day in (1, 2))
        alarm = diary.raise_alarm("s", "drift", 2, version="2", holder_seq=4, action="retrain")
        return won, alarm is not None

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(watch, range(8)))
    assert [sum(column) for column in zip(*done, strict=True)] == [2, 1]
    (alarm,) = diary.read().open.values()
    assert (alarm.marks, alarm.until, alarm.holder_seq) == (("a",), "2026-03-03", 4)
    assert alarm.reason == "version 2: inputs or scores drifted, 2 windows in a row up to 2026-03-03: a moved"
    assert diary.settle(alarm, "done")
    assert not diary.settle(alarm, "done twice")
    assert diary.read().open == {}


def test_a_diary_goes_on_over_its_pages_and_takes_long_names(diary: Diary) -> None:
    marks = [f"{'ü' * 100}{number}" for number in range(60)]
    for day in range(1, 29):
        for name in ("one", "two", "three"):
            finding = replace(make_finding(day, *marks), numbers=dict.fromkeys(marks, 0.5))
            assert diary.record(name, finding, "run")
    state = diary.read()
    assert {state.get(name).until for name in ("one", "two", "three")} == {"2026-03-29"}
    assert len(diary.list_findings("two", 50)) == 28
    assert state.get("three").drift.list_ripe(20) != ()
