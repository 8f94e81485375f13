"""The stream itself: scores, waits for truths, learns, says when a snapshot is due. Acts on nothing outside.

The same events lead to the same states, wherever the stream was stopped and taken up again in between.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError
from training.fitting import make_row_layer
from training.job import Job

from .events import UNKNOWN, Events
from .learner import Learner
from .pace import Pace
from .quality import empty_outcomes
from .run import RECENT_ROWS, Run, take_rows
from .source import Bookmark, EventSource, get_online
from .state import Pending, StreamState
from .ticks import floor_moments

__all__ = ["Engine", "find_start"]


class Engine:
    """Feeds events to a model.

    Args:
        job: The job.
        source: Where events come from; knows the features.
        state: Where to go on; None: at the beginning.
    """

    def __init__(self, job: Job, source: EventSource, state: StreamState | None) -> None:
        self.state = state
        self._job, self._source, self._pace = job, source, Pace.of_job(job)
        self._layer = make_row_layer(source.features)

    @property
    def warmup(self) -> str:
        """What the stream needs before it begins, for people."""
        return get_online(self._job).warmup

    def feed(self, events: Events) -> Iterator[StreamState]:
        """Plays events; yields each state at which a snapshot is due.

        Raises:
            DataError: The estimator cannot learn from these events.
        """
        if self.state is None:
            moment = find_start(events, self._pace)
            if moment is None:
                return
            self.state = self._begin(events, moment)
            told = floor_moments(events.available, self._pace.step_ns)
            events = events.take(np.flatnonzero(told > moment))
        run = Run(self._source, self._pace, self._layer, events, self.state)
        for due in run.play():
            self.state = due
            yield due
        self.state = run.close()

    def finish(self) -> StreamState | None:
        """A last snapshot of what was learned since the one before; None if that is nothing."""
        if self.state is None or not self.state.since:
            return None
        last = replace(self.state, number=self.state.number + 1, since=0)
        self.state = replace(last, scores=last.scores.iloc[:0])
        return last

    def _begin(self, events: Events, moment: int) -> StreamState:
        """Fits the columns on what is known by then, and learns it."""
        told = floor_moments(events.available, self._pace.step_ns)
        learn = np.flatnonzero((told <= moment) & ~events.held)
        learn = learn[np.argsort(events.available[learn], kind="stable")]
        learner = self._make_learner(events, learn)
        seen = np.flatnonzero(floor_moments(events.time, self._pace.step_ns) <= moment)
        wait = seen[told[seen] > moment]
        unscored = np.full((len(wait), learner.width), np.nan)
        return StreamState(
            number=0,
            position=moment,
            scored=0,
            learned=len(learn),
            known=0,
            counted=0,
            since=len(learn),
            due=moment + (self._pace.snapshot.ns or 0),
            learner=learner,
            bookmark=self._source.advance(Bookmark(), events, seen, moment),
            pending=Pending(events.keys[wait], events.time[wait], unscored),
            window=empty_outcomes(learner.width),
            recent=take_rows(events, learn).tail(RECENT_ROWS),
            held=take_rows(events, np.flatnonzero((told <= moment) & events.held)),
            points=(),
            scores=pd.DataFrame(),
        )

    def _make_learner(self, events: Events, learn: NDArray[np.intp]) -> Learner:
        kind, truth = self._source.kind, events.truth[learn]
        known = set(truth.tolist())
        if kind[1] and len(known) == 1 and get_online(self._job).classes is None:
            raise DataError(
                f"The warm-up ({self.warmup}) has events of one class only, {next(iter(known))!r}.",
                hint="Lengthen online.warmup, or name all classes in online.classes.",
            )
        features = pd.DataFrame(self._layer.transform(events.frame.iloc[learn]))
        return Learner.begin(self._job.spec, self._source.features, features, truth, kind)


def find_start(events: Events, pace: Pace) -> int | None:
    """The tick at which the warm-up is complete; None: it is not yet."""
    told = np.sort(events.available[(events.available != UNKNOWN) & ~events.held])
    if pace.warmup.events is not None:
        enough = len(told) >= pace.warmup.events
        return int(floor_moments(told, pace.step_ns)[pace.warmup.events - 1]) if enough else None
    until = int(events.time[0]) + (pace.warmup.ns or 0) if len(events) else 0
    if not len(told) or told[0] > until or told[-1] <= until:
        return None
    return int(floor_moments(told[told <= until], pace.step_ns)[-1])
