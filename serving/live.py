"""What is on stage: the one reference that requests take, and that a swap replaces."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .holding import Target
from .scoring import Scorer

__all__ = ["Following", "Live", "ServedModel"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One loaded version. A request that took it finishes on it, whatever is on stage by then.

    Attributes:
        target: Which version, and since when it holds the stage.
        manifest: sha256 over the files it was loaded from, as computed here.
        scorer: Answers.
        warm: It has answered its own input example.
        from_cache: Its files came from the local cache, not from MLflow.
    """

    target: Target
    manifest: str
    scorer: Scorer = field(repr=False)
    warm: bool
    from_cache: bool

    @property
    def version(self) -> str:
        """MLflow's version, a number as text."""
        return self.target.version


@dataclass(frozen=True, slots=True)
class Following:
    """How following the stage goes.

    Attributes:
        problems: Why what is served may not be what history says, newest look only; empty: all is well.
        refused: The version that should be served and may not, or None.
        looked: Whether the stage has been looked at once.
        empty: Whether the stage was found to hold no version.
    """

    problems: Sequence[str] = ()
    refused: str | None = None
    looked: bool = False
    empty: bool = False


class Live:
    """The served model and the state of following, each one reference that is replaced as a whole.

    Reading or writing one attribute is atomic in Python; the follower alone writes.
    """

    def __init__(self) -> None:
        self.model: ServedModel | None = None
        self.previous: ServedModel | None = None
        self.following = Following()

    def publish(self, model: ServedModel) -> None:
        """Puts a model on stage; the next request takes it."""
        previous, self.model = self.model, model
        if previous is not None and previous.scorer is not model.scorer:
            self.previous = previous
