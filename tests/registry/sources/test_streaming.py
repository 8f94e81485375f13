import csv
import gzip
import io
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from registry.errors import DataError, UsageError
from registry.sources.csv_streaming import cut_csv
from registry.sources.location import parse_source
from registry.sources.pieces import Piece
from registry.sources.streaming import cut_source, list_source, read_piece


def cut(text: str | Path) -> list[Piece]:
    return cut_source(list_source(parse_source(str(text))))


def read(
    pieces: list[Piece], columns: list[str], batch_rows: int = 1000
) -> list[tuple[int, dict[str, object]]]:
    """Every row with its number, piece after piece."""
    return [
        (row, values)
        for piece in pieces
        for batch in read_piece(piece, columns, batch_rows)
        for row, values in zip(batch.rows, batch.table.to_pylist(), strict=True)
    ]


def write_parquet(path: Path, rows: int, group: int) -> None:
    pq.write_table(
        pa.table({"x": range(rows), "y": [f"t{n}" for n in range(rows)]}), path, row_group_size=group
    )


def test_parquet_is_cut_between_row_groups_and_read_whole(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 1000, 100)
    pieces = cut_source(list_source(parse_source(str(tmp_path))), piece_rows=250)
    assert [(piece.start, piece.stop, piece.first_row, piece.rows) for piece in pieces] == [
        (0, 2, 1, 200), (2, 4, 201, 200), (4, 6, 401, 200), (6, 8, 601, 200), (8, 10, 801, 200),
    ]  # fmt: skip
    rows = read(pieces, ["y", "x"], 64)
    assert rows == [(n + 1, {"y": f"t{n}", "x": n}) for n in range(1000)]
    assert list(rows[0][1]) == ["y", "x"]


def test_a_folder_is_read_in_the_order_of_names_with_names_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_parquet(tmp_path / "b" / "2.parquet", 2, 2)
    write_parquet(tmp_path / "b" / "1.parquet", 1, 1)
    (tmp_path / "_SUCCESS").write_text("")
    assert [file.name for file in list_source(parse_source(str(tmp_path)))] == ["b/1.parquet", "b/2.parquet"]
    assert [row for row, _ in read(cut(tmp_path), ["x"])] == [1, 1, 2]


fields = st.text(st.sampled_from('ab",\n\r é'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(fields, fields), min_size=1, max_size=30),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_csv_cut_anywhere_gives_the_rows_that_python_reads(
    rows: list[tuple[str, str]], ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([("x", "y"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    (file,) = list_source(parse_source(str(path)))
    with path.open("rb") as stream:
        pieces = cut_csv(file, stream, 40, block_bytes=64)
    found = read(pieces, ["x", "y"], 3)
    assert [row for row, _ in found] == list(range(1, len(rows) + 1))
    assert [(one["x"] or "", one["y"] or "") for _, one in found] == rows
    assert sum(piece.rows or 0 for piece in pieces) == len(rows)


def test_rows_with_too_few_or_too_many_fields_are_told_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('x,y\n1,a\n\n2,"b\nc"\n3\n4,d,e\n5,f\n6,5" pipe\n', "utf-8")
    (piece,) = cut(path)
    assert piece.rows == 6
    (batch,) = read_piece(piece, ["y"], 100)
    assert list(batch.rows) == [1, 2, 5, 6]
    assert batch.table["y"].to_pylist() == ["a", "b\nc", "f", '5" pipe']
    assert [(row, fields) for row, fields, _ in batch.broken] == [(3, 1), (4, 3)]


@pytest.mark.parametrize("ending", ["csv.gz", "csv.zip", "csv.bz2", "csv.xz", "csv.zst"])
def test_a_compressed_csv_is_one_piece_and_missing_is_what_pandas_takes_for_it(
    tmp_path: Path, ending: str
) -> None:
    frame = pd.DataFrame({"x": ["1", "NA", ""], "y": ["é", "n/a", "b"]})
    path = tmp_path / f"a.{ending}"
    if ending == "csv.zst":
        with pa.output_stream(path, compression="zstd") as stream:
            stream.write(frame.to_csv(index=False).encode())
    else:
        frame.to_csv(path, index=False)
    (piece,) = cut(path)
    assert (piece.stop, piece.rows) == (-1, None)
    found = read([piece], ["x", "y"])
    assert found == [(1, {"x": "1", "y": "é"}), (2, {"x": None, "y": None}), (3, {"x": None, "y": "b"})]


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 10, 10)
    (piece,) = cut(tmp_path)
    os.utime(tmp_path / "a.parquet", ns=(1, 1))
    with pytest.raises(DataError, match="has changed since"):
        list(read_piece(piece, ["x"], 10))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"x,,y\n1,2,3\n", "without a name"),
        ("a.csv.gz", b"no gzip", "cannot be read as CSV"),
        ("a.csv.gz", gzip.compress(b"x\n1\n" * 1000, mtime=0)[:-20], "cannot be read as CSV"),
        ("a.csv", b"x,x\n1,2\n", "'x' twice"),
        ("a.txt", b"x", "neither CSV nor Parquet"),
        ("a.csv", b"x\n\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_files_that_are_no_tables_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(cut(tmp_path / name), ["x"])


def test_files_with_different_columns_and_sources_without_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(DataError, match=r"'y' is not in both a\.csv and b\.csv"):
        cut(tmp_path)
    with pytest.raises(UsageError, match="piece by piece"):
        list_source(parse_source("sqlite:///a.db", query="SELECT 1"))


def test_objects_are_read_by_ranges_and_one_that_was_replaced_is_refused(
    moto_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    write_parquet(tmp_path / "a.parquet", 1000, 100)
    client.upload_file(str(tmp_path / "a.parquet"), "data", "in/1.parquet")
    client.put_object(Bucket="data", Key="in/2.csv.gz", Body=gzip.compress(b"y,x\nq,1\n"))
    pieces = cut("s3://data/in/")
    assert [piece.file.name for piece in pieces] == ["1.parquet", "2.csv.gz"]
    rows = read(pieces, ["x"], 300)
    assert [values["x"] for _, values in rows] == [*range(1000), "1"]
    client.put_object(Bucket="data", Key="in/1.parquet", Body=b"other")
    with pytest.raises(DataError, match="has changed since"):
        read(pieces[:1], ["x"])
