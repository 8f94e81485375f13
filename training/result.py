"""What a training hands on: what it is about to do, and what came out."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from registry import TaskKind

    from .contract import ContractPlan
    from .dataset import Dataset, Target
    from .features import FeaturePlan
    from .job import Job
    from .split import Split

__all__ = [
    "AnswerLayer",
    "Fitted",
    "GuardLayer",
    "Outcome",
    "Trained",
    "TrainingPlan",
    "TrainingResult",
]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A job whose data was read and found good. Nothing was written yet.

    Attributes:
        job: The job.
        dataset: The rows as read.
        target: The answers to ``rows``.
        features: What the model looks at.
        rows: The raw feature columns, typed, of the rows that are learned from or held out.
        split: Which of these rows are learned from and which are held out.
        warnings: Sentences a person should read before trusting the model.
        durations_s: Seconds per step so far.
        contract: What rows must look like; None: the job wants none.
    """

    job: "Job"
    dataset: "Dataset"
    target: "Target"
    features: "FeaturePlan"
    rows: "pd.DataFrame" = field(repr=False)
    split: "Split"
    warnings: tuple[str, ...] = ()
    durations_s: dict[str, float] = field(default_factory=dict)
    contract: "ContractPlan | None" = None


@dataclass(frozen=True, slots=True)
class AnswerLayer:
    """From probabilities to answers.

    Attributes:
        plan: As ``layers.json`` has it, ``answer``; empty: nothing is changed.
        held: Truth and the estimator's own answers on the rows that calibration and threshold were fitted on,
            calibrated; None: nothing was fitted.
    """

    plan: dict[str, Any] = field(default_factory=dict)
    held: "Outcome | None" = None


@dataclass(frozen=True, slots=True)
class GuardLayer:
    """A fitted guard.

    Attributes:
        plan: As the guard's file has it.
        arrays: Its arrays by name.
        guard: Ready to judge rows of features.
    """

    plan: dict[str, Any] = field(repr=False)
    arrays: "dict[str, NDArray[Any]]" = field(repr=False)
    guard: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model in memory.

    Attributes:
        pipeline: From the row layer's features to answers: ``columns``, then ``model``.
        params: The parameters a search chose; empty without one.
        answers: How its probabilities become answers.
        guard: What is refused before that; None: nothing.
    """

    pipeline: Any
    params: dict[str, Any] = field(default_factory=dict)
    answers: AnswerLayer = AnswerLayer()
    guard: GuardLayer | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Truth and answers of the held-out rows.

    Attributes:
        task: What kind of answers.
        classes: Labels, sorted; the last one of two is the positive class. Empty for regression.
        truth: Shape (rows,).
        answers: Shape (rows,).
        probabilities: Shape (rows, classes); None if the estimator gives none.
    """

    task: "TaskKind"
    classes: tuple[Any, ...]
    truth: "NDArray[Any]"
    answers: "NDArray[Any]"
    probabilities: "NDArray[np.float64] | None"


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model with its judgement.

    Attributes:
        fitted: The model.
        outcome: Its answers on the held-out rows.
        features: The held-out rows after the row layer.
        metrics: Quality, by name.
        raw: What the estimator itself says about them, before calibration and threshold.
        typicality: How typical the guard finds each of them; None without a guard.
    """

    fitted: Fitted
    outcome: Outcome
    features: "pd.DataFrame" = field(repr=False)
    metrics: dict[str, float] = field(default_factory=dict)
    raw: Outcome | None = None
    typicality: "NDArray[np.float64] | None" = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished training: a run and a candidate version.

    Attributes:
        model: The registered model's name.
        version: The new version, as MLflow counts.
        run_id: The run.
        experiment_id: Its experiment.
        metrics: Quality on the held-out rows, by name, each in its own unit.
        warnings: Sentences a person should read before trusting the model.
        link: The run's page in the MLflow UI; a path after ``#`` where there is no server to name.
        task: ``binary``, ``multiclass`` or ``regression``.
        pipeline: The fitted scikit-learn pipeline, raw rows in: ``rows``, ``columns``, ``model``. Contract,
            guard and answers of the job come before and after it, in the model only.
        durations_s: Seconds per step.
    """

    model: str
    version: str
    run_id: str
    experiment_id: str
    metrics: dict[str, float]
    warnings: tuple[str, ...]
    link: str
    task: "TaskKind"
    pipeline: Any = field(repr=False)
    durations_s: dict[str, float] = field(repr=False)
