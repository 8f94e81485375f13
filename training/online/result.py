"""What driving a stream comes to: its plan, its snapshots, and where it was left."""

from dataclasses import dataclass, field

from .quality import Reading

__all__ = ["OnlinePlan", "OnlineResult", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that this trainer published.

    Attributes:
        number: From 1.
        version: The version made of it; None: there were no held-out rows yet to judge it by.
        run_id: Its run.
        verdicts: Stage → what the gates said, where promotion was asked for.
    """

    number: int
    version: str | None
    run_id: str | None
    verdicts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """Where a stream was left.

    Attributes:
        model: The registered model's name.
        run_id: The stream's run.
        experiment_id: Its experiment.
        scored: Events scored, over the stream's whole life.
        known: Truths of these that arrived.
        learned: Events learned from.
        pending: Events whose truth is awaited.
        figures: Of the window, by name.
        snapshots: Those made by this trainer, in order.
        link: The run's page in the MLflow UI.
    """

    model: str
    run_id: str
    experiment_id: str
    scored: int
    known: int
    learned: int
    pending: int
    figures: dict[str, Reading]
    snapshots: tuple[Snapshot, ...]
    link: str


@dataclass(frozen=True, slots=True)
class OnlinePlan:
    """What a stream would be, if it began now.

    Attributes:
        model: The registered model's name.
        text: What the source is.
        task: What is predicted.
        features: How many features there are.
        events: Known by now.
        held: Of these, held out.
        warmup: What the stream needs before it begins.
        begins: When it would (RFC 3339, UTC); empty: not yet.
    """

    model: str
    text: str
    task: str
    features: int
    events: int
    held: int
    warmup: str
    begins: str
