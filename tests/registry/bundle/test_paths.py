"""Paths of a machine are found in whatever form they stand, and what only looks like one is left alone."""

from pathlib import Path

import pytest

from registry.bundle.paths import clean_text, find_own_folders, find_paths


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("/home/ada/rows.csv", "rows.csv"),
        ("source=/tmp/x/rows.csv, target=late", "source=rows.csv, target=late"),
        ('{"a": "/Users/ada/My.csv"}', '{"a": "My.csv"}'),
        ("sqlite:////var/lib/mlflow.db", "sqlite:///mlflow.db"),
        ("of /tmp/a/rows.csv and `/opt/b/job.toml`.", "of rows.csv and `job.toml`."),
        ("C:\\Users\\ada\\rows.csv", "rows.csv"),
        ('"D:\\\\data\\\\rows.csv"', '"rows.csv"'),
        ("/srv7/models/rows.csv", "rows.csv"),
    ],
)
def test_a_path_keeps_its_last_part(text: str, cleaned: str, tmp_path: Path) -> None:
    own = ("/srv7/models",)
    assert clean_text(text, own) == cleaned
    (tmp_path / "file").write_text(text)
    assert len(find_paths(tmp_path / "file", own)) == (2 if " and " in text else 1)
    (tmp_path / "file").write_text(cleaned)
    assert find_paths(tmp_path / "file", own) == ()


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/home/ada/x",
        "s3://data/rows.csv",
        "mlflow-artifacts:/0/models/x",
        "models:/flights/3",
        "#/experiments/1/runs/2",
        "/shop/shoes",
        "and/or, 3/4, a/tmp/b",
        "examples/flights/home/x",
        "12:30 and x:\\",
        "",
    ],
)
def test_what_only_looks_like_a_path_is_left_alone(text: str, tmp_path: Path) -> None:
    assert clean_text(text) == text
    (tmp_path / "file").write_text(text)
    assert find_paths(tmp_path / "file") == ()


def test_paths_in_binary_files_are_found_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x80\x04\x00" + b"/home/ada/train.py" + b"\x00\xff")
    assert find_paths(tmp_path / "file") == ("/home/ada/train.py",)


def test_own_folders_are_those_of_the_addresses() -> None:
    own = find_own_folders(
        [
            "sqlite:////srv7/ml/mlflow.db",
            "file:///srv8/runs/0",
            "http://host/x/y",
            "s3://bucket/a",
            "/srv9/m/1",
        ]
    )
    assert {"/srv7/ml", "/srv8/runs", "/srv9/m"} <= set(own)
    assert not [folder for folder in own if "host" in folder or "bucket" in folder]
