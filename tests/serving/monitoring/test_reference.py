"""Which rows belong together, and where a reference comes from."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry import DataError, Tag, UsageError, parse_evaluation
from registry.ledger.ledger import Ledger
from serving.monitoring.grouping import choose_grouping
from serving.monitoring.reference import ReferenceRequest, find_reference
from serving.monitoring.windows import parse_moment, parse_span
from tests.serving.monitoring.scenes import fill_day, make_model


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return make_model(tmp_path, versions=1)


def make_request(
    ledger: Ledger, text: str = "evaluation", *, group: str = "auto", log: str = ""
) -> ReferenceRequest:
    return ReferenceRequest(text, log, "m", ledger.store.get_version("m", "1"), group)


def test_evaluation_rows_bring_answers_truth_and_task(ledger: Ledger) -> None:
    reference = find_reference(ledger.store, make_request(ledger))
    assert (reference.task.kind, reference.task.classes) == ("binary", ("0", "1"))
    assert reference.answers.columns.tolist() == ["prediction", "probability.0", "probability.1"]
    assert set(reference.truth) == {"0", "1"}
    assert reference.sample.scores.columns.tolist() == ["probability of 1"]
    assert reference.blocks is None


def test_rows_that_were_changed_after_training_are_no_reference(ledger: Ledger, tmp_path: Path) -> None:
    run_id = ledger.store.get_version("m", "1").run_id
    assert run_id is not None
    what = parse_evaluation(ledger.store.get_run(run_id).tags[Tag.EVALUATION])
    forged = tmp_path / "forged" / what.path
    forged.parent.mkdir(parents=True)
    pd.DataFrame({"size": [1.0]}).to_parquet(forged)
    ledger.store.upload(run_id, str(tmp_path / "forged"))
    with pytest.raises(DataError, match="are not those that it recorded"):
        find_reference(ledger.store, make_request(ledger))


def test_the_labels_of_the_job_are_known(ledger: Ledger, tmp_path: Path) -> None:
    run_id = ledger.store.get_version("m", "1").run_id
    assert run_id is not None
    (tmp_path / "job").mkdir()
    job = {"answer": {"labels": {"0": "on time", "1": "late"}}}
    (tmp_path / "job" / "job.json").write_text(json.dumps(job))
    ledger.store.upload(run_id, str(tmp_path / "job"))
    assert find_reference(ledger.store, make_request(ledger)).task.labels == {"on time": "0", "late": "1"}


def test_rows_that_travel_in_the_artifact_serve_where_nothing_else_is(ledger: Ledger, tmp_path: Path) -> None:
    artifact = tmp_path / "with rows" / "evaluation"
    artifact.mkdir(parents=True)
    pd.DataFrame({"size": np.arange(50.0)}).to_parquet(artifact / "rows.parquet")
    version = ledger.store.add_version("m", str(artifact.parent))  # type: ignore[attr-defined] # in memory
    reference = find_reference(ledger.store, ReferenceRequest("evaluation", "", "m", version))
    assert reference.origin == "50 evaluation rows in its artifact"
    assert reference.sample.scores.columns.tolist() == []


def test_a_part_of_the_log_is_grouped_as_asked(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "log"
    fill_day(log, 0, version="1", blocks=np.repeat(["x", "y"], 200))
    text = "2026-03-01..2026-03-02"
    hours = find_reference(ledger.store, make_request(ledger, text, log=str(log), group="hour"))
    assert hours.blocks is not None
    assert len(np.unique(hours.blocks)) == 7  # 400 minutes
    by_column = find_reference(ledger.store, make_request(ledger, text, log=str(log), group="block"))
    assert set(by_column.blocks if by_column.blocks is not None else ()) == {"x", "y"}
    with pytest.raises(UsageError, match="there is no column 'nobody'"):
        find_reference(ledger.store, make_request(ledger, text, log=str(log), group="nobody"))
    with pytest.raises(DataError, match=r"no predictions of version 1 in 2027-01-01\.\.2027-02-01"):
        find_reference(ledger.store, make_request(ledger, "2027-01-01..2027-02-01", log=str(log)))


def test_evaluation_rows_without_times_cannot_be_grouped_by_them(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="do not say which day each is of") as caught:
        find_reference(ledger.store, make_request(ledger, group="day"))
    assert "--reference" in caught.value.hint


def test_auto_does_as_the_training_run_did() -> None:
    inputs = pd.DataFrame({"customer": ["a", "a", "b"], "x": [1, 2, 3]})
    assert choose_grouping("auto", None, inputs).kind == "none"
    assert choose_grouping("auto", pd.Series(["a", "a", "b"]), inputs).name == "customer"
    assert (
        choose_grouping("auto", pd.Series(["2026-01-01", "2026-01-02", "2026-01-02"]), inputs).name == "day"
    )
    assert (
        choose_grouping("auto", pd.Series([7, 8, 9]), inputs).kind == "none"
    )  # nothing in a log can follow it


@pytest.mark.parametrize("text", ["0", "1x", "", "30s", "-1d", "1.5h"])
def test_a_window_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_span(text)


def test_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'yesterday' is no moment"):
        parse_moment("yesterday")
