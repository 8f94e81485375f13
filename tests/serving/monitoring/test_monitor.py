"""Rounds on a real log, over a model with two versions; and what follows from them."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry import (
    DataError,
    NotFoundError,
    UnreachableError,
    append_feedback,
    find_holder,
    find_training_requests,
    read_history,
    rollback,
)
from registry.ledger.ledger import Ledger
from registry.stores.memory import MemoryStore
from serving.monitoring.monitor import Monitor
from serving.monitoring.report import Report, write_document
from serving.monitoring.rounds import watch_again
from serving.monitoring.texts import write_text
from serving.monitoring.windows import parse_span
from tests.registry.histories import Killed, MortalStore, move_to_production, raise_killed
from tests.serving.monitoring.scenes import FIRST, fill_day, look, make_model, make_policy, make_watch

BOTH = make_policy(on_drift="retrain", on_quality="rollback")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return make_model(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def list_verdicts(report: Report) -> list[tuple[str | None, str | None]]:
    return [
        (one.drift.verdict if one.drift else None, one.quality.verdict if one.quality else None)
        for one in report.windows
    ]


def get_production(ledger: Ledger) -> str:
    holder = find_holder(ledger.store, "m", "production")
    assert holder is not None
    return holder.version


def test_quiet_days_are_a_run_with_figures_pictures_and_a_report(
    ledger: Ledger, log: Path, tmp_path: Path
) -> None:
    fill_day(log, 0)
    fill_day(log, 1, rows=100)
    report = look(ledger, make_watch(log), day=2, pictures=True)
    assert (report.verdict, report.standing) == ("quiet", ())
    assert list_verdicts(report) == [("quiet", "quiet"), ("not_enough_data", "quiet")]
    assert report.run_id is not None
    run = ledger.store.get_run(report.run_id)
    assert (run.status, run.tags["greenroom.kind"], run.tags["greenroom.verdict"]) == (
        "FINISHED",
        "monitor",
        "quiet",
    )
    assert "200 predictions are needed" in run.tags["mlflow.note.content"]
    assert run.metrics["alarm"] == 0.0
    assert run.metrics["version_2.lower"] < run.metrics["version_2.log_loss"] < run.metrics["version_2.upper"]
    for name in ("drift.png", "quality.png", "scores.png", "report.txt"):
        assert Path(ledger.store.download_run_file(run.run_id, name, str(tmp_path))).stat().st_size > 500
    kept = json.loads(
        Path(ledger.store.download_run_file(run.run_id, "report.json", str(tmp_path))).read_text()
    )
    assert kept["windows"] == json.loads(json.dumps(write_document(report), allow_nan=False))["windows"]


def test_drift_in_two_windows_asks_for_training_once(ledger: Ledger, log: Path) -> None:
    for day in range(2):
        fill_day(log, day, shift=0.6)
    watch = make_watch(log, policy=BOTH)
    first = look(ledger, watch, day=1)
    assert (first.verdict, first.alarms) == ("quiet", ())
    second = look(ledger, watch, day=2)
    assert (second.verdict, second.standing) == ("alarm", ("drift",))
    assert [outcome for _, outcome in second.alarms] == [f"training is asked for (run {second.run_id})"]
    assert second.run_id is not None
    told = ledger.store.get_run(second.run_id).tags["greenroom.action"]
    assert told == f"drift: training is asked for (run {second.run_id})"
    (request,) = find_training_requests(ledger.store, "m")
    assert request.run_id == second.run_id
    assert "2 windows in a row" in request.reason
    again = look(ledger, watch, day=2)
    assert (again.verdict, again.windows, again.alarms, again.run_id) == ("alarm", (), (), None)
    assert get_production(ledger) == "2"
    fill_day(log, 2)
    assert look(ledger, watch, day=3).verdict == "quiet"


def test_without_a_policy_an_alarm_does_nothing_and_says_so(ledger: Ledger, log: Path) -> None:
    for day in range(2):
        fill_day(log, day, shift=0.6, broken=True)
    report = look(ledger, make_watch(log), day=2)
    assert report.standing == ("drift", "quality")
    assert {outcome for _, outcome in report.alarms} == {"nothing, as the policy says"}
    assert "done about it: nothing" in write_text(report)
    assert get_production(ledger) == "2"


def test_worse_quality_rolls_back_once_and_history_names_the_evidence(ledger: Ledger, log: Path) -> None:
    for day in range(4):
        fill_day(log, day, broken=True)
        fill_day(log, day, version="1", broken=True)
    watch = make_watch(log, policy=BOTH)
    report = look(ledger, watch, day=2)
    assert report.standing == ("quality",)
    assert [one.version for one in report.versions] == ["1", "2"]
    assert get_production(ledger) == "1"
    entry = read_history(ledger)[-1]
    assert (entry.action, entry.version, entry.evidence_run) == ("rollback", "1", report.run_id)
    assert entry.reason is not None
    assert entry.reason.startswith("monitor: version 2: live quality is worse, 2 windows in a row")
    after = look(ledger, watch, day=4)  # now version 1 is watched, which is as bad, and came by a rollback
    assert (after.version, after.standing) == ("1", ("quality",))
    assert after.alarms[-1][1].startswith("no rollback: version 1 came back by a rollback itself")
    assert get_production(ledger) == "1"


def test_a_version_that_changed_in_between_is_not_rolled_back(ledger: Ledger, log: Path) -> None:
    for day in range(2):
        fill_day(log, day, broken=True)
    moved: list[str] = []

    def keep(report: Report, experiment_id: str) -> str:
        if not moved:  # somebody promotes while the report is written
            move_to_production(Ledger(ledger.store, "m", clock=ledger.clock), _add_version(ledger, log))
            moved.append("3")
        return ledger.store.create_run(experiment_id, report.version, {}).run_id

    ledger.clock.sleep(2 * 86_400 + 120)
    report = Monitor(ledger, make_watch(log, policy=BOTH), keep=keep).look()
    (done,) = report.alarms
    assert done[1] == "no rollback: version 2 was judged, and production is at version 3 by now"
    assert get_production(ledger) == "3"


def _add_version(ledger: Ledger, log: Path) -> str:
    artifact = log.parent / "artifact3"
    artifact.mkdir()
    (artifact / "model").write_text("3")
    assert isinstance(ledger.store, MemoryStore)
    return ledger.store.add_version("m", str(artifact)).version


def test_a_rollback_that_names_the_holder_is_a_conflict_once_that_has_changed(
    ledger: Ledger, tmp_path: Path
) -> None:
    before = find_holder(ledger.store, "m", "production")
    move_to_production(ledger, _add_version(ledger, tmp_path / "log"))
    moved = rollback(ledger, holder=before)
    assert moved.conflict == "Production of m is at version 3, not at version 2 any more."
    assert get_production(ledger) == "3"


def test_quality_is_judged_when_the_truth_has_come(ledger: Ledger, log: Path) -> None:
    fill_day(log, 0, known=0.5)
    fill_day(log, 1, known=0.0)
    watch = make_watch(log)
    early = look(ledger, watch, day=2)
    assert list_verdicts(early) == [("quiet", None), ("quiet", None)]
    assert early.versions[0].coverage.known == 200
    known = pd.DataFrame(
        {"id": [f"v2d1r{row}" for row in range(400)], "truth": 1.0, "time": FIRST + timedelta(days=2)}
    )
    append_feedback(str(log), "m", known)
    late = look(ledger, watch, day=2.5)
    assert list_verdicts(late) == [(None, "not_enough_data"), (None, "bad")]
    assert late.windows[0].quality is not None
    assert late.windows[0].quality.reason == "the truth of 50% is known; 80% are needed"
    assert look(ledger, watch, day=2.6).windows == ()


def test_windows_of_so_many_predictions_follow_each_other(ledger: Ledger, log: Path) -> None:
    for day in range(3):
        fill_day(log, day, rows=500)
        fill_day(log, day, rows=90, version="1")
    watch = make_watch(log, span=parse_span("600"))
    report = look(ledger, watch, day=3)
    assert [one.drift.rows for one in report.windows if one.drift] == [600, 600]
    assert report.windows[0].until == report.windows[1].since
    assert look(ledger, watch, day=3).windows == ()
    fill_day(log, 3, rows=500)
    assert [one.drift.rows for one in look(ledger, watch, day=4).windows if one.drift] == [600]


def test_two_monitors_at_once_count_each_window_once_and_act_once(ledger: Ledger, log: Path) -> None:
    for day in range(2):
        fill_day(log, day, shift=0.6, broken=True)
    watch = make_watch(log, policy=BOTH)
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: look(ledger, watch, day=2), range(2)))
    alarms = [alarm for report in reports for alarm, _ in report.alarms]
    assert {alarm.kind for alarm in alarms} == {"drift", "quality"}
    assert len(find_training_requests(ledger.store, "m")) == 1
    assert [entry.action for entry in read_history(ledger)].count("rollback") == 1
    assert {report.verdict for report in reports} == {"alarm"}


@pytest.mark.parametrize("at", [9, 12, 13, 16])
def test_what_a_monitor_that_died_left_undone_the_next_one_does(at: int, ledger: Ledger, log: Path) -> None:
    """Whichever write is the last: one request, one rollback, and every window once."""
    for day in range(2):
        fill_day(log, day, shift=0.6, broken=True)
    watch = make_watch(log, policy=BOTH)
    living = ledger.store
    ledger.store = MortalStore(living, at=at, after=True, die=raise_killed)
    with pytest.raises(Killed):
        look(ledger, watch, day=2)
    ledger.store = living
    report = look(ledger, watch, day=2.1)
    assert len(find_training_requests(living, "m")) == 1
    assert [entry.action for entry in read_history(ledger)].count("rollback") == 1
    assert get_production(ledger) == "1"
    assert report.version in {"1", "2"}


def test_a_dry_run_writes_nothing_and_says_what_would_stand(ledger: Ledger, log: Path) -> None:
    for day in range(2):
        fill_day(log, day, shift=0.6, broken=True)
    report = look(ledger, make_watch(log, policy=BOTH, dry_run=True), day=2)
    assert (report.standing, report.alarms, report.run_id) == (("drift", "quality"), (), None)
    until = "up to 2026-03-03T00:00:00.000Z"
    assert f"would be an alarm: drift, size, probability of 1, {until}" in report.notes
    assert ledger.store.find_experiment("greenroom/m/monitor") is None
    assert get_production(ledger) == "2"
    look(ledger, make_watch(log), day=2)
    assert look(ledger, make_watch(log), day=2).windows == ()
    again = look(ledger, make_watch(log, dry_run=True), day=2)  # with --since: from there, once more
    assert list_verdicts(again) == [("drift", "bad"), ("drift", "bad")]


def test_an_earlier_part_of_the_log_can_be_the_reference(ledger: Ledger, log: Path) -> None:
    for day in range(3):
        fill_day(log, day, shift=0.6)
    watch = make_watch(log, reference="2026-03-01..2026-03-02", since=FIRST + timedelta(days=1))
    report = look(ledger, watch, day=3)
    assert list_verdicts(report) == [("quiet", "quiet"), ("quiet", "quiet")]
    assert report.origin == "400 predictions of 2026-03-01..2026-03-02"


def test_a_file_can_be_the_reference_and_knows_no_scores(ledger: Ledger, log: Path, tmp_path: Path) -> None:
    fill_day(log, 0)
    pd.DataFrame({"size": np.random.default_rng(1).normal(size=500), "kind": "a"}).to_csv(
        tmp_path / "rows.csv"
    )
    report = look(ledger, make_watch(log, reference=str(tmp_path / "rows.csv")), day=1)
    (one,) = report.windows
    assert one.drift is not None
    assert one.drift.drifted == ("kind",)
    assert one.quality is not None
    assert one.quality.reason == "the reference has no answers with truths to compare with"
    assert any("the reference has no answers" in note for note in report.notes)


def test_a_version_without_evaluation_rows_says_what_to_supply(ledger: Ledger, log: Path) -> None:
    number = _add_version(ledger, log)
    with pytest.raises(DataError, match=r"Version 3 of m brings no evaluation rows.*--reference FILE"):
        look(ledger, make_watch(log, version=number), day=1)


def test_nobody_in_the_stage_is_told(ledger: Ledger, log: Path) -> None:
    with pytest.raises(NotFoundError, match="m has no version in staging"):
        look(ledger, make_watch(log, stage="staging"), day=1)


def test_other_rules_begin_a_new_series(ledger: Ledger, log: Path) -> None:
    fill_day(log, 0)
    assert len(look(ledger, make_watch(log), day=1).windows) == 1
    assert len(look(ledger, make_watch(log), day=1).windows) == 0
    assert len(look(ledger, make_watch(log, policy=make_policy(level=0.01)), day=1).windows) == 1
    assert len(look(ledger, make_watch(log, policy=make_policy(windows=5)), day=1).windows) == 0


def test_rounds_go_on_while_the_server_is_away_and_end_with_ctrl_c() -> None:
    said: list[str] = []
    waits: list[float] = []
    errors: list[BaseException] = [KeyboardInterrupt(), UnreachableError("No answer.")]

    def fail() -> Report:
        raise errors.pop()

    with pytest.raises(KeyboardInterrupt):
        watch_again(fail, 3600.0, sleep=waits.append, tell=said.append)
    assert (said, waits) == (["No answer. Going on."], [60.0])


def test_a_report_without_windows_says_that_none_is_over(ledger: Ledger, log: Path) -> None:
    report = look(ledger, replace(make_watch(log)), day=0.5)
    assert (report.verdict, report.windows) == ("not_enough_data", ())
    assert "no window is over yet" in write_text(report)
