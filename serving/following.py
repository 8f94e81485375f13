"""Follows the stage: looks about every second, loads beside what is served, swaps one reference.

Whatever goes wrong, what is served goes on being served; :class:`~serving.live.Following` says what is wrong.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from registry import GreenroomError, UnreachableError

from .holding import StageWatch, Target
from .live import Following, Live, ServedModel
from .preparing import Preparer
from .telemetry import Telemetry

__all__ = ["Follower", "Load", "Refusal", "Show", "Stay", "decide"]

JITTER: Final = 0.1
"""Part of the interval by which looks are spread, so that many servers do not ask at the same moment."""
MAX_BACKOFF_S: Final = 60.0
"""A refused version is tried again, ever more rarely: somebody may have repaired or approved it."""

_log = logging.getLogger("greenroom.serving")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that could not be put on stage, and when it is tried again (monotonic seconds)."""

    target: Target
    reason: str
    tries: int
    again_at_s: float


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Show:
    """A loaded model goes on stage: another one, or the same under a newer entry."""

    model: ServedModel


@dataclass(frozen=True, slots=True)
class Load:
    """A version must be prepared first."""

    target: Target


def decide(
    target: Target | None, loaded: Sequence[ServedModel], refusal: Refusal | None, now_s: float
) -> Stay | Show | Load:
    """What follows from a look. Pure.

    Args:
        target: What holds the stage; None: nothing does, and what is served goes on being served.
        loaded: The served model, then the one before it, as far as there are any.
        refusal: The newest refusal.
        now_s: Monotonic seconds.
    """
    if target is None or (loaded and loaded[0].target == target):
        return Stay()
    for model in loaded:
        if _is_same(model, target):
            return Show(replace(model, target=target))
    if refusal is not None and refusal.target == target and now_s < refusal.again_at_s:
        return Stay()
    return Load(target)


def _is_same(model: ServedModel, target: Target) -> bool:
    """Whether these files are loaded. Without a recorded manifest, number and creation time must do."""
    known = (model.target.version, model.target.created_ms) == (target.version, target.created_ms)
    return known and target.manifest in ("", model.manifest)


class Follower(threading.Thread):
    """The thread that follows. It alone writes to ``live``.

    Args:
        watch: Looks at the stage.
        preparer: Loads versions.
        live: What is served.
        telemetry: What is counted.
        interval_s: Pause between two looks.
        announce: Called after the first look has been acted on, and when the first model goes on stage.
    """

    def __init__(
        self,
        watch: StageWatch,
        preparer: Preparer,
        live: Live,
        telemetry: Telemetry,
        *,
        interval_s: float,
        announce: Callable[[], None],
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._watch = watch
        self._preparer = preparer
        self._live = live
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._announce = announce
        self._refusal: Refusal | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Follows until told to stop."""
        while not self._stopping.is_set():
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - this thread's run border: it must not end unseen
                _log.error("Following failed: %s", type(error).__name__, exc_info=error)
                self._tell(self._live.following, f"following failed unexpectedly ({type(error).__name__})")
            self._stopping.wait(self._interval_s * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - spread

    def stop(self, timeout_s: float) -> bool:
        """Ends after the present step; returns whether it did in time."""
        self._stopping.set()
        self.join(timeout_s)
        return not self.is_alive()

    def step(self) -> None:
        """One look, and what follows from it."""
        had_model, following = self._live.model is not None, self._live.following
        empty = following.empty
        try:
            target = self._watch.look()
        except GreenroomError as error:
            problem: str | None = f"the stage cannot be looked at: {error}"
        else:
            empty = target is None
            self._act(target)
            problem = self._find_problem(target)
        if problem and self._live.model is None:
            problem += self._restore()
        self._tell(replace(following, empty=empty), problem)
        if not following.looked or (not had_model and self._live.model is not None):
            self._announce()

    def _act(self, target: Target | None) -> None:
        loaded = [model for model in (self._live.model, self._live.previous) if model is not None]
        match decide(target, loaded, self._refusal, time.monotonic()):
            case Show(model):
                self._show(model)
            case Load(wanted):
                self._load(wanted)
            case Stay():
                pass

    def _load(self, target: Target) -> None:
        try:
            model = self._preparer.prepare(target)
        except GreenroomError as error:
            self._refuse(target, error)
        else:
            self._show(model)

    def _refuse(self, target: Target, error: GreenroomError) -> None:
        again = self._refusal is not None and self._refusal.target == target
        tries = self._refusal.tries + 1 if self._refusal and again else 1
        pause_s = min(self._interval_s * 2**tries, MAX_BACKOFF_S)
        self._refusal = Refusal(target, str(error), tries, time.monotonic() + pause_s)
        if not isinstance(error, UnreachableError):
            self._telemetry.count_refusal(target.version, error.code)

    def _show(self, model: ServedModel) -> None:
        self._refusal = None
        self._put_on_stage(model)
        try:
            self._preparer.remember(model)
        except OSError as error:
            _log.warning("The cache cannot note what is served: %s", error.strerror)

    def _put_on_stage(self, model: ServedModel) -> None:
        before = self._live.model
        self._live.publish(model)
        if before is None or before.scorer is not model.scorer:
            self._telemetry.count_swap(model.version, model.scorer.engine)
            _log.info("Version %s is on stage (before: %s).", model.version, before and before.version)

    def _restore(self) -> str:
        """At a start in trouble: serves from the cache what was served last; returns why that failed."""
        try:
            model = self._preparer.restore()
        except GreenroomError as error:
            return f" (and the cached version cannot be used: {error})"
        if model is not None:
            self._put_on_stage(model)
        return ""

    def _find_problem(self, target: Target | None) -> str | None:
        served = self._live.model
        if target is None:
            return f"nothing holds the stage; version {served.version} is served on" if served else None
        if self._refusal is not None and self._refusal.target == target:
            return f"version {target.version} cannot be served: {self._refusal.reason}"
        return None

    def _tell(self, following: Following, problem: str | None) -> None:
        """Makes the state known, and logs what is new about it."""
        problems = (problem,) if problem else ()
        refused = self._refusal.target.version if self._refusal else None
        if problems != following.problems:
            if problem:
                _log.error("Degraded: %s", problem)
            else:
                _log.info("All is well again.")
        self._live.following = replace(following, problems=problems, refused=refused, looked=True)
        self._telemetry.set_degraded(bool(problems))
