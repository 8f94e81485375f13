"""A split whose moments move with the slot."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from registry import UsageError, parse_time
from training import read_job
from training.window import resolve_moment

NOW = parse_time("2026-03-31T03:00:00Z")


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("now", "2026-03-31T03:00:00"),
        ("-90 minutes", "2026-03-31T01:30:00"),
        ("-1 hour", "2026-03-31T02:00:00"),
        ("- 30 days", "2026-03-01T03:00:00"),
        ("-2 weeks", "2026-03-17T03:00:00"),
        ("-1 month", "2026-02-28T03:00:00"),
        ("-15 months", "2024-12-31T03:00:00"),
        ("-2 years", "2024-03-31T03:00:00"),
    ],
)
def test_a_relative_moment_lies_so_long_before_the_slot(text: str, resolved: str) -> None:
    assert resolve_moment(text, NOW).isoformat() == resolved


@pytest.mark.parametrize("value", ["2013-01-01", "-5 fortnights", "+3 days", "-999999 weeks", 7])
def test_what_is_no_relative_moment_is_left_to_the_jobs_own_check(value: Any) -> None:
    assert resolve_moment(value, NOW) == value


def test_a_jobs_window_is_resolved_when_it_is_read(job_file: Path) -> None:
    window = ["data.time=day", 'split.train_from="-90 days"', 'split.train_until="-30 days"']
    split = read_job(job_file, [*window, "split.evaluate_until=now"], now=NOW).spec.split
    assert split.train_from == datetime(2025, 12, 31, 3)  # noqa: DTZ001 - the data's own time
    assert split.train_until == datetime(2026, 3, 1, 3)  # noqa: DTZ001
    assert split.evaluate_until == datetime(2026, 3, 31, 3)  # noqa: DTZ001


def test_a_window_may_mix_relative_moments_with_one_that_has_a_zone(job_file: Path) -> None:
    window = ["data.time=day", 'split.train_from="2026-01-01T00:00:00+01:00"', 'split.train_until="-30 days"']
    split = read_job(job_file, window, now=NOW).spec.split
    assert split.train_until == parse_time("2026-03-01T03:00:00Z")


def test_a_window_that_ends_before_it_begins_is_refused(job_file: Path) -> None:
    window = ["data.time=day", 'split.train_from="-30 days"', 'split.train_until="-90 days"']
    with pytest.raises(UsageError, match="train_from must lie before"):
        read_job(job_file, window, now=NOW)
