"""Searches: every trial a child run, the best one fitted again."""

from pathlib import Path

import pandas as pd
import pytest

from registry import GreenroomError, Settings
from tests.training.conftest import Traces
from training import Job, SilentProgress, read_job, train

SPACE = "search.space={C={low=0.0001,high=10.0,log=true},fit_intercept=[true,false]}"


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.total = 0

    def start_trials(self, total: int) -> None:
        self.total = total

    def finish_trial(self, text: str) -> None:
        self.heard.append(text)


@pytest.mark.parametrize("method", ["optuna", "random"])
def test_every_trial_is_a_finished_child_run_and_the_best_is_fitted_again(
    job_file: Path, settings: Settings, traces: Traces, method: str
) -> None:
    listener = Listener()
    job = read_job(job_file, [SPACE, f"search.method={method}", "search.trials=4"])
    result = train(job, settings=settings, progress=listener)
    parent = next(run for run in traces.runs if run.info.run_id == result.run_id)
    children = [run for run in traces.runs if run.info.run_id != result.run_id]
    assert len(children) == len(listener.heard) == listener.total == 4
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {result.run_id}
    assert {run.info.status for run in children} == {"FINISHED"}
    best = min(children, key=lambda run: run.data.metrics["log_loss"])
    assert parent.data.params["model.params.C"] == best.data.params["C"]
    assert listener.heard[-1] == f"best log_loss {best.data.metrics['log_loss']:.4f}"
    assert pytest.approx(float(best.data.params["C"])) == result.pipeline.named_steps["model"].C
    assert len(traces.versions) == 1


def test_a_grid_tries_all_and_a_higher_metric_wins(
    job_file: Path, settings: Settings, traces: Traces
) -> None:
    space = "search={method='grid',metric='accuracy',space={C=[0.0001,1.0],fit_intercept=[true,false]}}"
    result = train(read_job(job_file, [space]), settings=settings)
    children = [run for run in traces.runs if run.info.run_id != result.run_id]
    assert len(children) == 4
    best = max(children, key=lambda run: run.data.metrics["accuracy"])
    assert best.data.metrics["accuracy"] > min(run.data.metrics["accuracy"] for run in children)


@pytest.mark.parametrize(
    "split",
    [
        {"data": {"time": "day"}},
        {"split": {"kind": "random", "group": "color"}},
        {"split": {"kind": "random"}},
    ],
)
def test_a_search_works_in_every_kind_of_split(
    rows: pd.DataFrame, settings: Settings, split: dict[str, dict[str, str]]
) -> None:
    rows = rows.assign(color=rows["color"] + (rows.index % 4).astype(str))
    search = {"method": "random", "trials": 2, "space": {"alpha": {"low": 0.1, "high": 2.0}}}
    job = Job.from_frame(
        rows, name="any", target="size", estimator="sklearn.linear_model.Ridge", search=search, **split
    )
    assert train(job, settings=settings).metrics["rmse"] > 0


def test_a_trial_that_fails_closes_itself_and_its_parent(
    job_file: Path, settings: Settings, traces: Traces
) -> None:
    with pytest.raises(GreenroomError, match="The 'C' parameter"):
        train(read_job(job_file, ["search={method='grid',space={C=[1.0,-1.0]}}"]), settings=settings)
    assert sorted(run.info.status for run in traces.runs) == ["FAILED", "FAILED", "FINISHED"]
    assert not traces.versions
