from pathlib import Path

import pandas as pd
import pytest

from registry import DataError, read_table

ROWS = pd.DataFrame({"name": ["Zoë", "Bo"], "size": [1.5, 2.0]})


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.csv.zip", "rows.parquet"])
def test_a_file_is_read_by_its_ending(tmp_path: Path, name: str) -> None:
    if name.endswith(".parquet"):
        ROWS.to_parquet(tmp_path / name)
    else:
        ROWS.to_csv(tmp_path / name, index=False)
    pd.testing.assert_frame_equal(read_table(name, folder=tmp_path), ROWS)


def test_a_folder_is_one_table_in_the_order_of_names_and_markers_are_left_out(tmp_path: Path) -> None:
    ROWS.iloc[:1].to_parquet(tmp_path / "b.parquet")
    ROWS.iloc[1:].to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "_SUCCESS.csv").write_text("")
    (tmp_path / "notes.txt").write_text("hello")
    frame = read_table(str(tmp_path))
    assert frame["name"].tolist() == ["Bo", "Zoë"]
    assert frame.index.tolist() == [0, 1]


def test_a_pattern_is_one_table(tmp_path: Path) -> None:
    for month in ("01", "02"):
        ROWS.assign(month=month).to_csv(tmp_path / f"2013-{month}.csv", index=False)
    assert len(read_table("2013-*.csv", folder=tmp_path)) == 4


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("rows.csv", "", "rows.csv is empty."),
        ("rows.csv", 'a,b\n1,"2\n', "rows.csv cannot be read as CSV"),
        ("rows.csv", "a,a\n1,2\n", "rows.csv has the column 'a' twice."),
        ("rows.csv", "a,b\n1,2,3\n1,2,3,4\n", "rows.csv cannot be read as CSV"),
        ("rows.parquet", "not parquet", "rows.parquet cannot be read as Parquet"),
        ("rows.csv.gz", "not gzip", "rows.csv.gz cannot be read as CSV"),
        ("rows.txt", "a\n1\n", "rows.txt is neither CSV nor Parquet by its name."),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read_table(name, folder=tmp_path)
    assert sentence in str(caught.value)


def test_text_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"rows\.csv cannot be read as CSV"):
        read_table("rows.csv", folder=tmp_path)


@pytest.mark.parametrize("name", ["rows.csv", "days/*.csv"])
def test_nothing_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"does not exist|matches no CSV"):
        read_table(name, folder=tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="matches no CSV or Parquet file"):
        read_table(str(tmp_path))


def test_files_of_one_table_must_have_the_same_columns(tmp_path: Path) -> None:
    ROWS.to_csv(tmp_path / "a.csv", index=False)
    ROWS.rename(columns={"size": "weight"}).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match=r"'size' is not in both a\.csv and b\.csv"):
        read_table(str(tmp_path))
