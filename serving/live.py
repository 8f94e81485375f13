"""What is on stage, as values that pass between the processes of one server."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .scorer import Scorer
from .target import Target

__all__ = ["Following", "PreparedModel", "ServedModel", "State", "dump", "parse_model", "parse_state"]


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A version whose files lie in the cache, whole and trusted, and have answered their own example.

    Attributes:
        target: Which version, and since when it holds the stage.
        manifest: sha256 over its files, as computed here. Two versions with the same files are loaded once.
        artifact: Folder of its files.
        plan: Folder of its compiled plan; None: MLflow's own code answers.
        reason: Why it is compiled, or why not, in a sentence.
        warm: It carries an input example and has answered it.
        from_cache: Its files came from the local cache, not from MLflow.
    """

    target: Target
    manifest: str
    artifact: str
    plan: str | None
    reason: str
    warm: bool
    from_cache: bool

    @property
    def version(self) -> str:
        """MLflow's version, a number as text."""
        return self.target.version

    @property
    def engine(self) -> str:
        """``compiled`` or ``native``."""
        return "compiled" if self.plan else "native"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One loaded version. A request that took it finishes on it, whatever is on stage by then."""

    prepared: PreparedModel
    scorer: Scorer = field(repr=False)

    @property
    def version(self) -> str:
        """MLflow's version, a number as text."""
        return self.prepared.target.version


@dataclass(frozen=True, slots=True)
class Following:
    """How following the stage goes.

    Attributes:
        problems: Why what is served may not be what history says, newest look only; empty: all is well.
        refused: The version that should be served and may not, or None.
        preparing: The version that should be served and is not ready yet, or None.
        looked: Whether the stage has been looked at once.
        empty: Whether the stage was found to hold no version.
    """

    problems: Sequence[str] = ()
    refused: str | None = None
    preparing: str | None = None
    looked: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """All that a worker must know, replaced as a whole.

    Attributes:
        model: What is served.
        previous: What was served before, kept loaded for a rollback.
        staged: What holds staging, loaded before it is needed.
        following: How following goes.
    """

    model: PreparedModel | None = None
    previous: PreparedModel | None = None
    staged: PreparedModel | None = None
    following: Following = field(default_factory=Following)

    @property
    def loaded(self) -> Sequence[PreparedModel]:
        """What is loaded, the served one first."""
        return [model for model in (self.model, self.previous, self.staged) if model is not None]

    def put_on_stage(self, model: PreparedModel) -> "State":
        """The state in which the next request takes this model; the one before stays loaded."""
        before = self.model
        if before is None or before.manifest == model.manifest:
            return replace(self, model=model)
        return replace(self, model=model, previous=before)


def dump(value: PreparedModel | State) -> dict[str, Any]:
    """As a JSON document."""
    return asdict(value)


def parse_model(document: Mapping[str, Any]) -> PreparedModel:
    """A model out of its JSON document."""
    return PreparedModel(**{**document, "target": Target(**document["target"])})


def parse_state(document: Mapping[str, Any]) -> State:
    """A state out of its JSON document."""
    models = {
        key: parse_model(document[key]) if document[key] else None for key in ("model", "previous", "staged")
    }
    following = document["following"]
    return State(**models, following=Following(**{**following, "problems": tuple(following["problems"])}))
