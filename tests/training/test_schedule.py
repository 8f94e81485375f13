"""Time slots, and which one comes next: values only."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from registry import UsageError
from training.schedule import CatchUp, Past, Schedule, parse_schedule, plan_next

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULES = [
    parse_schedule("7s"),
    parse_schedule("30m"),
    parse_schedule("6 h"),
    parse_schedule("0 3 * * *"),
    parse_schedule("*/20 * * * *", "America/New_York"),
    parse_schedule("30 2 * * *", "Europe/Zurich"),
    parse_schedule("15 1,2 * * 0", "Australia/Lord_Howe"),
]
moments = st.integers(0, 366 * 86_400_000).map(lambda ms: START + timedelta(milliseconds=ms))


@given(schedule=st.sampled_from(SCHEDULES), moment=moments)
@settings(max_examples=150, deadline=None)
def test_every_moment_lies_between_two_neighbouring_slots(schedule: Schedule, moment: datetime) -> None:
    before, after = schedule.latest_until(moment), schedule.next_after(moment)
    assert before <= moment < after
    assert schedule.next_after(before) == after
    assert schedule.latest_until(after) == after
    assert schedule.latest_until(after - timedelta(milliseconds=1)) == before
    assert schedule.count(before, after) == 1
    assert schedule.count(moment, moment) == 0


@given(
    schedule=st.sampled_from(SCHEDULES[1:]),
    latest=moments,
    waited_s=st.integers(-7_200, 200_000),
    busy_s=st.none() | st.integers(0, 90_000),
    is_busy=st.booleans(),
    catch_up=st.sampled_from(["latest", "none"]),
)
@settings(max_examples=150, deadline=None)
def test_only_the_latest_slot_is_run_and_every_other_one_is_accounted_for(
    schedule: Schedule, latest: datetime, waited_s: int, busy_s: int | None, is_busy: bool, catch_up: CatchUp
) -> None:
    now = latest + timedelta(seconds=waited_s)
    ended = None if busy_s is None else latest + timedelta(seconds=busy_s)
    past = Past(latest, watched_since=latest, busy_until=ended, is_busy=is_busy)
    due = plan_next(schedule, now, past, catch_up)
    assert due.until > now
    assert due.until > latest
    passed = schedule.count(latest, now)
    if is_busy or passed == 0:
        assert (due.slot, due.missed, due.overlapped) == (None, 0, 0)
        return
    assert due.missed + due.overlapped + (due.slot is not None) == passed
    if due.slot is not None:
        assert due.slot == schedule.latest_until(now) > latest
        assert ended is None or due.slot > min(ended, now)


def test_a_clock_that_was_set_back_waits_for_slots_that_nobody_took() -> None:
    schedule = parse_schedule("6h")
    past = Past(latest=START.replace(hour=18), watched_since=START)
    due = plan_next(schedule, START.replace(hour=7), past)
    assert due.slot is None
    assert due.until == START + timedelta(days=1)


def test_of_a_night_that_nobody_watched_none_is_run_where_none_is_asked() -> None:
    schedule = parse_schedule("0 3 * * *")
    past = Past(latest=START, watched_since=START + timedelta(days=3, hours=12))
    now = past.watched_since + timedelta(minutes=1)
    assert plan_next(schedule, now, past, "none").missed == 4
    assert plan_next(schedule, now, past, "none").slot is None
    assert plan_next(schedule, now, past, "latest").slot == START + timedelta(days=3, hours=3)
    due = plan_next(schedule, START + timedelta(days=4, hours=3), past, "none")
    assert due.slot == START + timedelta(days=4, hours=3)


@pytest.mark.parametrize(
    ("night", "moments_utc"),
    [
        ("2026-03-29", ["2026-03-29T01:00", "2026-03-30T00:30"]),  # 02:30 does not exist: at 03:00
        ("2026-10-25", ["2026-10-25T00:30", "2026-10-26T01:30"]),  # 02:30 comes twice: the first one
    ],
)
def test_a_nightly_slot_comes_once_in_the_nights_in_which_clocks_change(
    night: str, moments_utc: list[str]
) -> None:
    schedule = parse_schedule("30 2 * * *", "Europe/Zurich")
    moment = datetime.fromisoformat(night).replace(tzinfo=ZoneInfo("Europe/Zurich"))
    slots = []
    for _ in moments_utc:
        moment = schedule.next_after(moment)
        slots.append(moment.strftime("%Y-%m-%dT%H:%M"))
    assert slots == moments_utc


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("0s", "UTC", "no slots"),
        ("6 hours and a bit", "UTC", "neither a duration nor a cron line"),
        ("0 25 * * *", "UTC", "Bad hour"),
        ("0 0 30 2 *", "UTC", "Bad day-of-month"),
        ("0 3 * * *", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("", "UTC", "Wrong number of fields"),
        (",".join(["0"] * 60) + " 3 * * *", "UTC", "characters"),
    ],
)
def test_a_schedule_that_is_written_wrongly_is_refused(text: str, zone: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_schedule(text, zone)
