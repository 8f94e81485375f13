"""Searches parameters: Optuna or scikit-learn's samplers; trials are cross-validated on the training rows.

Folds, and trials that do not rest on one another, go through joblib: one after the other in this process, or
to the cluster of an :mod:`~training.engine`; the results are the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import pandas as pd

from registry import UsageError

from .engine import is_spread, spread, stay_here
from .fitting import answer, fit_pipeline, has_probability, make_pipeline
from .job import SearchSection
from .jobfile import guess
from .metrics import DIRECTIONS, MAIN_METRICS, measure
from .progress import Progress
from .result import TrainingPlan

__all__ = ["OpenTrial", "SearchResult", "TrialLog", "check_search", "search"]

FOLDS = 3


class TrialLog(Protocol):
    """Where a trial is written down: a child run."""

    def finish(self, metrics: dict[str, float]) -> None:
        """How good the trial is."""


OpenTrial = Callable[[int, Mapping[str, Any]], AbstractContextManager[TrialLog]]
"""Opens the log of a trial, by its number and parameters, and closes it, however the trial ends."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best trial. ``trial`` counts from 0."""

    trial: int
    params: dict[str, Any]
    metric: str
    score: float


def check_search(plan: TrainingPlan) -> None:
    """Refuses what can be known to fail before anything is written.

    Raises:
        UsageError: Optuna is missing, a metric or parameter is unknown, or a space is written wrongly.
    """
    section = plan.job.spec.search
    if section is None:
        return
    if section.method == "optuna":
        _import_optuna()
    _pick_metric(section, plan)
    for name, space in section.space.items():
        if section.method != "optuna" and not isinstance(space, list) and section.method == "grid":
            raise UsageError(f"search.space.{name}: a grid needs a list of values.")
        _check_space(name, space)
    make_pipeline(plan.job.spec, plan.features, **next(_propose_first(section)))


def search(
    plan: TrainingPlan,
    features: pd.DataFrame,
    open_trial: OpenTrial,
    progress: Progress,
) -> SearchResult | None:
    """Runs the job's search; None if it has none.

    Args:
        plan: The job and its data.
        features: The training rows after the row layer.
        open_trial: Opens the log of a trial.
        progress: Is told.
    """
    section = plan.job.spec.search
    if section is None:
        return None
    metric = _pick_metric(section, plan)
    sign = 1.0 if DIRECTIONS[metric] == "higher" else -1.0
    judge = _Judge(plan, features, list(_make_folds(plan)))
    best: SearchResult | None = None
    proposals: Iterable[Proposal] = _propose(section, plan.job.spec.job.seed, sign)
    ahead: Iterator[dict[str, float]] | None = None
    if section.method != "optuna":  # Optuna learns from each trial
        proposals = list(proposals)
        ahead = judge.start([params for params, _ in proposals])
    progress.start_trials(_count(section))
    for number, (params, tell) in enumerate(proposals):
        with open_trial(number, params) as log:
            metrics = judge.average(ahead or judge.start([params]))
            log.finish(metrics)
        tell(metrics[metric])
        if best is None or sign * metrics[metric] > sign * best.score:
            best = SearchResult(number, params, metric, metrics[metric])
        progress.finish_trial(f"best {metric} {best.score:.4f}")
    return best


class _Judge:
    """Cross-validates parameters."""

    def __init__(self, plan: TrainingPlan, features: pd.DataFrame, folds: list[tuple[Any, Any]]) -> None:
        self._truth = plan.target.truth.iloc[plan.split.train].to_numpy()
        self._plan, self._features, self._folds = _slim(plan), features, folds

    def start(self, trials: Iterable[dict[str, Any]]) -> Iterator[dict[str, float]]:
        """Metrics of every fold of every trial, in order; in one process each is computed when asked for."""
        from joblib import Parallel, delayed  # noqa: PLC0415 - slow import

        validate = _validate_there if is_spread() else _validate
        tasks = (
            delayed(validate)(
                self._plan, self._features, self._truth, learn=learn, judge=judge, params=params
            )
            for params in trials
            for learn, judge in self._folds
        )
        with spread():
            return iter(Parallel(return_as="generator")(tasks))

    def average(self, results: Iterator[dict[str, float]]) -> dict[str, float]:
        """Mean of each metric over the folds of the next trial."""
        of_folds = list(islice(results, len(self._folds)))
        names = set.intersection(*(set(result) for result in of_folds))
        return {name: float(np.mean([result[name] for result in of_folds])) for name in sorted(names)}


def _validate(
    plan: TrainingPlan, features: pd.DataFrame, truth: Any, *, learn: Any, judge: Any, params: dict[str, Any]
) -> dict[str, float]:
    """Metrics of one fold."""
    pipeline = make_pipeline(plan.job.spec, plan.features, **params)
    fit_pipeline(pipeline, features.iloc[learn], truth[learn])
    return measure(answer(pipeline, features.iloc[judge], truth[judge], plan))


def _validate_there(*values: Any, **more: Any) -> dict[str, float]:
    """The same, as a task of a cluster."""
    with stay_here():
        return _validate(*values, **more)


def _slim(plan: TrainingPlan) -> TrainingPlan:
    """The plan without rows and tables: it travels with every task."""
    none = np.arange(0)
    return replace(
        plan,
        job=replace(plan.job, frame=None),
        dataset=replace(plan.dataset, frame=plan.dataset.frame.iloc[:0]),
        target=replace(plan.target, truth=plan.target.truth.iloc[:0]),
        features=replace(plan.features, tables=()),
        rows=plan.rows.iloc[:0],
        split=replace(plan.split, train=none, evaluate=none, groups=None, moments=None),
        contract=None,
    )


def _make_folds(plan: TrainingPlan) -> Iterator[tuple[Any, Any]]:
    """Folds as in the job's own split: later rows are never learned from to judge earlier ones."""
    from sklearn import model_selection  # noqa: PLC0415 - slow import

    split, spec = plan.split, plan.job.spec
    rows = np.arange(len(split.train))
    if split.moments is not None and spec.split.kind in {"time", "auto"}:
        order = np.argsort(split.moments.iloc[split.train].to_numpy(), kind="stable")
        for learn, judge in model_selection.TimeSeriesSplit(FOLDS).split(rows):
            yield order[learn], order[judge]
        return
    truth = plan.target.truth.iloc[split.train].to_numpy()
    if split.groups is not None:
        groups = split.groups.iloc[split.train].to_numpy()
        yield from model_selection.GroupKFold(FOLDS).split(rows, truth, groups)
    elif plan.target.classes:
        seed = spec.job.seed
        yield from model_selection.StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, truth)
    else:
        yield from model_selection.KFold(FOLDS, shuffle=True, random_state=spec.job.seed).split(rows)


def _pick_metric(section: SearchSection, plan: TrainingPlan) -> str:
    if section.metric is not None:
        if section.metric not in DIRECTIONS:
            hint = guess(section.metric, DIRECTIONS) or f"Known: {', '.join(DIRECTIONS)}."
            raise UsageError(f"search.metric: {section.metric!r} is unknown.", hint=hint)
        return section.metric
    main = MAIN_METRICS[plan.target.task]
    sure = has_probability(make_pipeline(plan.job.spec, plan.features))
    return main if sure or plan.target.task == "regression" else "accuracy"


Proposal = tuple[dict[str, Any], Callable[[float], None]]


def _propose(section: SearchSection, seed: int, sign: float) -> Iterator[Proposal]:
    if section.method == "optuna":
        return _propose_by_optuna(section, seed, sign)
    from sklearn.model_selection import ParameterGrid, ParameterSampler  # noqa: PLC0415 - slow import

    if section.method == "grid":
        return ((dict(params), _forget) for params in ParameterGrid(section.space))
    space = {name: _to_scipy(space) for name, space in section.space.items()}
    sampler = ParameterSampler(space, n_iter=_count(section), random_state=seed)
    return ((_to_plain(params), _forget) for params in sampler)


def _propose_by_optuna(section: SearchSection, seed: int, sign: float) -> Iterator[Proposal]:
    optuna = _import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "maximize" if sign > 0 else "minimize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    space = {name: _to_optuna(optuna, space) for name, space in section.space.items()}
    for _ in range(section.trials):
        trial = study.ask(space)

        def tell(value: float, trial: Any = trial) -> None:
            study.tell(trial, value)

        yield dict(trial.params), tell


def _count(section: SearchSection) -> int:
    sizes = [len(space) for space in section.space.values() if isinstance(space, list)]
    if section.method == "grid":
        return int(np.prod(sizes))
    if section.method == "random" and len(sizes) == len(section.space):
        return min(section.trials, int(np.prod(sizes)))
    return section.trials


def _propose_first(section: SearchSection) -> Iterator[dict[str, Any]]:
    yield {
        name: space[0] if isinstance(space, list) else space["low"] for name, space in section.space.items()
    }


def _check_space(name: str, space: list[Any] | dict[str, Any]) -> None:
    if isinstance(space, list):
        if not space:
            raise UsageError(f"search.space.{name}: the list is empty.")
        return
    unknown = sorted(set(space) - {"low", "high", "log", "step"})
    if unknown:
        hint = guess(unknown[0], ("low", "high", "log", "step")) or "Known: low, high, log, step."
        raise UsageError(f"search.space.{name} has no key {unknown[0]!r}.", hint=hint)
    numbers = [space.get(key) for key in ("low", "high")]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise UsageError(f"search.space.{name}: a range needs the numbers low and high.")
    if space["low"] >= space["high"]:
        raise UsageError(f"search.space.{name}: low must be below high.")
    if space.get("log") and (space["low"] <= 0 or space.get("step")):
        raise UsageError(f"search.space.{name}: a log range needs low above 0 and no step.")


def _is_whole(space: dict[str, Any]) -> bool:
    return all(isinstance(space.get(key, 1), int) for key in ("low", "high", "step"))


def _to_optuna(optuna: Any, space: list[Any] | dict[str, Any]) -> Any:
    if isinstance(space, list):
        return optuna.distributions.CategoricalDistribution(space)
    low, high, log = space["low"], space["high"], bool(space.get("log"))
    if _is_whole(space):
        return optuna.distributions.IntDistribution(low, high, log=log, step=space.get("step", 1))
    return optuna.distributions.FloatDistribution(low, high, log=log, step=space.get("step"))


def _to_scipy(space: list[Any] | dict[str, Any]) -> Any:
    from scipy import stats  # noqa: PLC0415 - slow import

    if isinstance(space, list):
        return space
    low, high = space["low"], space["high"]
    if space.get("step"):
        return np.arange(low, high + space["step"] / 2, space["step"]).tolist()
    if space.get("log"):
        if _is_whole(space):
            return np.unique(np.geomspace(low, high, 50).round().astype(int)).tolist()
        return stats.loguniform(low, high)
    return stats.randint(low, high + 1) if _is_whole(space) else stats.uniform(low, high - low)


def _to_plain(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}


def _forget(_: float) -> None:
    """A sampler that does not learn from its trials."""


def _import_optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UsageError(
            "search.method is optuna, which is not installed.",
            hint="Install greenroom[search], or use method = 'random'.",
        ) from error
    return optuna
