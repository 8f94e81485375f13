"""Tells a person at a terminal how far a training is; says nothing in a pipe."""

import shutil
import sys
from functools import partial
from typing import Any, Protocol

from registry import say

__all__ = ["Progress", "SilentProgress", "TerminalProgress", "WarningProgress", "make_progress"]


class Progress(Protocol):
    """Is told what happens."""

    def step(self, text: str) -> None:
        """The training goes on to its next step."""

    def warn(self, text: str) -> None:
        """Something a person should read before trusting the model."""

    def start_trials(self, total: int) -> None:
        """A search of so many trials begins."""

    def finish_trial(self, text: str) -> None:
        """One trial is over; ``text`` says how good the best one is."""

    def close(self) -> None:
        """Nothing more comes."""


class SilentProgress:
    """Says nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing: the result has the warnings."""

    def start_trials(self, total: int) -> None:
        """Nothing."""

    def finish_trial(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class WarningProgress(SilentProgress):
    """For a pipe: says warnings only, on stderr."""

    def warn(self, text: str) -> None:
        """Says it."""
        say(f"Warning: {text}")


class TerminalProgress:
    """A bar over the steps, and one over the trials of a search, on stderr."""

    STEPS = 5

    def __init__(self) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - only on a terminal

        size = shutil.get_terminal_size()  # tqdm shows nothing on a terminal that does not tell its size
        shape = {"ncols": size.columns, "nrows": size.lines}
        self._make: Any = partial(tqdm, file=sys.stderr, leave=False, **shape)
        self._write = tqdm.write
        self._steps: Any = self._make(total=self.STEPS, bar_format="{desc:<20}{bar:30} {elapsed}")
        self._trials: Any = None

    def step(self, text: str) -> None:
        """Moves the bar."""
        self._end_trials()
        self._steps.set_description_str(text)
        self._steps.update(1)

    def warn(self, text: str) -> None:
        """Writes above the bars."""
        self._write(f"Warning: {text}", file=sys.stderr)

    def start_trials(self, total: int) -> None:
        """Opens the second bar."""
        self._trials = self._make(total=total, unit="trial", position=1)

    def finish_trial(self, text: str) -> None:
        """Moves the second bar."""
        if self._trials is not None:
            self._trials.set_postfix_str(text)
            self._trials.update(1)

    def close(self) -> None:
        """Removes the bars."""
        self._end_trials()
        self._steps.close()

    def _end_trials(self) -> None:
        if self._trials is not None:
            self._trials.close()
            self._trials = None


def make_progress() -> Progress:
    """Bars on a terminal; in a pipe warnings only."""
    return TerminalProgress() if sys.stderr.isatty() else WarningProgress()
