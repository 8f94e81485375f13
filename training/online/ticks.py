"""When what happens: at each tick, first all events are scored whose time came, then what arrived is learned.

Pure. So that no event is learned before another of the same moment is scored, a tick's truths wait until its
scores are made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .events import UNKNOWN

__all__ = ["Tick", "count_ticks", "find_ticks", "floor_moments"]


@dataclass(frozen=True, slots=True)
class Tick:
    """One moment of the stream.

    Attributes:
        moment: Nanoseconds since the epoch; with a step, its beginning.
        score: Positions of events to score, in their order.
        arrived: Positions of events whose truth arrived, in the order in which it did.
    """

    moment: int
    score: NDArray[np.intp]
    arrived: NDArray[np.intp]


def floor_moments(moments: NDArray[np.int64], step_ns: int) -> NDArray[np.int64]:
    """The tick that each moment belongs to; without a step every moment is its own.

    >>> floor_moments(np.array([0, 59, 60, 61]), 60).tolist()
    [0, 0, 60, 60]
    """
    if step_ns <= 1:
        return moments
    return np.where(moments == UNKNOWN, UNKNOWN, moments - moments % step_ns)


def find_ticks(
    time: NDArray[np.int64],
    available: NDArray[np.int64],
    scored: NDArray[np.bool_],
    *,
    step_ns: int,
    after: int,
) -> Iterator[Tick]:
    """The ticks in their order. Nothing happens before ``after``: what should have happened then comes now.

    Args:
        time: Of each event, ascending.
        available: When its truth arrives; ``UNKNOWN``: not yet.
        scored: Whether it was scored before.
        step_ns: Length of a tick; 0: each moment is one.
        after: The tick where an earlier run of the stream stopped.

    >>> time, truth = np.array([0, 10, 10]), np.array([10, 12, UNKNOWN])
    >>> scored = np.zeros(3, dtype=bool)
    >>> found = find_ticks(time, truth, scored, step_ns=0, after=-1)
    >>> [(tick.moment, tick.score.tolist(), tick.arrived.tolist()) for tick in found]
    [(0, [0], []), (10, [1, 2], [0]), (12, [], [1])]
    """
    asked = np.maximum(floor_moments(time, step_ns), after)
    told = np.maximum(floor_moments(available, step_ns), after)
    scores = np.flatnonzero(~scored)
    known = np.flatnonzero(available != UNKNOWN)
    arrivals = known[np.lexsort((known, available[known]))]
    moments = np.union1d(asked[scores], told[arrivals])
    first_score = np.searchsorted(asked[scores], moments)
    first_arrival = np.searchsorted(told[arrivals], moments)
    ends = (np.append(first_score[1:], len(scores)), np.append(first_arrival[1:], len(arrivals)))
    for place, moment in enumerate(moments.tolist()):
        yield Tick(
            moment,
            scores[first_score[place] : ends[0][place]],
            arrivals[first_arrival[place] : ends[1][place]],
        )


def count_ticks(time: NDArray[np.int64], available: NDArray[np.int64], *, step_ns: int) -> int:
    """How many ticks there are, for a progress bar."""
    known = available[available != UNKNOWN]
    return len(np.union1d(floor_moments(time, step_ns), floor_moments(known, step_ns)))
