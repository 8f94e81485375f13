"""Which rows two versions are compared on."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from registry import DataError, EvaluationRows, Tag, UsageError, format_evaluation
from registry.policy import EvaluationPolicy, Policy
from registry.question import find_question
from registry.store import ModelVersion
from registry.stores.memory import MemoryStore


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "late": [0, 1, 1], "day": ["x", "x", "y"]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def make_version(store: MemoryStore, group: str | None) -> ModelVersion:
    about = EvaluationRows("rows.parquet", "late", "binary", group, ("a",), (0, 1), 3, "0" * 64)
    run = store.create_run(
        store.create_experiment("x", {}), "training", {Tag.EVALUATION: format_evaluation(about)}
    )
    return store.add_version("m", run_id=run.run_id)


def test_given_rows_depend_on_each_other_as_the_training_run_said(
    store: MemoryStore, rows: Path, tmp_path: Path
) -> None:
    question = find_question(store, make_version(store, "day"), Policy(), str(rows), tmp_path)
    assert question is not None
    assert (question.target, question.group, question.features) == ("late", "day", ("a",))


def test_rows_without_a_known_target_are_asked_about(store: MemoryStore, rows: Path, tmp_path: Path) -> None:
    version = store.add_version("m")
    with pytest.raises(UsageError, match="Which column"):
        find_question(store, version, Policy(), str(rows), tmp_path)
    policy = Policy(evaluation=EvaluationPolicy(target="latte"))
    with pytest.raises(DataError, match="no column 'latte'"):
        find_question(store, version, policy, str(rows), tmp_path)


def test_kept_rows_that_were_changed_are_refused(store: MemoryStore, tmp_path: Path) -> None:
    version = make_version(store, None)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "rows.parquet").write_bytes(b"other")
    store.upload(version.run_id or "", str(folder))
    with pytest.raises(DataError, match="are not those that it recorded"):
        find_question(store, version, Policy(), None, tmp_path)


def test_without_rows_there_is_no_question(store: MemoryStore, tmp_path: Path) -> None:
    assert find_question(store, store.add_version("m"), Policy(), None, tmp_path) is None


def test_rows_may_come_from_a_database(store: MemoryStore, rows: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        pd.read_csv(rows).to_sql("flights", connection, index=False)
    connection.close()
    policy = Policy(
        evaluation=EvaluationPolicy(
            data=f"sqlite:///{tmp_path}/rows.db", query="SELECT * FROM flights WHERE a > 1 ORDER BY a"
        )
    )
    question = find_question(store, make_version(store, "day"), policy, None, tmp_path)
    assert question is not None
    assert pd.read_parquet(question.rows)["a"].tolist() == [2.0, 3.0]
