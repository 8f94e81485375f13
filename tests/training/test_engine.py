"""Trainings on a Dask cluster: the same as in this process."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import Settings, UnreachableError, UsageError
from tests.training.conftest import Traces
from training import read_job, train
from training.cli import main
from training.engine import check_engine, open_engine

SEARCH = [
    "model.estimator=sklearn.ensemble.RandomForestClassifier",
    "model.params={n_estimators=8}",
    "search={method='random',trials=3,space={max_depth=[2,3,4],min_samples_leaf=[1,5]}}",
    "evaluation.plots=false",
    "evaluation.importance.rows=0",
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with one worker, a process of its own."""
    import distributed

    dask: Any = distributed
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as made:
        yield made.scheduler_address


def test_a_search_and_a_forest_on_a_cluster_are_what_they_are_here(
    job_file: Path, settings: Settings, traces: Traces, cluster: str
) -> None:
    job = read_job(job_file, SEARCH)
    here = train(job, settings=settings)
    with open_engine("dask", cluster):
        there = train(job, settings=settings)
    assert there.metrics == here.metrics
    trials: dict[str, list[Any]] = {here.run_id: [], there.run_id: []}
    for run in traces.runs:
        if "mlflow.parentRunId" in run.data.tags:
            figures = (run.data.tags["mlflow.runName"], run.data.params, run.data.metrics)
            trials[run.data.tags["mlflow.parentRunId"]].append(figures)
    in_order = [sorted(found, key=lambda one: str(one[0])) for found in trials.values()]
    assert in_order[0] == in_order[1]
    assert len(in_order[0]) == 3


def test_what_is_wrong_with_a_trial_is_said_as_here(
    job_file: Path, settings: Settings, traces: Traces, cluster: str
) -> None:
    job = read_job(job_file, ["search={method='grid',space={C=[1.0,-1.0]}}"])
    with pytest.raises(UsageError, match="The 'C' parameter"), open_engine("dask", cluster):
        train(job, settings=settings)
    assert "FAILED" in {run.info.status for run in traces.runs} <= {"FINISHED", "FAILED"}


def test_a_scheduler_that_does_not_answer_is_unreachable(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CONNECT_S", 0.5)
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{free_port} gives no answer"):  # noqa: SIM117
        with open_engine("dask", f"tcp://127.0.0.1:{free_port}"):
            pass


@pytest.mark.parametrize("words", [["--scheduler", "tcp://127.0.0.1:8786"], ["--engine", "dask", "--online"]])
def test_a_scheduler_without_dask_and_dask_online_are_refused(
    words: list[str], job_file: Path, traces: Traces
) -> None:
    assert main([str(job_file), *words]) == 2
    assert traces.are_none()


def test_a_missing_dask_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from training.engine import check_engine\n"
        "check_engine('dask', None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "greenroom[dask]" in done.stderr
    check_engine("local", None)
