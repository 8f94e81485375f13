"""What a team asks of a version before it moves: ``policy.toml``, validated, with a digest."""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import UsageError

__all__ = [
    "ApprovalPolicy",
    "CalibrationPolicy",
    "EvaluationPolicy",
    "LatencyPolicy",
    "MetricPolicy",
    "MonitorPolicy",
    "Policy",
    "SlicesPolicy",
    "read_policy",
]

MetricName = Literal[
    "auto", "log_loss", "brier", "error", "roc_auc", "squared_error", "absolute_error", "pinball"
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationPolicy(_Section):
    """Rows to judge by, where the candidate's run brings none.

    Attributes:
        data: File, folder, ``s3://`` URI or database URL; ``--data`` says otherwise.
        query: What to ask the database (name an order: other rows are another question).
        target: Column with the truth.
        group: Column whose equal values mark rows that depend on each other; None: every row by itself.
        task: What is predicted; ``auto`` looks at the target.
    """

    data: str | None = None
    query: str | None = None
    target: str | None = None
    group: str | None = None
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"


class MetricPolicy(_Section):
    """What "better than the holder" means.

    Attributes:
        name: The metric; ``auto``: squared error for regression, log loss where both models answer with
            probabilities, else the error rate.
        mode: ``superiority``, or ``non_inferiority``: no worse than the margin, neither than the holder nor
            than the best version that was ever in production.
        margin: How much worse is still acceptable, in the metric's own unit. Non-inferiority only.
        effect: The smallest improvement worth promoting for, in the metric's own unit: what power and "rows
            needed" are about. None: 0.01, for regression 2 % of the holder's loss.
        floor: What the candidate must reach by itself: a loss at most, a ROC AUC at least.
        quantile: Which quantile is predicted (``pinball``).
    """

    name: MetricName = "auto"
    mode: Literal["superiority", "non_inferiority"] = "superiority"
    margin: float | None = Field(default=None, gt=0)
    effect: float | None = Field(default=None, gt=0)
    floor: float | None = None
    quantile: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_margin(self) -> "MetricPolicy":
        if self.mode == "non_inferiority" and self.margin is None:
            raise ValueError("non_inferiority needs a margin, in the metric's own unit")
        if self.mode == "superiority" and self.margin is not None:
            raise ValueError('a margin needs mode = "non_inferiority"')
        return self


class SlicesPolicy(_Section):
    """Parts of the rows that must not get worse.

    Attributes:
        columns: Columns whose values make slices.
        margin: How much worse a slice may get, in the metric's own unit.
        min_rows: Slices with fewer rows are shown, and do not decide.
    """

    columns: tuple[str, ...] = ()
    margin: float = Field(default=0.0, ge=0)
    min_rows: int = Field(default=100, ge=2)


class CalibrationPolicy(_Section):
    """Whether the candidate's probabilities come true.

    Attributes:
        max_error: Largest expected calibration error (0 to 1); None: not asked.
    """

    max_error: float | None = Field(default=None, gt=0, lt=1)


class LatencyPolicy(_Section):
    """Time and memory of predicting, measured beside the holder in one interleaved run.

    Attributes:
        max_ratio: Largest median time of one row and of a batch, as a multiple of the holder's.
        max_ms: Largest median time of one row, milliseconds.
        max_batch_ms: The same of a batch.
        batch_rows: Rows in a batch.
        repeats: Calls that are timed, each kind and model.
        max_memory_ratio: Largest memory of the process, as a multiple of the holder's.
        max_memory_mb: Largest memory of the process, MB.
    """

    max_ratio: float | None = Field(default=None, gt=0)
    max_ms: float | None = Field(default=None, gt=0)
    max_batch_ms: float | None = Field(default=None, gt=0)
    batch_rows: int = Field(default=1000, ge=1)
    repeats: int = Field(default=30, ge=5)
    max_memory_ratio: float | None = Field(default=None, gt=0)
    max_memory_mb: float | None = Field(default=None, gt=0)

    @property
    def is_asked(self) -> bool:
        """Whether any limit is set."""
        limits = (self.max_ratio, self.max_ms, self.max_batch_ms, self.max_memory_ratio, self.max_memory_mb)
        return any(limit is not None for limit in limits)


class ApprovalPolicy(_Section):
    """Whose word a promotion to production needs.

    Attributes:
        required: Whether it needs any.
        four_eyes: Whether it must be somebody else than who asked for the promotion.
        self_declared: Whether, for four eyes, the name that somebody gives themselves counts; without it,
            only a user whom MLflow authenticated.
    """

    required: bool = False
    four_eyes: bool = False
    self_declared: bool = False


class MonitorPolicy(_Section):
    """What ``monitor-model`` calls drift or worse quality, and what follows. Promotions do not look at it.

    Attributes:
        level: Share of quiet windows that may be called drifted, all columns together.
        min_effect: Share of a column's rows that must have moved for it to count.
        min_rows: Predictions below which a window is not judged.
        windows: So many windows in a row must say the same before it is an alarm.
        ignore: Columns that nobody wants compared.
        margin: How much worse live quality may be than on the reference, in the metric's own unit; None:
            0.01, for regression 2 % of the reference's loss.
        truth_share: Share of a window's predictions whose truth must be known before its quality is judged.
        on_drift: What an alarm about inputs or scores leads to.
        on_quality: What an alarm about live quality leads to.
    """

    level: float = Field(default=0.05, gt=0, lt=0.5)
    min_effect: float = Field(default=0.05, ge=0, lt=1)
    min_rows: int = Field(default=200, ge=20)
    windows: int = Field(default=2, ge=1, le=20)
    ignore: tuple[str, ...] = ()
    margin: float | None = Field(default=None, ge=0)
    truth_share: float = Field(default=0.8, gt=0, le=1)
    on_drift: Literal["nothing", "retrain"] = "nothing"
    on_quality: Literal["nothing", "retrain", "rollback"] = "nothing"


class Policy(_Section):
    """A policy; without a file these defaults hold (superiority for production, and integrity everywhere).

    Attributes:
        confidence: One minus the error budget that all attempts against one holder share.
        trust: ``checked`` refuses artifacts that would run code nobody vouched for; ``author`` runs them,
            as MLflow does everywhere.
        allow_override: Whether ``--override`` may be used.
        timeout_s: Seconds a model may take to load and answer.
        signature: ``compatible``: whoever calls the holder can call the candidate in the same way.
        contract: Whether the artifact must carry a data contract (``contract.json``).
        guard: Whether it must carry a guard that answers *nothing found* (``guard.json``).
        max_refused: Largest share of the evaluation rows that the candidate's guard may refuse.
        evaluation: Rows to judge by.
        metric: What better means.
        slices: What must not get worse.
        calibration: Whether probabilities come true.
        latency: What predicting may cost.
        approval: Whose word it needs.
        monitor: What live predictions are watched for, and what follows.
        gates: Settings of the team's own gates (entry point ``greenroom.gates``), by name; only gates that
            are named here are asked.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    trust: Literal["checked", "author"] = "checked"
    allow_override: bool = True
    timeout_s: float = Field(default=600.0, gt=0)
    signature: Literal["any", "compatible"] = "any"
    contract: bool = False
    guard: bool = False
    max_refused: float | None = Field(default=None, ge=0, lt=1)
    evaluation: EvaluationPolicy = Field(default_factory=EvaluationPolicy)
    metric: MetricPolicy = Field(default_factory=MetricPolicy)
    slices: SlicesPolicy = Field(default_factory=SlicesPolicy)
    calibration: CalibrationPolicy = Field(default_factory=CalibrationPolicy)
    latency: LatencyPolicy = Field(default_factory=LatencyPolicy)
    approval: ApprovalPolicy = Field(default_factory=ApprovalPolicy)
    monitor: MonitorPolicy = Field(default_factory=MonitorPolicy)
    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def alpha(self) -> float:
        """The chance, over all attempts against one holder, that an equal version is called better."""
        return 1 - self.confidence

    @property
    def asks_rows(self) -> bool:
        """Whether a candidate is measured on rows even where there is no holder to compare with."""
        limits = (self.metric.floor, self.calibration.max_error, self.max_refused)
        return bool(any(limit is not None for limit in limits) or self.gates)

    def compute_digest(self) -> str:
        """sha256 over what decides a promotion, in hexadecimal; the order it is written in is no value.

        ``[monitor]`` is left out: watching otherwise is no other question to a candidate.
        """
        values = json.dumps(self.model_dump(mode="json", exclude={"monitor"}), sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()


def read_policy(path: Path | None) -> Policy:
    """Reads a policy file; None gives the defaults.

    Raises:
        UsageError: It is missing, no TOML, or a key or value is wrong; names file and key.
    """
    if path is None:
        return Policy()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The policy {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The policy {path} is no TOML: {error}.") from error
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise UsageError(_word(path, error.errors()[0])) from error


def _word(path: Path, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(_list_keys()), n=1)
        return f"{path}: there is no key {key!r}." + (f" Did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "value_error":
        return f"{path}: {key}: {problem['ctx']['error']}."
    return f"{path}: {key}: {problem['msg'].lower()} (found {problem['input']!r})."


def _list_keys() -> Iterator[str]:
    for name, what in Policy.model_fields.items():
        kind = what.annotation
        if isinstance(kind, type) and issubclass(kind, _Section):
            yield from (f"{name}.{inner}" for inner in kind.model_fields)
        else:
            yield name
