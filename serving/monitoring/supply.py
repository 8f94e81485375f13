"""What is to be watched, and the windows of the log that are new, one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pandas as pd

from registry import PRODUCTION, Holding, ModelVersion, Policy, PredictionTable, parse_time, read_predictions

from .findings import Series
from .windows import Span, Window, cut_time

__all__ = ["Supplied", "Supply", "Watch"]

SETTLE: Final = timedelta(seconds=60)
"""So long after its end a window is judged: predictions on their way into the log arrive."""

BACK: Final = 14
"""Windows looked back at where none was judged yet, and nobody says since when."""

MOST: Final = 400
"""Windows judged in one round; more are left to the next."""

DAY_S: Final = 86_400

Supplied = tuple[Window, bool, PredictionTable]
"""A window, whether it is new, and what is in it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is to be watched.

    Attributes:
        log: The prediction log.
        span: How long windows are.
        reference: As ``--reference`` was given.
        group: As ``--group`` was given.
        stage: The stage whose version is watched.
        version: A version instead.
        policy: What counts, and what follows.
        since: Windows begin no earlier.
        until: The time it is taken to be; None: the clock's.
        dry_run: Write nothing, do nothing.
    """

    log: str
    span: Span
    reference: str = "evaluation"
    group: str = "auto"
    stage: str = PRODUCTION
    version: str | None = None
    policy: Policy = field(default_factory=Policy)
    since: datetime | None = None
    until: datetime | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Supply:
    """Reads the windows of one round.

    Attributes:
        watch: What is watched.
        model: The registered model.
        version: The version watched.
        holder: How it holds its stage, if it does.
        now: The time.
        progress: Told what is going on.
    """

    watch: Watch
    model: str
    version: ModelVersion
    holder: Holding | None
    now: datetime
    progress: Callable[[str], None]

    def read_windows(self, series: Series) -> Iterator[Supplied]:
        """Windows that wait for their truth, then those that are new and over, in order."""
        for one in series.waiting:
            window = Window(parse_time(one.since), parse_time(one.until))
            yield window, False, self._read(window)
        start, end = self._find_start(series), self.now - SETTLE
        end = min(end, self.watch.until) if self.watch.until else end
        windows = (
            self._count_windows(start, end)
            if self.watch.span.seconds is None
            else ((window, self._read(window)) for window in cut_time(start, end, self.watch.span.seconds))
        )
        for place, (window, table) in enumerate(windows):
            yield window, True, table
            if place + 1 == MOST:
                return

    def _find_start(self, series: Series) -> datetime:
        """Where the last window ended; for the first: as asked, or when the version began to answer."""
        since = self.watch.since
        if series.until:
            judged = parse_time(series.until)
            return max(judged, since) if since else judged
        if since:
            return since
        now = self.watch.until or self.now
        held = self.holder.since if self.holder else ""
        began = parse_time(held) if held else datetime.fromtimestamp(self.version.created_ms / 1000, UTC)
        return max(began, now - timedelta(seconds=BACK * (self.watch.span.seconds or DAY_S)))

    def _count_windows(self, start: datetime, now: datetime) -> Iterator[tuple[Window, PredictionTable]]:
        """Windows of so many predictions of the version; read by the day, so that memory stays bounded."""
        rows, begin, at = self.watch.span.rows or 1, start, start
        held: PredictionTable | None = None
        while at < now:
            until = min(at + timedelta(days=1), now)
            held, at = _join(held, self._read(Window(at, until))), until
            while True:
                own = (held.meta["version"] == self.version.version).to_numpy().nonzero()[0]
                if len(own) < rows:
                    break
                end = held.meta["time"].iloc[own[rows - 1]].to_pydatetime() + timedelta(microseconds=1)
                inside = (held.meta["time"] < end).to_numpy()
                yield Window(begin, end), _pick(held, inside)
                held, begin = _pick(held, ~inside), end

    def _read(self, window: Window) -> PredictionTable:
        self.progress(f"reading {window.text}")
        return read_predictions(self.watch.log, self.model, since=window.since, until=window.until)


FRAMES: Final = ("meta", "inputs", "outputs", "truth")


def _join(held: PredictionTable | None, more: PredictionTable) -> PredictionTable:
    if held is None or not len(held.meta):
        return more
    if not len(more.meta):
        return held
    return PredictionTable(
        *(pd.concat([getattr(held, name), getattr(more, name)], ignore_index=True) for name in FRAMES)
    )


def _pick(table: PredictionTable, rows: Any) -> PredictionTable:
    return PredictionTable(*(getattr(table, name)[rows].reset_index(drop=True) for name in FRAMES))
