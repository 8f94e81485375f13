from pathlib import Path

import pytest

from registry import DataError, UsageError, read_table

CODE = """
import pandas as pd
def rows(count=2):
    return pd.DataFrame({"a": range(count)}, index=range(5, 5 + count))
def nothing():
    return None
def doubled():
    return pd.DataFrame([[1, 2]], columns=["a", "a"])
def numbered():
    return pd.DataFrame([[1, 2]])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "load.py").write_text(CODE)
    return tmp_path


def test_a_function_is_called_with_its_args_and_the_index_is_fresh(folder: Path) -> None:
    frame = read_table("python:load.py:rows", folder=folder, args={"count": 3})
    assert frame["a"].tolist() == [0, 1, 2]
    assert frame.index.tolist() == [0, 1, 2]


def test_a_function_of_a_module_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "shop_tables.py").write_text(CODE)
    monkeypatch.syspath_prepend(folder)
    assert len(read_table("python:shop_tables:rows")) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("python:gone.py:rows", "gone.py does not exist."),
        ("python:load.py:gone", "there is no function 'gone'."),
        ("python:no_such_module:rows", "the module 'no_such_module' is not installed."),
        ("python:load.py:nothing", "returned NoneType, not a pandas DataFrame."),
        ("python:load.py:doubled", "has the column 'a' twice."),
        ("python:load.py:numbered", "has a column named 0."),
    ],
)
def test_what_gives_no_table_is_refused(folder: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(text, folder=folder)
    assert sentence in str(caught.value)


def test_arguments_that_the_function_does_not_take_are_wrong_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match="unexpected keyword argument 'cuont'"):
        read_table("python:load.py:rows", folder=folder, args={"cuont": 3})
