"""Follows the stage: looks again and again, prepares what is coming, and puts on stage what is ready.

Whatever goes wrong, what is served goes on being served; :class:`~serving.live.Following` says what is wrong.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from registry import GreenroomError, UnreachableError

from .holding import Watch
from .live import Following, PreparedModel, State
from .preparing import Shelf
from .target import Target
from .telemetry import Telemetry

__all__ = ["Cast", "Follower", "Load", "Preparing", "Refusal", "Show", "Stay", "decide"]

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

    model: PreparedModel


@dataclass(frozen=True, slots=True)
class Load:
    """A version must be prepared first."""

    target: Target


def decide(
    target: Target | None, loaded: Sequence[PreparedModel], refusal: Refusal | None, now_s: float
) -> Stay | Show | Load:
    """What follows from a look. Pure.

    Args:
        target: What holds the stage; None: nothing does, and what is served goes on being served.
        loaded: The served model, then the one before it and the staged one, as far as there are any.
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


def _is_same(model: PreparedModel, target: Target) -> bool:
    """Whether these files are loaded. Without a recorded manifest, number and creation time must do."""
    known = (model.target.version, model.target.created_ms) == (target.version, target.created_ms)
    return known and target.manifest in ("", model.manifest)


class Cast(Protocol):
    """All who answer requests."""

    def warm(self, model: PreparedModel) -> None:
        """Loads a version everywhere, beside what is served.

        Raises:
            ArtifactError: It does not load.
        """

    def show(self, state: State) -> None:
        """Puts a state on stage everywhere, at once; what it does not name is dropped."""


class Preparing(Protocol):
    """Makes versions ready to be loaded, beside everything else."""

    def prepare(self, target: Target, wake: Callable[[], None]) -> PreparedModel | None:
        """What has become of it; None while it is at work, and ``wake`` is called when it is done.

        Raises:
            GreenroomError: It may not be served, or cannot be had.
        """


class Follower(threading.Thread):
    """The thread that follows.

    Args:
        watch: Looks at the stage.
        bench: Prepares versions.
        cast: Those who answer.
        shelf: The cache, and the note of what was served.
        telemetry: What is counted.
        interval_s: Pause between two looks.
        cache_limit_bytes: The cache's size, above which what nobody needs is thrown out.
        announce: Called after the first look has been acted on, and when the first model goes on stage.
    """

    def __init__(
        self,
        watch: Watch,
        bench: Preparing,
        cast: Cast,
        shelf: Shelf,
        telemetry: Telemetry,
        *,
        interval_s: float,
        cache_limit_bytes: int,
        announce: Callable[[State], None],
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._watch = watch
        self._bench = bench
        self._cast = cast
        self._shelf = shelf
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._cache_limit_bytes = cache_limit_bytes
        self._announce = announce
        self._refusals: dict[Target, Refusal] = {}
        self._wanted: Target | None = None
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self.state = State()
        """What is on stage; this thread alone replaces it."""

    def run(self) -> None:
        """Follows until told to stop."""
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - this thread's run border: it must not end unseen
                if self._stopping.is_set():
                    return
                _log.error("Following failed: %s", type(error).__name__, exc_info=error)
                self._tell(f"following failed unexpectedly ({type(error).__name__})", self.state.following)
            self._awake.wait(self._interval_s * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - spread

    def stop(self) -> None:
        """Lets it end after the present step."""
        self._stopping.set()
        self._awake.set()

    def step(self) -> None:
        """One look, and what follows from it."""
        had_model, following = self.state.model is not None, self.state.following
        try:
            target = self._watch.look()
        except GreenroomError as error:
            problem: str | None = f"the stage cannot be looked at: {error}"
            following = replace(following, preparing=None)
        else:
            following = replace(following, empty=target is None, preparing=self._act(target))
            self._wanted = target
            self._prepare_ahead(self._watch.staged)
            self._forget()
            problem = self._find_problem(target)
        if problem and self.state.model is None:
            problem += self._restore()
        self._tell(problem, replace(following, looked=following.looked or following.preparing is None))
        has_begun = self.state.following.looked and not following.looked
        if has_begun or (not had_model and self.state.model is not None):
            self._announce(self.state)

    def _act(self, target: Target | None) -> str | None:
        """Does what follows; returns the version that is still being prepared."""
        refusal = self._refusals.get(target) if target else None
        match decide(target, self.state.loaded, refusal, time.monotonic()):
            case Show(model):
                self._show(model)
            case Load(wanted):
                return self._load(wanted)
            case Stay():
                pass
        return None

    def _load(self, target: Target) -> str | None:
        try:
            model = self._prepare(target)
        except GreenroomError as error:
            self._refuse(target, error)
            return None
        if model is None:
            return target.version
        self._show(model)
        return None

    def _prepare_ahead(self, staged: Target | None) -> None:
        """What is staged is loaded before it is needed; what was, and is not any more, is let go."""
        if staged is None:
            if self.state.staged is not None:
                self._change(replace(self.state, staged=None))
            return
        known = (self.state.staged, self.state.model, self.state.previous)
        loaded = [model for model in known if model is not None]
        match decide(staged, loaded, self._refusals.get(staged), time.monotonic()):
            case Show(model):
                self._change(replace(self.state, staged=model))
            case Load(wanted):
                self._load_ahead(wanted)
            case Stay():
                pass

    def _load_ahead(self, staged: Target) -> None:
        try:
            model = self._prepare(staged)
        except GreenroomError as error:
            _log.warning("Version %s, which is staged, cannot be served: %s", staged.version, error)
            self._refuse(staged, error)
        else:
            if model is not None:
                self._change(replace(self.state, staged=model))

    def _prepare(self, target: Target) -> PreparedModel | None:
        """Ready and loaded everywhere, or None while it is being prepared."""
        model = self._bench.prepare(target, self._awake.set)
        if model is not None:
            self._cast.warm(model)
        return model

    def _refuse(self, target: Target, error: GreenroomError) -> None:
        before = self._refusals.get(target)
        tries = before.tries + 1 if before else 1
        pause_s = min(self._interval_s * 2**tries, MAX_BACKOFF_S)
        self._refusals[target] = Refusal(target, str(error), tries, time.monotonic() + pause_s)
        if not isinstance(error, UnreachableError):
            self._telemetry.count_refusal(target.version, error.code)

    def _forget(self) -> None:
        """Refusals of what nobody asks for any more, or what is served by now."""
        served = self.state.model.target if self.state.model else None
        wanted = {self._wanted, self._watch.staged} - {served}
        self._refusals = {key: refusal for key, refusal in self._refusals.items() if key in wanted}

    def _show(self, model: PreparedModel) -> None:
        self._put_on_stage(model)
        try:
            self._shelf.cache.clear_up(self._cache_limit_bytes)
        except OSError as error:
            _log.warning("The cache cannot be cleared up: %s", error.strerror)

    def _put_on_stage(self, model: PreparedModel) -> None:
        before = self.state.model
        self._change(self.state.put_on_stage(model))
        if before is None or before.manifest != model.manifest:
            self._telemetry.count_swap(model.version, model.engine)
            _log.info("Version %s is on stage (before: %s).", model.version, before and before.version)

    def _change(self, state: State) -> None:
        """Makes a state true everywhere, and notes it for a restart."""
        has_other_models = state.loaded != self.state.loaded
        self.state = state
        self._cast.show(state)
        if not has_other_models:
            return
        try:
            self._shelf.remember(state)
        except OSError as error:
            _log.warning("The cache cannot note what is served: %s", error.strerror)

    def _restore(self) -> str:
        """At a start in trouble: serves from the cache what was served last; returns why that failed."""
        try:
            model = self._shelf.restore()
            if model is not None:
                self._cast.warm(model)
        except GreenroomError as error:
            return f" (and the cached version cannot be used: {error})"
        if model is not None:
            self._put_on_stage(model)
        return ""

    def _find_problem(self, target: Target | None) -> str | None:
        served = self.state.model
        if target is None:
            return f"nothing holds the stage; version {served.version} is served on" if served else None
        if target in self._refusals:
            return f"version {target.version} cannot be served: {self._refusals[target].reason}"
        return None

    def _tell(self, problem: str | None, following: Following) -> None:
        """Makes the state known, and logs what is new about it."""
        problems = (problem,) if problem else ()
        if problems != self.state.following.problems:
            if problem:
                _log.error("Degraded: %s", problem)
            else:
                _log.info("All is well again.")
        refused = self._wanted.version if self._wanted and self._wanted in self._refusals else None
        told = replace(following, problems=problems, refused=refused)
        if told != self.state.following:
            self._change(replace(self.state, following=told))
        self._telemetry.set_degraded(bool(problems))
