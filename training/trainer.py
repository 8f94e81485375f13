"""The course of a training: read and check, fit, judge, write down, register.

Everything that the data or the job can be refused for is found before a run exists. A version is registered
last, when its run is FINISHED and all its files are stored.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from registry import Settings, read_settings

from .answering import apply_answers, check_answers, fit_answers
from .contract import plan_contract
from .dataset import make_target, read_rows
from .estimator import make_estimator
from .features import plan_features
from .fitting import answer, fit_pipeline, make_features, make_pipeline
from .guarding import check_guard, fit_guard
from .job import Job
from .layer_figures import measure_layers
from .metrics import measure
from .progress import Progress, SilentProgress
from .provenance import Stopwatch
from .result import Fitted, Trained, TrainingPlan, TrainingResult
from .search import OpenTrial, check_search, search
from .split import carve, make_split, narrow
from .suspects import SAMPLE_ROWS, find_suspects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["fit_model", "plan_training", "train"]

WORKERS: Final = 3
"""Threads beside the main one: data is hashed during the fit, the model written while it is judged."""


def plan_training(job: Job, progress: Progress | None = None) -> TrainingPlan:
    """Reads and checks everything; writes nothing.

    Raises:
        UsageError: The job is written wrongly.
        DataError: The data cannot be used as asked.
        AccessDeniedError: A secret is wrong, or a bucket does not exist.
        UnreachableError: A data source gives no answer.
    """
    from sklearn.base import is_classifier  # noqa: PLC0415 - slow import

    watch, progress = Stopwatch(), progress or SilentProgress()
    progress.step("Reading the data")
    estimator = make_estimator(job.spec)
    with watch.time("read"):
        dataset = read_rows(job)
    progress.step("Checking it")
    with watch.time("check"):
        target = make_target(job, dataset, is_classifier=is_classifier(estimator))
        used, target, split = narrow(dataset, target, make_split(job.spec, dataset, target))
        features, rows = plan_features(job, used)
        contract = plan_contract(job.spec, features, rows, split, dataset.text)
        plan = TrainingPlan(job, dataset, target, features, rows, split, (), watch.durations_s, contract)
        check_search(plan)
        check_answers(plan)
        check_guard(plan)
        told = (contract.warning,) if contract and contract.warning else ()
        plan = replace(plan, warnings=(*_find_suspects(plan), *told))
    for warning in plan.warnings:
        progress.warn(warning)
    return plan


def train(job: Job, *, settings: Settings | None = None, progress: Progress | None = None) -> TrainingResult:
    """Trains the job and registers the result as a candidate version.

    Args:
        job: From :func:`read_job` or :meth:`Job.from_frame`.
        settings: Where MLflow is; read from the environment if None.
        progress: Is told what happens; nothing if None.

    Raises:
        UsageError: The job is written wrongly.
        DataError: The data cannot be used as asked.
        AccessDeniedError: A secret is wrong, or a bucket does not exist.
        UnreachableError: A data source or MLflow gives no answer.
    """
    progress = progress or SilentProgress()
    try:
        return _train(plan_training(job, progress), settings or read_settings(), progress)
    finally:
        progress.close()


def _train(plan: TrainingPlan, settings: Settings, progress: Progress) -> TrainingResult:
    from .recording import Recorder, list_tags, register_training  # noqa: PLC0415 - imports mlflow
    from .tracking import Tracker  # noqa: PLC0415 - imports mlflow

    tracker, watch = Tracker(settings), Stopwatch(plan.durations_s)
    with (
        tracker.open_run(plan.job.experiment, list_tags(plan)) as run,
        ThreadPoolExecutor(WORKERS) as pool,
        Recorder(run, plan, pool) as recorder,
    ):
        progress.step("Fitting")
        with watch.time("fit"):
            learn = make_features(plan, plan.rows.iloc[plan.split.train])
            fitted = _fit(plan, learn, partial(tracker.open_trial, run), progress)
        progress.step("Judging")
        with watch.time("evaluate"):
            recorder.start_package(fitted)
            judge = make_features(plan, plan.rows.iloc[plan.split.evaluate])
            truth = plan.target.truth.iloc[plan.split.evaluate].to_numpy()
            raw = answer(fitted.pipeline, judge, truth, plan)
            outcome = apply_answers(fitted.answers, raw)
            typicality = fitted.guard.guard.judge(judge)[0] if fitted.guard else None
        progress.step("Writing it down")
        with watch.time("record"):
            trained = Trained(fitted, outcome, judge, measure(outcome), raw, typicality)
            trained = replace(trained, metrics=trained.metrics | measure_layers(plan, trained))
            record = recorder.finish(trained)
    if record.warning:
        progress.warn(record.warning)
    return register_training(tracker, run, record, trained)


def _fit(plan: TrainingPlan, features: "pd.DataFrame", open_trial: OpenTrial, progress: Progress) -> Fitted:
    learn, _ = _divide(plan)
    inner = replace(plan, split=replace(plan.split, train=plan.split.train[learn]))
    best = search(inner, features.iloc[learn], open_trial, progress)
    return fit_model(plan, features, best.params if best else {})


def fit_model(
    plan: TrainingPlan, features: "pd.DataFrame", params: "Mapping[str, Any] | None" = None
) -> Fitted:
    """Fits every layer.

    Args:
        plan: The job and its data.
        features: All rows to learn from, after the row layer.
        params: Of the estimator, over the job's own.

    Raises:
        UsageError: The estimator does not accept its parameters' values.
        DataError: It, or a layer after it, does not accept the data.
    """
    truth = plan.target.truth.iloc[plan.split.train].to_numpy()
    learn, held = _divide(plan)
    pipeline = make_pipeline(plan.job.spec, plan.features, **(params or {}))
    fit_pipeline(pipeline, features.iloc[learn], truth[learn])
    answers = fit_answers(plan, pipeline, features.iloc[held], truth[held])
    return Fitted(pipeline, dict(params or {}), answers, fit_guard(plan, features))


def _divide(plan: TrainingPlan) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Places of the rows that the estimator learns from, and of those that its answers are fitted on."""
    section = plan.job.spec.answer
    if section.learns:
        return carve(plan.job.spec, plan.target, plan.split, section.held_out, "the answers")
    return np.arange(len(plan.split.train)), np.arange(0)


def _find_suspects(plan: TrainingPlan) -> tuple[str, ...]:
    """On a seeded sample of the training rows."""
    chosen = np.random.default_rng(plan.job.spec.job.seed).permutation(plan.split.train)[:SAMPLE_ROWS]
    target = replace(plan.target, truth=plan.target.truth.iloc[chosen])
    return tuple(find_suspects(make_features(plan, plan.rows.iloc[chosen]), target))
