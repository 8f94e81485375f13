import threading
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from registry import (
    AccessDeniedError,
    DataError,
    PredictionTable,
    PredictionWriter,
    UsageError,
    append_feedback,
    append_predictions,
    read_predictions,
)
from registry.predictions.reading import count_unknown
from tests.registry.predictions.frames import make_table

NAME = "flight delay (späť)/.."
"""A name as MLflow might have it one day: nothing in it may lead out of the log."""


def read(folder: Path, **options: object) -> PredictionTable:
    return read_predictions(str(folder), NAME, **options)  # type: ignore[arg-type]


def test_what_was_appended_comes_back_typed(tmp_path: Path) -> None:
    given = make_table(
        ["a", "b", "c"],
        inputs={
            "size": [1.5, None, 3.0],
            "carrier": pd.Series(["UA", None, "AA"], dtype=object),
            "is_late": pd.Series([True, False, True], dtype=object),
            "when": pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02", None])),
        },
        outputs={"answer": pd.Series(["no", "yes", "no"], dtype=object), "probability_yes": [0.1, 0.9, 0.2]},
    )
    append_predictions(str(tmp_path), NAME, given)
    got = read(tmp_path)
    pd.testing.assert_frame_equal(got.meta, given.meta)
    pd.testing.assert_frame_equal(got.outputs, given.outputs)
    assert list(got.inputs.dtypes) == ["float64", object, object, object]
    assert got.inputs["when"].tolist() == ["2026-01-01T00:00:00", "2026-01-02T00:00:00", None]
    pd.testing.assert_frame_equal(got.inputs.drop(columns="when"), given.inputs.drop(columns="when"))
    assert got.truth["truth_time"].isna().all()
    assert len({str(frame.index) for frame in (got.meta, got.inputs, got.outputs, got.truth)}) == 1


def test_a_log_without_predictions_is_four_empty_frames(tmp_path: Path) -> None:
    got = read(tmp_path / "not there yet")
    assert [len(frame) for frame in (got.meta, got.inputs, got.outputs, got.truth)] == [0, 0, 0, 0]
    assert list(got.meta) == ["id", "time", "version", "path"]
    assert got.meta["time"].dtype == got.truth["truth_time"].dtype == "datetime64[us, UTC]"


def test_a_window_and_versions_choose_rows_and_spare_other_files(tmp_path: Path) -> None:
    for version, start in (("1", "2026-02-28T23:59:59Z"), ("2", "2026-03-02T00:00:00Z")):
        append_predictions(
            str(tmp_path), NAME, make_table([f"{version}a", f"{version}b"], start=start, version=version)
        )
    assert read(tmp_path).meta["id"].tolist() == ["1a", "1b", "2a", "2b"]
    assert read(tmp_path, versions=["2", "7"]).meta["id"].tolist() == ["2a", "2b"]
    (spoilt,) = tmp_path.rglob("date=2026-02-28/*.parquet")
    spoilt.write_bytes(b"half a file, which a Greenroom writer never leaves")
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert read(tmp_path, since=midnight).meta["id"].tolist() == ["1b", "2a", "2b"]
    assert read(tmp_path, since=midnight.replace(tzinfo=None), until=datetime(2026, 3, 2, tzinfo=UTC)).meta[
        "id"
    ].tolist() == ["1b"]
    with pytest.raises(DataError, match=spoilt.name):
        read(tmp_path)


def test_a_column_may_change_its_kind_and_come_and_go(tmp_path: Path) -> None:
    for one, value in (("a", 1), ("b", "text"), ("c", None), ("d", [1, "two"]), ("e", 10**400)):
        sent = {"size": pd.Series([value], dtype=object), f"only {one}": 1.0}
        append_predictions(str(tmp_path), NAME, make_table([one], inputs=sent))
    inputs = read(tmp_path).inputs
    sizes = sorted(str(value) for value in inputs["size"].tolist())
    assert sizes == [
        "1.0",
        str(10**400),
        "None",
        "[1, 'two']",
        "text",
    ]
    assert inputs["only a"].dropna().tolist() == [1.0]


def test_two_writers_and_a_reader_share_a_log(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        for number in range(15):
            append_predictions(str(tmp_path), NAME, make_table([f"{writer}.{number}"]))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    seen = [len(read(tmp_path).meta)]
    while any(writer.is_alive() for writer in writers):
        seen.append(len(read(tmp_path).meta))
    assert seen == sorted(seen)
    assert read(tmp_path).meta["id"].nunique() == 30


def test_nothing_leaves_the_logs_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_predictions(str(log), "..", make_table(["a"], version="../../up"))
    append_predictions(str(log), "x" * 255, make_table(["b"], version="ü" * 255))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert read_predictions(str(log), "..").meta["version"].tolist() == ["../../up"]
    assert read_predictions(str(log), "x" * 255, versions=["ü" * 255]).meta["id"].tolist() == ["b"]
    assert read_predictions(str(log), "x" * 255).meta["version"].tolist() == ["ü" * 255]


def test_a_clock_that_goes_backwards_changes_times_and_nothing_else(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    writer = PredictionWriter(str(tmp_path), NAME)
    for number, days in enumerate(([3, 2, 3], [1])):
        parts = writer.encode_predictions(
            "1",
            ids=[f"{number}.{day}" for day in range(len(days))],
            times_us=[day * day_us for day in days],
            paths=["native"] * len(days),
            inputs={},
            outputs={"prediction": [1] * len(days)},
        )
        for part in parts:
            writer.write(part)
    assert read(tmp_path).meta["id"].tolist() == ["1.0", "0.1", "0.0", "0.2"]
    assert [path.name for path in sorted(tmp_path.rglob("date=*"))] == [
        "date=1970-01-02",
        "date=1970-01-03",
        "date=1970-01-04",
    ]


def test_truths_come_late_twice_and_for_nobody(tmp_path: Path) -> None:
    append_feedback(str(tmp_path), NAME, pd.DataFrame({"id": ["a"], "truth": [5]}))  # before its prediction
    append_predictions(str(tmp_path), NAME, make_table(["a", "b/0", "b/1", "c"]))
    told = {
        "id": ["b/1", "b/1", "x", "c/0"],
        "truth": [1.0, 2.0, 9.0, 3.0],
        "time": ["2026-03-05", "2026-03-04", "2026-03-03T01:02:03+01:00", "2026-03-02"],
    }
    append_feedback(str(tmp_path), NAME, pd.DataFrame(told))
    truth = read(tmp_path).truth
    assert truth["truth"].fillna(-1).tolist() == [5.0, -1.0, 1.0, 3.0]
    assert truth["truth_time"].notna().tolist() == [True, False, True, True]
    assert count_unknown(str(tmp_path), NAME, ["b/1", "b/1", "x", "c/0"]) == 1


def test_a_table_with_its_truths_is_written_whole(tmp_path: Path) -> None:
    given = make_table(["a", "b"])
    moments = pd.to_datetime(pd.Series(["2026-04-01", None]), utc=True)
    known = PredictionTable(
        given.meta,
        given.inputs,
        given.outputs,
        pd.DataFrame({"truth": ["yes", None], "truth_time": moments}),
    )
    append_predictions(str(tmp_path), NAME, known)
    assert read(tmp_path).truth["truth"].tolist()[0] == "yes"
    assert read(tmp_path).truth["truth_time"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("feedback", "sentence"),
    [
        ({"id": ["a"]}, "no column 'truth'"),
        ({"id": ["a", None], "truth": [1, 2]}, "Row 2 of the feedback has no id."),
        ({"id": ["a"], "truth": [1], "time": ["yesterday"]}, "Row 1 of the feedback has no time."),
    ],
)
def test_feedback_that_says_nothing_is_refused(
    tmp_path: Path, feedback: dict[str, list[object]], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        append_feedback(str(tmp_path), NAME, pd.DataFrame(feedback))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("log", ["gs://bucket/log", "s3://", " "])
def test_what_is_no_address_of_a_log_is_refused(log: str) -> None:
    with pytest.raises(UsageError):
        read_predictions(log, "m")


def test_a_log_in_s3_reads_as_one_in_a_folder(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", moto_server)
    with pytest.raises(AccessDeniedError, match="bucket does not exist"):
        append_predictions("s3://logs/deep/er", NAME, make_table(["a"]))
    boto3.client("s3", endpoint_url=moto_server, region_name="us-east-1").create_bucket(Bucket="logs")
    for version, start in (("1", "2026-02-28T23:59:59Z"), ("2", "2026-03-02T00:00:00Z")):
        append_predictions(
            "s3://logs/deep/er",
            NAME,
            make_table([f"{version}a", f"{version}b"], start=start, version=version),
        )
    append_feedback("s3://logs/deep/er/", NAME, pd.DataFrame({"id": ["1b"], "truth": [1]}))
    got = read_predictions(
        "s3://logs/deep/er",
        NAME,
        since=datetime(2026, 3, 1, tzinfo=UTC),
        until=datetime(2026, 3, 2, tzinfo=UTC),
    )
    assert got.meta["id"].tolist() == ["1b"]
    assert got.truth["truth"].tolist() == [1.0]
    assert len(read_predictions("s3://logs/deep/er/", NAME).meta) == 4
