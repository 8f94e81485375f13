import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.pyfunc import load_model

from registry import ConflictError, DataError, NotFoundError, RefusedError, UsageError
from serving.batch.lock import OutputLock
from serving.batch.storage import open_output
from tests.serving.batch.conftest import ROWS, Stage, make_rows, read_output, read_record
from tests.serving.batch.inline import InlineCrew

Score = Callable[..., dict[str, Any]]


def test_every_row_is_answered_as_pyfunc_answers_it(
    score_rows: Score, stage: Stage, flights: Path, tmp_path: Path
) -> None:
    done = score_rows(flights, keep=("id",))
    found = read_output(tmp_path / "out")
    rows = make_rows()
    model = load_model("models:/late/1")
    expected: Any = model.predict(rows.astype({"b": "float64"}))
    assert found["prediction"].tolist() == expected.tolist()
    assert found["id"].tolist() == rows["id"].tolist()
    assert found["_row"].tolist() == list(range(1, ROWS + 1))
    assert set(found["_file"]) == {"rows.parquet"}
    assert done == read_record(tmp_path / "out")
    counts = {
        name: done[name] for name in ("rows_read", "rows_written", "rows_quarantined", "parts", "version")
    }
    assert counts == {
        "rows_read": ROWS, "rows_written": ROWS, "rows_quarantined": 0, "parts": 1, "version": "1",
    }  # fmt: skip
    assert len(done["manifest"]) == 64


def test_a_job_is_a_run_in_mlflow(score_rows: Score, stage: Stage, flights: Path) -> None:
    done = score_rows(flights)
    client = MlflowClient(stage.uri)
    run = client.get_run(done["run_id"])
    assert client.get_experiment(run.info.experiment_id).name == "greenroom/late/scoring"
    assert (run.info.status, run.data.metrics["rows_written"]) == ("FINISHED", ROWS)
    assert run.data.tags["greenroom.kind"] == "scoring"
    assert run.data.tags["greenroom.version"] == "1"
    assert run.data.tags["greenroom.manifest"] == done["manifest"]
    assert run.data.params["input_sha256"] == done["input_sha256"]


def test_rows_that_cannot_be_answered_are_set_aside_with_where_and_why(
    score_rows: Score, tmp_path: Path
) -> None:
    text = "a,b,id\n1,0,x\n2,one,y\n3\n\n,1,z\n2.5,1,w\n"
    (tmp_path / "rows.csv").write_text(text)
    done = score_rows(tmp_path / "rows.csv", keep=("id",))
    bad = pd.read_parquet(tmp_path / "out" / "_quarantine").to_dict("records")
    assert [(one["file"], one["row"], one["column"], one["found"]) for one in bad] == [
        ("rows.csv", 2, "b", "a text"),
        ("rows.csv", 3, "", "1 fields"),
        ("rows.csv", 4, "", "the model fails on it (ValueError)"),
    ]
    assert json.loads(bad[0]["values"]) == {"a": "2", "b": "one", "id": "y"}
    assert read_output(tmp_path / "out")["id"].tolist() == ["x", "w"]
    assert (done["rows_read"], done["rows_written"], done["rows_quarantined"]) == (5, 2, 3)
    assert sum(done["reasons"].values()) == 3


def test_the_first_bad_row_ends_a_job_that_is_to_refuse_them(score_rows: Score, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,0\n2,one\n")
    with pytest.raises(DataError, match=r"rows\.csv, row 2, column 'b': a text, where a number"):
        score_rows(tmp_path / "rows.csv", refuse_bad=True)
    assert not (tmp_path / "out" / "_greenroom.json").exists()


def test_an_interrupted_job_goes_on_with_what_is_missing(
    score_rows: Score, stage: Stage, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        score_rows(many, crew=InlineCrew(stop_after=2))
    assert "2 of 4 parts are in" in capsys.readouterr().err
    (run,) = MlflowClient(stage.uri).search_runs(["1"], order_by=["start_time DESC"], max_results=1)
    assert run.info.status == "KILLED"
    assert not (tmp_path / "out" / "_greenroom.json").exists()
    (tmp_path / "out" / "part-00001.parquet").write_bytes(
        b"half of it"
    )  # not by us: no file system does that
    rest = InlineCrew()
    done = score_rows(many, crew=rest)
    assert rest.scored == [1, 2, 3]
    assert (done["resumed_parts"], done["rows_written"]) == (1, ROWS)
    assert MlflowClient(stage.uri).get_run(done["run_id"]).info.status == "FINISHED"
    found = read_output(tmp_path / "out")
    assert sorted(zip(found["_file"], found["_row"], strict=True)) == [
        (f"{number:02d}.parquet", row) for number in range(4) for row in range(1, 501)
    ]
    assert score_rows(many, crew=InlineCrew(stop_after=0)) == done
    (tmp_path / "out" / "part-00003.parquet").unlink()
    again = InlineCrew()
    assert score_rows(many, crew=again)["resumed_parts"] == 3
    assert again.scored == [3]


def test_another_job_is_refused_and_the_difference_named(score_rows: Score, many: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score_rows(many, crew=InlineCrew(stop_after=1))
    for change, (value, named) in {
        "keep": (("id",), r"--keep \(none then, id now\) differs"),
        "batch_rows": (100, r"--batch-rows \(200 then, 100 now\)"),
        "version": ("2", r"the version \(1 then, 2 now\), the version's files"),
        "refuse_bad": (True, "--bad-rows"),
    }.items():
        with pytest.raises(RefusedError, match=named):
            score_rows(many, **{change: value})
    make_rows(10).to_parquet(many / "00.parquet", index=False)
    with pytest.raises(RefusedError, match="the input files differs"):
        score_rows(many)
    done = score_rows(many, restart=True, keep=("id",))
    assert (done["resumed_parts"], done["parts"], done["keep"]) == (0, 4, ["id"])


def test_two_at_once_on_one_output_one_goes_on(score_rows: Score, flights: Path, tmp_path: Path) -> None:
    storage = open_output(str(tmp_path / "out"))
    with OutputLock(storage, beat_s=0.05), pytest.raises(ConflictError, match="is at work"):
        score_rows(flights)
    score_rows(flights)
    assert storage.list("_greenroom.lock.") == []


def test_an_output_with_other_files_is_left_alone_also_by_a_restart(
    score_rows: Score, flights: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(DataError, match=r"is not empty: there is mine\.txt"):
            score_rows(flights, restart=restart)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_dry_run_tells_and_writes_nothing(
    score_rows: Score, stage: Stage, many: Path, tmp_path: Path
) -> None:
    told = score_rows(many, dry_run=True)
    assert (told["rows"], told["parts"], told["resumed_parts"], told["dry_run"]) == (ROWS, 4, 0, True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(KeyboardInterrupt):
        score_rows(many, crew=InlineCrew(stop_after=3))
    assert score_rows(many, dry_run=True)["resumed_parts"] == 3


def test_what_makes_no_sense_is_said_before_anything_is_written(
    score_rows: Score, flights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--keep nobody: the input has no such column"):
        score_rows(flights, keep=("nobody",))
    with pytest.raises(UsageError, match="the model has no such parameter"):
        score_rows(flights, params=("output=full",))
    with pytest.raises(NotFoundError, match="no version in staging"):
        score_rows(flights, stage="staging")
    make_rows(3).drop(columns="a").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="lacks a column that the model needs: a"):
        score_rows(tmp_path / "a.parquet")
    assert not (tmp_path / "out").exists()
    (tmp_path / "none.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="has no rows"):
        score_rows(tmp_path / "none.csv")


def test_input_that_is_replaced_while_it_is_read_ends_the_job(score_rows: Score, many: Path) -> None:
    class Meddler(InlineCrew):
        def ask(self, message: Any) -> Any:
            done = super().ask(message)
            if message["op"] == "probe":
                make_rows(500).to_parquet(many / "02.parquet", index=False)
            return done

    with pytest.raises(DataError, match=r"02\.parquet has changed since the job began"):
        score_rows(many, crew=Meddler())
