"""What a training job is: the sections of a job file, typed and checked.

Every key is described in ``docs/reference/job-file.md``. Reading files and wording mistakes is ``jobfile``'s.
"""

import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from registry import check_model_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AnswerSection",
    "ContractSection",
    "CostSection",
    "DataSection",
    "EvaluationSection",
    "FeaturesSection",
    "GuardSection",
    "Job",
    "JobSection",
    "JobSpec",
    "LookupSection",
    "ModelSection",
    "OnlineSection",
    "SearchSection",
    "SplitSection",
]

ColumnType = Literal["number", "category", "datetime", "boolean"]
DatetimePart = Literal[
    "year", "quarter", "month", "week", "day", "dayofyear", "weekday", "hour", "minute", "minute_of_day"
]


def _read_moment(value: object) -> object:
    """A date or time in TOML, or text; times without a zone are the data's own."""
    if isinstance(value, str):
        return dt.datetime.fromisoformat(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    return value


Moment = Annotated[dt.datetime, BeforeValidator(_read_moment)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobSection(_Section):
    """Who the job is."""

    name: Annotated[
        str, BeforeValidator(lambda name: check_model_name(name) if isinstance(name, str) else name)
    ]
    experiment: str | None = None
    description: str = ""
    seed: NonNegativeInt = 0


class DataSection(_Section):
    """Where the rows come from, and which column is the answer."""

    source: str
    query: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    target: str
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    time: str | None = None
    types: dict[str, ColumnType] = Field(default_factory=dict)
    missing_target: Literal["refuse", "drop"] = "refuse"


class SplitSection(_Section):
    """Which rows are learned from, and which are held out."""

    kind: Literal["auto", "time", "random", "stratified"] = "auto"
    fraction: float | None = Field(default=None, gt=0, lt=1)
    train_from: Moment | None = None
    train_until: Moment | None = None
    evaluate_until: Moment | None = None
    group: str | None = None


def _read_age(value: object) -> object:
    """``"90min"`` and its like as seconds."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(s|min|h|d)\s*", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('it is no length of time such as "45s", "90min", "6h" or "2d"')
    return int(found[1]) * {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[found[2]]


class LookupSection(_Section):
    """A second table whose columns become features: by exact keys, and the latest row by then if wanted."""

    source: str
    query: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    on: dict[str, str] = Field(default_factory=dict)
    as_of: dict[str, str] | None = Field(default=None, min_length=1, max_length=1)
    max_age: Annotated[int, BeforeValidator(_read_age)] | None = None
    floor: Literal["minute", "hour", "day"] | None = None
    columns: list[str] = Field(min_length=1)
    prefix: str = ""

    @model_validator(mode="after")
    def _check_keys(self) -> "LookupSection":
        if not self.on and self.as_of is None:
            raise ValueError("a lookup needs on, as_of or both")
        if self.max_age is not None and self.as_of is None:
            raise ValueError("max_age needs as_of, which says of what")
        return self


class FeaturesSection(_Section):
    """What the model may look at; without numeric, categorical and datetime: every column but the target."""

    numeric: list[str] | None = None
    categorical: list[str] | None = None
    datetime: dict[str, list[DatetimePart]] = Field(default_factory=dict)
    lookup: list[LookupSection] = Field(default_factory=list)
    leaks: list[str] = Field(default_factory=list)
    encoding: Literal["auto", "onehot", "ordinal", "target"] = "auto"

    @property
    def is_automatic(self) -> bool:
        """Whether the features are all columns that are left."""
        return self.numeric is None and self.categorical is None and not self.datetime


class ModelSection(_Section):
    """The estimator, by import path, and what the model answers with unless asked otherwise."""

    estimator: str
    params: dict[str, Any] = Field(default_factory=dict)
    output: Literal["answer", "probability", "full"] = "answer"


class SearchSection(_Section):
    """Which parameters to try. A list is a choice; ``{low, high, log, step}`` is a range."""

    method: Literal["optuna", "random", "grid"] = "optuna"
    trials: PositiveInt = 20
    metric: str | None = None
    space: dict[str, list[Any] | dict[str, Any]] = Field(min_length=1)


class ContractSection(_Section):
    """What rows must look like, beyond what the training rows say, and what becomes of one that does not."""

    mode: Literal["refuse", "warn", "off"] = "warn"
    tolerance: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    max_categories: PositiveInt = 100
    ranges: dict[str, Any] = Field(default_factory=dict)
    categories: dict[str, Any] = Field(default_factory=dict)
    rules: list[str] = Field(default_factory=list)


class ImportanceSection(_Section):
    """How permutation importance is measured."""

    rows: NonNegativeInt = 1000
    repeats: PositiveInt = 2


class EvaluationSection(_Section):
    """What is kept of the evaluation."""

    max_rows: PositiveInt = 100_000
    plots: bool = True
    importance: ImportanceSection = ImportanceSection()


class OnlineSection(_Section):
    """How a stream of events is learned from (``train-model --online``)."""

    stream: str = "main"
    available: str | None = None
    warmup: str = "1000 events"
    step: str | None = None
    snapshot: str = "10000 events"
    holdout: float = Field(default=0.1, gt=0, lt=0.9)
    judged: str | None = None
    window: PositiveInt = 2000
    classes: list[int | str | bool] | None = None
    lateness: str = "30 days"
    poll: str = "10 seconds"


class CostSection(_Section):
    """What each mistake costs, in any unit; of two classes the second is the one that can be missed."""

    false_alarm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    miss: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class AnswerSection(_Section):
    """How probabilities become answers."""

    labels: dict[str, str] = Field(default_factory=dict)
    calibrate: Literal["none", "sigmoid", "isotonic"] = "none"
    threshold: float | None = Field(default=None, gt=0, lt=1)
    cost: CostSection | None = None
    held_out: float = Field(default=0.2, gt=0, lt=1)

    @property
    def learns(self) -> bool:
        """Whether rows are needed that the estimator does not learn from."""
        return self.calibrate != "none" or self.cost is not None

    @model_validator(mode="after")
    def _check(self) -> "AnswerSection":
        if self.threshold is not None and self.cost is not None:
            raise ValueError("threshold and cost exclude each other: a cost chooses the threshold")
        for label in self.labels.values():
            if list(self.labels.values()).count(label) > 1:
                raise ValueError(f"two classes have the label {label!r}")
        return self


class GuardSection(_Section):
    """What is answered *nothing found*."""

    false_refusal: float = Field(default=0.01, gt=0, lt=0.5)
    space: Literal["scaled", "pixels"] = "scaled"
    components: NonNegativeInt = 0
    neighbours: int = Field(default=3, ge=1, le=50)
    features: list[str] | None = Field(default=None, min_length=1)
    held_out: float = Field(default=0.2, gt=0, lt=1)
    max_rows: int = Field(default=2000, ge=10, le=20_000)


class JobSpec(_Section):
    """A whole job file."""

    job: JobSection
    data: DataSection
    split: SplitSection = SplitSection()
    features: FeaturesSection = FeaturesSection()
    model: ModelSection
    search: SearchSection | None = None
    evaluation: EvaluationSection = EvaluationSection()
    contract: ContractSection = ContractSection()
    answer: AnswerSection = AnswerSection()
    guard: GuardSection | None = None
    online: OnlineSection | None = None

    @model_validator(mode="after")
    def _check_split(self) -> "JobSpec":
        split = self.split
        dates = [split.train_from, split.train_until, split.evaluate_until]
        is_time = split.kind == "time" or (split.kind == "auto" and self.data.time is not None)
        if is_time and self.data.time is None:
            raise ValueError("a split by time needs data.time, the column with the moment of each row")
        if any(dates) and not is_time:
            raise ValueError("split.train_from, train_until and evaluate_until need a split by time")
        if split.fraction is not None and any((split.train_until, split.evaluate_until)):
            raise ValueError("split.fraction and dates exclude each other")
        if split.evaluate_until is not None and split.train_until is None:
            raise ValueError("split.evaluate_until needs split.train_until")
        if split.train_from and split.train_until and split.train_from >= split.train_until:
            raise ValueError("split.train_from must lie before split.train_until")
        if split.train_until and split.evaluate_until and split.evaluate_until <= split.train_until:
            raise ValueError("split.evaluate_until must lie after split.train_until, where evaluation begins")
        if split.kind == "stratified" and split.group is not None:
            raise ValueError(
                "split.kind 'stratified' cannot keep groups together; use 'random' with split.group"
            )
        return self


@dataclass(frozen=True, slots=True)
class Job:
    """A job that can be trained.

    Attributes:
        spec: What the job file says.
        folder: What relative paths in it are relative to.
        frame: The rows themselves, for a job made in Python; None: read ``data.source``.
        path: The job file, if there is one.
    """

    spec: JobSpec
    folder: Path
    frame: "pd.DataFrame | None" = field(default=None, repr=False, compare=False)
    path: Path | None = None

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self.spec.job.name

    @property
    def experiment(self) -> str:
        """The experiment its runs go to."""
        return self.spec.job.experiment or self.spec.job.name

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        *,
        name: str,
        target: str,
        estimator: str = "sklearn.ensemble.HistGradientBoostingClassifier",
        params: dict[str, Any] | None = None,
        **sections: dict[str, Any],
    ) -> "Job":
        """A job from rows in memory.

        Args:
            frame: The rows, one column per feature and one for the target.
            name: The registered model's name.
            target: The column with the answer.
            estimator: Import path of a scikit-learn-compatible estimator.
            params: Its parameters.
            **sections: Further sections as in a job file, e.g. ``split={"fraction": 0.3}``.

        Raises:
            UsageError: A section is written wrongly.
        """
        from .jobfile import check_spec  # noqa: PLC0415 - jobfile words the mistakes, and knows this class

        content = {key: dict(value) for key, value in sections.items()}
        content["job"] = {"name": name, **content.get("job", {})}
        content["data"] = {"source": "memory", "target": target, **content.get("data", {})}
        content["model"] = {"estimator": estimator, "params": params or {}, **content.get("model", {})}
        return cls(check_spec(content, "the job"), Path.cwd(), frame)
