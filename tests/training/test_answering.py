"""Labels, calibration, thresholds: fitted on rows of their own; the model decides as training did."""

from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from registry import DataError, Settings, UsageError
from tests.training.conftest import Traces
from training import Job, plan_training, train
from training.answering import apply_answers, find_threshold, measure_costs, spell
from training.artifact.answers import Answers
from training.fitting import answer, make_features
from training.job import CostSection
from training.result import AnswerLayer, Fitted, Outcome, TrainingPlan
from training.trainer import fit_model

NAIVE = "sklearn.naive_bayes.GaussianNB"
"""Counts the same evidence twice, so its probabilities are far too sure."""


def make_rows(seed: int, count: int = 3000) -> pd.DataFrame:
    """Four columns that say nearly the same, and a target that follows them loosely."""
    generator = np.random.default_rng(seed)
    size = generator.normal(size=count)
    rows = pd.DataFrame({f"copy_{n}": size + 0.2 * generator.normal(size=count) for n in range(4)})
    rows["late"] = (size + generator.normal(size=count) > 0.7).astype("int64")
    return rows


def fit(rows: pd.DataFrame, **sections: Any) -> tuple[TrainingPlan, Fitted]:
    sections.setdefault("answer", {})
    plan = plan_training(Job.from_frame(rows, name="sure", target="late", estimator=NAIVE, **sections))
    return plan, fit_model(plan, make_features(plan, plan.rows.iloc[plan.split.train]))


def ask(plan: TrainingPlan, fitted: Fitted) -> tuple[Outcome, Outcome]:
    """The estimator's own answers to fresh rows, and those of the whole model."""
    rows = make_rows(99, 5000)
    raw = answer(fitted.pipeline, make_features(plan, rows), rows["late"].to_numpy(), plan)
    return raw, apply_answers(fitted.answers, raw)


def measure_error(outcome: Outcome) -> float:
    """How far off probabilities are, in ten groups by size."""
    assert outcome.probabilities is not None
    chance, happened = outcome.probabilities[:, 1], outcome.truth == 1
    parts = np.array_split(np.argsort(chance, kind="stable"), 10)
    return float(np.mean([abs(chance[part].mean() - happened[part].mean()) for part in parts]))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_probabilities_come_true(method: str) -> None:
    raw, calibrated = ask(*fit(make_rows(1), answer={"calibrate": method}))
    assert measure_error(raw) > 0.08
    assert measure_error(calibrated) < 0.5 * measure_error(raw)
    assert calibrated.probabilities is not None
    np.testing.assert_allclose(calibrated.probabilities.sum(axis=1), 1.0)
    assert calibrated.probabilities.min() > 0


def test_the_answers_are_fitted_on_rows_that_the_estimator_never_saw() -> None:
    plan, fitted = fit(make_rows(1), answer={"calibrate": "sigmoid", "held_out": 0.25})
    assert fitted.answers.held is not None
    assert len(fitted.answers.held.truth) == 600
    assert fitted.pipeline.named_steps["model"].class_count_.sum() == 1800
    assert len(plan.split.train) == 2400


def test_of_three_classes_every_one_is_calibrated_against_the_others() -> None:
    rows = make_rows(1)
    rows["late"] = np.digitize(rows["copy_0"] + np.random.default_rng(0).normal(size=3000), [-0.5, 0.8])
    plan, fitted = fit(rows, answer={"calibrate": "sigmoid"})
    assert len(fitted.answers.plan["calibration"]["curves"]) == 3
    outcome = ask(plan, fitted)[1]
    assert outcome.probabilities is not None
    np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1.0)
    assert (outcome.answers == outcome.probabilities.argmax(axis=1)).all()


def test_a_dear_miss_lowers_the_threshold_and_the_cost() -> None:
    costs = {}
    for name, answers in {
        "half": {"calibrate": "sigmoid"},
        "chosen": {"calibrate": "sigmoid", "cost": {"miss": 9, "false_alarm": 1}},
    }.items():
        plan, fitted = fit(make_rows(1), answer=answers)
        outcome = ask(plan, fitted)[1]
        missed = np.mean((outcome.truth == 1) & (outcome.answers == 0))
        costs[name] = 9 * missed + np.mean((outcome.truth == 0) & (outcome.answers == 1))
    assert 0.05 < fitted.answers.plan["threshold"] < 0.2
    assert costs["chosen"] < 0.7 * costs["half"]


def test_the_cheapest_threshold_lies_between_two_rows() -> None:
    chances, happened = np.array([0.1, 0.2, 0.2, 0.6]), np.array([False, True, False, True])
    cost = CostSection(miss=5, false_alarm=1)
    thresholds, costs = measure_costs(chances, happened, cost)
    np.testing.assert_allclose(thresholds, [0.05, 0.15, 0.4, 0.8])
    np.testing.assert_allclose(costs, [2 / 4, 1 / 4, 5 / 4, 10 / 4])
    assert find_threshold(chances, happened, cost) == 0.15
    sure = find_threshold(np.array([1.0, 1.0]), np.array([False, False]), CostSection())
    assert sure > 1  # nobody


def test_a_threshold_includes_itself_and_ties_go_to_the_first_class() -> None:
    half = np.array([[0.5, 0.5], [0.7, 0.3]])
    assert Answers({"threshold": 0.5}, ["a", "b"]).decide(half).tolist() == ["b", "a"]
    assert Answers({"threshold": 0.3}, [False, True]).decide(half).tolist() == [True, True]
    assert Answers({}, [3, 7]).decide(half).tolist() == [3, 3]
    assert Answers({"labels": ["no", "yes"]}, [3, 7]).label(np.array([7, 3])).tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("sections", "kind", "text"),
    [
        ({"answer": {"labels": {"0": "no"}}}, UsageError, "the class '1' has no label"),
        ({"answer": {"labels": {"0": "no", "2": "yes"}}}, UsageError, "has no class '2'"),
        ({"answer": {"labels": {"0": "no", "1": "no"}}}, UsageError, "two classes have the label 'no'"),
        ({"answer": {"threshold": 0.5, "cost": {}}}, UsageError, "exclude each other"),
        ({"answer": {"threshold": 1.5}}, UsageError, "answer.threshold"),
        (
            {"answer": {"calibrate": "sigmoid"}, "model": {"estimator": "sklearn.svm.LinearSVC"}},
            UsageError,
            "LinearSVC gives none",
        ),
        (
            {"answer": {"calibrate": "sigmoid"}, "model": {"estimator": "sklearn.linear_model.Ridge"}},
            UsageError,
            "needs a target of classes",
        ),
        (
            {"answer": {"cost": {}}, "data": {"task": "multiclass", "target": "copy_9"}},
            UsageError,
            "needs a target of two classes",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(
    sections: dict[str, Any], kind: type[Exception], text: str
) -> None:
    rows = make_rows(1, 300).assign(copy_9=np.arange(300) % 3)
    with pytest.raises(kind) as caught:
        plan_training(Job.from_frame(rows, name="sure", target="late", estimator=NAIVE, **sections))
    assert text in str(caught.value)


def test_a_class_that_the_held_out_rows_lack_is_named() -> None:
    rows = make_rows(1, 400).assign(day=pd.date_range("2026-01-01", periods=400, freq="h"))
    rows["late"] = (np.arange(400) % 3 == 0) & ((np.arange(400) < 200) | (np.arange(400) > 330))
    with pytest.raises(DataError, match=r"answer\.calibrate: the class True is in none or all"):
        fit(rows, data={"time": "day"}, answer={"calibrate": "sigmoid"})


def test_truth_values_are_written_as_toml_writes_them() -> None:
    rows = make_rows(1, 300).assign(late=lambda frame: frame["late"] == 1)
    plan, _ = fit(rows, answer={"labels": {"true": "late", "false": "on time"}})
    assert spell(plan.job.spec, plan.target) == ["on time", "late"]


def test_the_model_in_plain_mlflow_decides_as_training_did(settings: Settings, traces: Traces) -> None:
    rows = make_rows(1)
    job = Job.from_frame(
        rows,
        name="sure",
        target="late",
        estimator=NAIVE,
        model={"output": "full"},
        answer={
            "labels": {"0": "on time", "1": "late"},
            "calibrate": "isotonic",
            "cost": {"miss": 5},
        },
        evaluation={"importance": {"rows": 0}},
    )
    result = train(job, settings=settings)
    model = mlflow.pyfunc.load_model(str(traces.find_model()))
    sent = make_rows(5, 500).drop(columns="late")
    full = model.predict(sent)
    assert list(full.columns) == ["answer", "probability_on time", "probability_late"]
    threshold = traces.runs[0].data.metrics["threshold"]
    assert (full["answer"] == np.where(full["probability_late"] >= threshold, "late", "on time")).all()
    assert 0.05 < full["probability_late"].mean() < 0.5
    alone = pd.concat([model.predict(sent.iloc[[place]]) for place in range(20)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, full.head(20), check_exact=True)
    kinds = {column["name"]: column["type"] for column in model.metadata.signature.outputs.to_dict()}
    assert kinds == {"answer": "string", "probability_on time": "double", "probability_late": "double"}
    assert model.metadata.metadata == {"greenroom.labels": {"on time": 0, "late": 1}}
    metrics = result.metrics | traces.runs[0].data.metrics
    assert metrics["log_loss"] < metrics["log_loss_before_calibration"]
    assert metrics["mean_cost"] < metrics["mean_cost_at_half"]
    client: MlflowClient = traces.client
    plots = {file.path for file in client.list_artifacts(result.run_id, "plots")}
    assert {"plots/cost.png", "plots/calibration_before_and_after.png"} <= plots


def test_without_the_section_nothing_is_changed() -> None:
    plan, fitted = fit(make_rows(1))
    raw, outcome = ask(plan, fitted)
    assert fitted.answers == AnswerLayer()
    assert outcome is raw
