"""Bad input: the sentence, the exit code, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.training.conftest import Traces, WriteRows
from training.cli import main

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def run(job_file: Path, *arguments: str) -> int:
    return main([str(job_file), *arguments])


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda rows: rows.drop(columns="late"), "rows.csv has no column 'late' (the target). It has: size"),
        (lambda rows: rows.iloc[:0], "rows.csv has no rows."),
        (lambda rows: rows.assign(late=1), "The target 'late' has one class only, 1, in rows.csv."),
        (
            lambda rows: rows.astype({"size": object}).replace({"size": {rows["size"][16]: "big"}}),
            "Column 'size', row 17 of rows.csv: text where a number is expected.",
        ),
        (lambda rows: rows.assign(size=np.inf), "Column 'size', row 1 of rows.csv: an infinite number."),
        (
            lambda rows: rows.astype({"late": float}).replace({"late": {0.0: np.nan}}),
            "of rows.csv: the target is missing",
        ),
        (lambda rows: rows.assign(late=rows["late"] + 0.5), "a fractional number cannot be a class."),
        (lambda rows: rows.drop(columns="color"), "rows.csv has no column 'color' (features.categorical)."),
        (
            lambda rows: rows.rename(columns={"color": "colour"}),
            "rows.csv has no column 'color' (features.categorical). Did you mean 'colour'?",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_refused_before_a_run_exists(
    job_file: Path,
    write_rows: WriteRows,
    rows: pd.DataFrame,
    traces: Traces,
    capsys: pytest.CaptureFixture[str],
    edit: Edit,
    sentence: str,
) -> None:
    write_rows(edit(rows))
    before = sorted(job_file.parent.rglob("*"))
    assert run(job_file) == 1
    assert sentence in capsys.readouterr().err
    assert traces.are_none()
    assert sorted(job_file.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("override", "code", "sentence"),
    [
        ("data.source=nowhere.csv", 1, "The data file nowhere.csv does not exist."),
        ("data.source=*.parquet", 1, "*.parquet matches no CSV or Parquet file."),
        ("data.source=python:code.py:load", 1, "code.py does not exist."),
        ("data.source=sqlite:///rows.db", 2, "needs a query."),
        ("features.leaks=['size']", 1, "'size' is declared in features.leaks and used as a feature."),
        ("features.numeric=['size','late']", 1, "The target 'late' is used as a feature."),
        ("features.numeric=['size','size']", 2, "[features] makes 'size' twice."),
        ("model.estimator=sklearn.linear_model.LogisticRegresion", 2, "Did you mean 'LogisticRegression'?"),
        ("model.estimator=nowhere.Model", 2, "there is no module 'nowhere'"),
        ("model.estimator=Model", 2, "is no import path."),
        ("model.estimator=sklearn.preprocessing.StandardScaler", 2, "it lacks fit or predict."),
        ("model.params.max_itr=3", 2, "has no parameter 'max_itr'. Did you mean 'max_iter'?"),
        ("data.task=regression", 2, "LogisticRegression is a classifier."),
        ("data.task=binry", 2, "data.task: input should be 'auto', 'binary'"),
        ("split.fractoin=0.1", 2, "[split] has no key 'fractoin'. Did you mean 'fraction'?"),
        ("split.train_until=2026-01-10", 2, "need a split by time"),
        ("split.group=colour", 1, "no column 'colour' (split.group). Did you mean 'color'?"),
        ("data.types={size='category',sise='number'}", 1, "no column 'sise' (data.types)."),
        ("search.space={C=[]}", 2, "search.space.C: the list is empty."),
        ("search.space={C={low=2,high=1}}", 2, "low must be below high."),
        ("search.space={D=[1]}", 2, "has no parameter 'D'"),
        ("search={space={C=[1]},metric='auc'}", 2, "search.metric: 'auc' is unknown."),
    ],
)
def test_a_job_written_wrongly_is_refused_before_a_run_exists(
    job_file: Path,
    traces: Traces,
    capsys: pytest.CaptureFixture[str],
    override: str,
    code: int,
    sentence: str,
) -> None:
    assert run(job_file, "--set", override) == code
    assert sentence in capsys.readouterr().err
    assert traces.are_none()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["split.train_until=2025-01-01"], "leaves no rows of rows.csv to learn from."),
        (["split.train_until=2027-01-01"], "leaves no rows of rows.csv to evaluate on."),
        (["split.train_until=2026-01-20", "split.evaluate_until=2026-01-10"], "must lie after"),
    ],
)
def test_an_empty_side_of_a_split_by_time_is_refused(
    job_file: Path,
    traces: Traces,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    sentence: str,
) -> None:
    arguments = [part for override in ["data.time=day", *overrides] for part in ("--set", override)]
    assert run(job_file, *arguments) in {1, 2}
    assert sentence in capsys.readouterr().err
    assert traces.are_none()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("color,price\nred,1\nred,2\n", "has the key color = red more than once (1 rows too many)."),
        ("color,price\npink,1\n", "The lookup prices.csv matches no row (color = color)."),
        ("color,price\n,1\n", "Column 'color', row 1 of prices.csv: a lookup's key is missing."),
        ("color,cost\nred,1\n", "prices.csv has no column 'price' (features.lookup.columns)."),
        ("colour,price\nred,1\n", "prices.csv has no column 'color' (features.lookup.on)."),
    ],
)
def test_a_lookup_that_cannot_be_used_is_refused(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str], table: str, sentence: str
) -> None:
    job_file.with_name("prices.csv").write_text(table)
    lookup = "features.lookup=[{source='prices.csv',on={color='color'},columns=['price']}]"
    assert run(job_file, "--set", lookup) == 1
    assert sentence in capsys.readouterr().err
    assert traces.are_none()


def test_the_same_column_name_twice_is_refused(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file.with_name("rows.csv").write_text("size,size,late\n1,2,0\n")
    assert run(job_file) == 1
    assert "rows.csv has the column 'size' twice." in capsys.readouterr().err
    assert traces.are_none()


def test_a_feature_that_tells_the_answer_is_a_warning_with_its_score(
    job_file: Path,
    write_rows: WriteRows,
    rows: pd.DataFrame,
    traces: Traces,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_rows(rows.assign(noise=rows["late"] * 2.0))
    assert run(job_file) == 0
    said = "Warning: The feature 'noise' alone predicts 'late' nearly perfectly (ROC AUC 1.000)."
    assert said in capsys.readouterr().err
    assert "nearly perfectly" in traces.runs[0].data.tags["greenroom.warnings"]
    assert "Careful" in traces.versions[0].description


def test_an_estimator_that_cannot_learn_leaves_a_failed_run_with_the_reason_and_no_version(
    job_file: Path, traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(job_file, "--set", "model.params.C=-1.0") == 2
    assert "model.params: The 'C' parameter of LogisticRegression" in capsys.readouterr().err
    (failed,) = traces.runs
    assert failed.info.status == "FAILED"
    assert "The 'C' parameter" in failed.data.tags["greenroom.reason"]
    assert "FAILED" in failed.data.tags["mlflow.note.content"]
    assert not traces.versions


def test_a_job_file_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.toml"]) == 2
    assert "The job file nowhere.toml does not exist." in capsys.readouterr().err


def test_a_job_file_that_is_no_toml_names_the_line(
    job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file.write_text("[job]\nname = \n")
    assert run(job_file) == 2
    assert "is not TOML: Invalid value (at line 2" in capsys.readouterr().err
