"""One pass over events that were read together: tick by tick, from one state to the next."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .events import Events
from .pace import Pace
from .quality import Outcomes, measure_window
from .source import EventSource
from .state import Pending, Point, StreamState
from .ticks import Tick, find_ticks

__all__ = ["GROUP", "MOMENT", "RECENT_ROWS", "TRUTH", "Run", "take_rows"]

TRUTH: Final = "online truth"
MOMENT: Final = "online moment"
GROUP: Final = "online group"
RECENT_ROWS: Final = 20_000
"""Rows learned from last that travel with the state: contract and example are taken from them."""
BLOCK: Final = 8_192
"""Events that are turned into features at a time."""
BLOCKS_KEPT: Final = 8
"""Truths arrive a while after their events: so many blocks of features wait for them."""
POINTS_PER_WINDOW: Final = 4


class Run:
    """A pass.

    Args:
        source: Where the events are from.
        pace: How the stream goes.
        layer: The row layer.
        events: New ones, and pending ones.
        state: Where the stream is.
    """

    def __init__(
        self, source: EventSource, pace: Pace, layer: Any, events: Events, state: StreamState
    ) -> None:
        self._source, self._pace, self._layer, self._events = source, pace, layer, events
        self._state, self._learner = state, state.learner
        self._number, self._position, self._due = state.number, state.position, state.due
        self._scored, self._learned, self._known = state.scored, state.learned, state.known
        self._counted, self._since = state.counted, state.since
        self._bookmark, self._window, self._points = state.bookmark, state.window, list(state.points)
        self._recent, self._held = state.recent, state.held
        places = pd.Index(state.pending.keys).get_indexer(pd.Index(events.keys))
        self._was_scored = places >= 0
        self._said = np.full((len(events), self._learner.width), np.nan)
        self._said[self._was_scored] = state.pending.said[places[self._was_scored]]
        self._waits = self._was_scored.copy()
        self._elsewhere = ~pd.Index(state.pending.keys).isin(events.keys)
        self._blocks: dict[int, Any] = {}
        self._new_scores: list[NDArray[np.intp]] = []
        self._new_learned: list[NDArray[np.intp]] = []
        self._new_held: list[NDArray[np.intp]] = []
        self._new_outcomes: list[NDArray[np.intp]] = []
        self._scores = state.scores

    def play(self) -> Iterator[StreamState]:
        """Goes through all ticks; yields each state at which a snapshot is due."""
        events, snapshot = self._events, self._pace.snapshot
        for tick in find_ticks(
            events.time, events.available, self._was_scored, step_ns=self._pace.step_ns, after=self._position
        ):
            if snapshot.ns is not None and tick.moment >= self._due:
                if self._since:
                    yield self._snap()
                self._due += snapshot.ns * ((tick.moment - self._due) // snapshot.ns + 1)
            self._position = tick.moment
            self._score(tick)
            self._receive(tick)
            if snapshot.events is not None and self._since >= snapshot.events:
                yield self._snap()

    def close(self) -> StreamState:
        """The state after the last tick."""
        self._gather()
        return StreamState(
            number=self._number,
            position=self._position,
            scored=self._scored,
            learned=self._learned,
            known=self._known,
            counted=self._counted,
            since=self._since,
            due=self._due,
            learner=self._learner,
            bookmark=self._bookmark,
            pending=self._find_pending(),
            window=self._window,
            recent=self._recent,
            held=self._held,
            points=tuple(self._points),
            scores=self._scores,
        )

    def _snap(self) -> StreamState:
        self._number += 1
        self._since = 0
        state = self.close()
        self._scores = self._scores.iloc[:0]
        return state

    def _score(self, tick: Tick) -> None:
        if not len(tick.score):
            return
        self._said[tick.score] = self._learner.score(self._encode(tick.score))
        self._waits[tick.score] = True
        self._scored += len(tick.score)
        self._new_scores.append(tick.score)

    def _receive(self, tick: Tick) -> None:
        """Truths: they judge the scores made earlier, and then are learned, unless they are held out."""
        arrived = tick.arrived
        if not len(arrived):
            return
        self._waits[arrived] = False
        self._judge(arrived[~np.isnan(self._said[arrived, 0])])
        held = self._events.held[arrived]
        learn = arrived[~held]
        if len(learn):
            self._learner.learn(self._encode(learn), self._events.truth[learn])
            self._learned += len(learn)
            self._since += len(learn)
            self._new_learned.append(learn)
        if held.any():
            self._new_held.append(arrived[held])

    def _judge(self, places: NDArray[np.intp]) -> None:
        if not len(places):
            return
        events = self._events
        groups = np.full(len(places), "", dtype=object) if events.groups is None else events.groups[places]
        truth = self._learner.place(events.truth[places])
        self._window = self._window.join(Outcomes(truth, self._said[places], groups))
        self._window = self._window.keep_last(self._pace.window)
        self._known += len(places)
        self._new_outcomes.append(places)
        if self._known - self._counted >= max(self._pace.window // POINTS_PER_WINDOW, 1):
            self._counted = self._known
            figures = measure_window(
                self._window, self._learner.task, has_probability=self._learner.has_probability
            )
            self._points.append(Point(self._known, self._position, figures))

    def _encode(self, places: NDArray[np.intp]) -> Any:
        """Encoded features of some events, from blocks that are encoded once."""
        numbers = places // BLOCK
        first = int(numbers[0])
        if (numbers == first).all():
            return self._open_block(first)[places - first * BLOCK]
        parts = {int(number): self._open_block(int(number)) for number in np.unique(numbers)}
        return np.stack([parts[place // BLOCK][place % BLOCK] for place in places.tolist()])

    def _open_block(self, number: int) -> Any:
        if number not in self._blocks:
            rows = self._events.frame.iloc[number * BLOCK : (number + 1) * BLOCK]
            self._blocks[number] = self._learner.encode(pd.DataFrame(self._layer.transform(rows)))
            while len(self._blocks) > BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
        return self._blocks[number]

    def _gather(self) -> None:
        """Brings what was noted by position into tables, and the bookmark up to now."""
        events, pace = self._events, self._pace
        scored = _join(self._new_scores)
        self._bookmark = self._source.advance(self._bookmark, events, scored, self._position)
        learned = _join(self._new_learned)[-RECENT_ROWS:]
        self._recent = _append(self._recent, take_rows(events, learned)).tail(RECENT_ROWS)
        held = _append(self._held, take_rows(events, _join(self._new_held)))
        if pace.judged.ns is not None:
            held = held[held[MOMENT] >= self._position - pace.judged.ns]
        else:
            held = held.tail(max(round((pace.judged.events or 0) * pace.holdout), 1))
        self._held = held.tail(pace.max_rows).reset_index(drop=True)
        self._scores = _append(self._scores, self._take_scores(_join(self._new_outcomes)))
        self._new_scores, self._new_learned, self._new_held, self._new_outcomes = [], [], [], []

    def _take_scores(self, places: NDArray[np.intp]) -> pd.DataFrame:
        events, learner = self._events, self._learner
        names = (
            [f"probability_{label}" for label in learner.classes] if learner.has_probability else ["answer"]
        )
        said = {name: self._said[places, number] for number, name in enumerate(names)}
        if learner.classes and not learner.has_probability:
            said = {"answer": np.asarray(learner.classes)[self._said[places, 0].astype(np.intp)]}
        return pd.DataFrame(
            {
                "key": events.keys[places],
                "time": events.time[places].astype("datetime64[ns]"),
                "known": events.available[places].astype("datetime64[ns]"),
                **said,
                "truth": events.truth[places],
                "held_out": events.held[places],
            }
        )

    def _find_pending(self) -> Pending:
        may_come, before = self._source.may_come, self._state.pending
        rest = self._elsewhere & may_come(before.times, self._position)
        places = np.flatnonzero(self._waits & may_come(self._events.time, self._position))
        return Pending(
            np.concatenate([before.keys[rest], self._events.keys[places]]),
            np.concatenate([before.times[rest], self._events.time[places]]),
            np.concatenate([before.said[rest], self._said[places]]),
        )


def take_rows(events: Events, places: NDArray[np.intp]) -> pd.DataFrame:
    """Rows with their truth, moment and group, to be kept."""
    frame = events.frame.iloc[places].reset_index(drop=True)
    frame[TRUTH] = events.truth[places]
    frame[MOMENT] = events.time[places]
    frame[GROUP] = "" if events.groups is None else events.groups[places]
    return frame


def _join(parts: list[NDArray[np.intp]]) -> NDArray[np.intp]:
    return np.concatenate([np.empty(0, dtype=np.intp), *parts])


def _append(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    if before.empty or after.empty:
        return (after if before.empty else before).reset_index(drop=True)
    return pd.concat([before, after], ignore_index=True)
