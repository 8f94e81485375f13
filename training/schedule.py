"""When a job is due: cron lines and durations as time slots, and which slot comes next. Values in and out."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from registry import UsageError

__all__ = ["CatchUp", "Due", "Past", "Schedule", "parse_schedule", "plan_next"]

CatchUp = Literal["latest", "none"]
"""Of the slots that nobody ran: run the latest one, or none."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
COUNTED: Final = 1_000
"""Missed slots are counted up to here."""
MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class Schedule:
    """The time slots of a job.

    Attributes:
        text: The duration (``6h``) or the cron line.
        zone: The time zone in which a cron line is read; durations are counted from 1970-01-01 UTC, so that
            all schedulers agree on their slots.
        every_s: Seconds between two slots of a duration; 0 for a cron line.
    """

    text: str
    zone: str = "UTC"
    every_s: int = 0

    @property
    def name(self) -> str:
        """What the agenda calls it: two schedulers with the same one share its slots."""
        return self.text if self.every_s else f"{self.text} {self.zone}"

    def next_after(self, moment: datetime) -> datetime:
        """The first slot later than a moment, UTC.

        >>> parse_schedule("6h").next_after(datetime(2026, 1, 1, 6, tzinfo=UTC)).isoformat()
        '2026-01-01T12:00:00+00:00'
        >>> parse_schedule("30 2 * * *", "Europe/Zurich").next_after(
        ...     datetime(2026, 3, 29, tzinfo=UTC)
        ... ).isoformat()  # summer time begins: there is no half past two, so it runs at three
        '2026-03-29T01:00:00+00:00'
        """
        if self.every_s:
            return self._floor(moment) + timedelta(seconds=self.every_s)
        return next(CronSim(self.text, self._localize(moment))).astimezone(UTC)

    def latest_until(self, moment: datetime) -> datetime:
        """The newest slot that is not later than a moment, UTC."""
        if self.every_s:
            return self._floor(moment)
        later = self._localize(moment.replace(microsecond=0) + timedelta(seconds=1))
        return next(CronSim(self.text, later, reverse=True)).astimezone(UTC)

    def count(self, after: datetime, until: datetime) -> int:
        """Slots later than one moment and not later than another; counted up to 1,000."""
        if until <= after:
            return 0
        if self.every_s:
            return int((self._floor(until) - self._floor(after)).total_seconds()) // self.every_s
        number, slot = 0, self.next_after(after)
        while slot <= until and number < COUNTED:
            number, slot = number + 1, self.next_after(slot)
        return number

    def _floor(self, moment: datetime) -> datetime:
        seconds = (moment - EPOCH) // timedelta(seconds=1)
        return EPOCH + timedelta(seconds=seconds - seconds % self.every_s)

    def _localize(self, moment: datetime) -> datetime:
        return moment.astimezone(UTC if self.zone == "UTC" else ZoneInfo(self.zone))


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a schedule's past.

    Attributes:
        latest: The newest slot that somebody took, or the moment at which the schedule began.
        busy_until: When the last training ended; None: none has yet.
        is_busy: Whether somebody's training is in progress.
        watched_since: Since when this scheduler watches.
    """

    latest: datetime
    watched_since: datetime
    busy_until: datetime | None = None
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """What to do.

    Attributes:
        slot: The slot to run now; None: wait.
        until: When the next slot comes due.
        missed: Slots that nobody ran and nobody will.
        overlapped: Slots that came due while a training was in progress, and are left out.
    """

    slot: datetime | None
    until: datetime
    missed: int = 0
    overlapped: int = 0


def parse_schedule(text: str, zone: str = "UTC") -> Schedule:
    """Reads ``--every``: a duration (``90s``, ``30m``, ``6h``, ``1d``, ``2w``) or a cron line.

    Args:
        text: Five fields as in Debian's cron; six, with seconds first, are taken too.
        zone: An IANA name, e.g. ``Europe/Zurich``.

    Raises:
        UsageError: It is neither, or there is no such zone.

    Source: https://github.com/cuu508/cronsim (it does as Debian's cron does when clocks change: what falls
    into the hour that is left out runs right after it, what falls into the one that comes twice runs once).

    >>> parse_schedule("6h").name, parse_schedule("0  3 * * *", "Europe/Zurich").name
    ('6h', '0 3 * * * Europe/Zurich')
    """
    words = " ".join(text.split())
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"There is no time zone {zone!r}.", hint="Write, e.g., Europe/Zurich.") from error
    found = re.fullmatch(r"(\d{1,6}) ?(s|min|m|h|d|w)", words)
    if found:
        seconds = int(found[1]) * UNITS[found[2]]
        if seconds == 0:
            raise UsageError("--every 0 has no slots.", hint="Write, e.g., 30m, 6h or 1d.")
        return Schedule(f"{found[1]}{found[2]}", every_s=seconds)
    try:
        next(CronSim(words, EPOCH))
    except (CronSimError, StopIteration) as error:
        raise UsageError(
            f"--every {text!r} is neither a duration nor a cron line ({str(error) or 'it has no times'}).",
            hint="Write, e.g., 30m, 6h, 1d or '0 3 * * *'.",
        ) from error
    if len(words) > MAX_NAME:
        raise UsageError(f"--every has {len(words)} characters; {MAX_NAME} are enough for a cron line.")
    return Schedule(words, zone)


def plan_next(schedule: Schedule, now: datetime, past: Past, catch_up: CatchUp = "latest") -> Due:
    """What a scheduler does at this moment.

    At most the latest slot is ever run; older ones that nobody ran are missed. What came due while a training
    was in progress is left out, also by the others; while one is in progress, nobody decides about later
    slots. A clock that was set back waits until it is past the newest slot that was taken.

    >>> past = Past(latest=datetime(2026, 1, 1, tzinfo=UTC), watched_since=datetime(2026, 1, 1, tzinfo=UTC))
    >>> due = plan_next(parse_schedule("6h"), datetime(2026, 1, 2, 1, tzinfo=UTC), past)
    >>> due.slot.isoformat(), due.missed
    ('2026-01-02T00:00:00+00:00', 3)
    """
    newest = schedule.latest_until(now)
    until = schedule.next_after(max(now, past.latest))
    if past.is_busy or newest <= past.latest:
        return Due(None, until)
    ended = max(past.latest, min(past.busy_until or past.latest, now))
    overlapped = schedule.count(past.latest, ended)
    if newest <= ended:
        return Due(None, until, overlapped=overlapped)
    missed = schedule.count(ended, newest) - 1
    if catch_up == "none" and newest <= past.watched_since:
        return Due(None, until, missed=missed + 1, overlapped=overlapped)
    return Due(newest, until, missed=missed, overlapped=overlapped)
