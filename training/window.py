"""A split that moves with time: moments relative to the present one, resolved before the job is checked."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = ["resolve_moment", "resolve_window"]

KEYS: Final = ("train_from", "train_until", "evaluate_until")
UNITS: Final = ("minute", "hour", "day", "week", "month", "year")
PATTERN: Final = re.compile(rf"-\s*(\d{{1,6}})\s*({'|'.join(UNITS)})s?")


def resolve_window(content: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Returns a job's content with the relative moments of ``[split]`` turned into times.

    >>> content = {"split": {"train_from": "-90 days", "train_until": "2026-01-01"}}
    >>> resolve_window(content, datetime(2026, 4, 1, 3, tzinfo=UTC))["split"]["train_from"].isoformat()
    '2026-01-01T03:00:00'
    """
    split = content.get("split")
    if not isinstance(split, Mapping):
        return dict(content)
    moments = {key: resolve_moment(value, now) for key, value in split.items() if key in KEYS}
    moved = [key for key, value in moments.items() if value is not split[key]]
    if any(_has_zone(moments[key]) for key in moments if key not in moved):
        moments |= {key: moments[key].replace(tzinfo=UTC) for key in moved}
    return {**content, "split": {**split, **moments}}


def resolve_moment(value: Any, now: datetime) -> Any:
    """A relative moment as a time in UTC, without zone as times of a split are; anything else as it is.

    Args:
        value: ``now`` or, e.g., ``-90 days``, so long before now: minutes, hours, days, weeks, months, years.
        now: With a zone.

    >>> resolve_moment("-1 month", datetime(2026, 3, 31, 3, tzinfo=UTC)).isoformat()
    '2026-02-28T03:00:00'
    """
    if not isinstance(value, str):
        return value
    text, present = value.strip(), now.astimezone(UTC).replace(tzinfo=None)
    if text == "now":
        return present
    found = PATTERN.fullmatch(text)
    if found is None:
        return value
    number, unit = int(found[1]), found[2]
    if unit in {"month", "year"}:
        return _move_months(present, number * (12 if unit == "year" else 1))
    try:
        return present - timedelta(**{f"{unit}s": number})
    except OverflowError:
        return value


def _has_zone(value: Any) -> bool:
    """Whether a time as the user wrote it has a zone: only such can be compared with another."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return False
    return isinstance(value, datetime) and value.tzinfo is not None


def _move_months(moment: datetime, months: int) -> datetime:
    """So many months earlier, on the same day or the month's last."""
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    first = datetime(max(year, 1), month + 1, 1)  # noqa: DTZ001 - of the data's own kind
    following = datetime(max(year, 1) + month // 11, (month + 1) % 12 + 1, 1)  # noqa: DTZ001
    last = (following - first).days
    return moment.replace(year=max(year, 1), month=month + 1, day=min(moment.day, last))
