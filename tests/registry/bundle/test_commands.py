"""The commands as scripts see them, from SQLite to PostgreSQL and S3 and back again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry.cli import main
from registry.server import Server
from tests.fixtures.mlflow_stores import copy_template
from tests.fixtures.s3 import S3Server
from tests.house.street import REFERENCE, read_first_cells, read_sections
from tests.registry.bundle.conftest import NAME, Place
from tests.registry.conftest import Artifacts

ROWS = 1_000


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def read_keys(schema: str) -> set[str]:
    return set(read_first_cells(read_sections(REFERENCE / "json.md")[f"`{schema}`"]))


def predict(model: str, version: str, rows: pd.DataFrame) -> Any:
    import mlflow.pyfunc

    return np.asarray(mlflow.pyfunc.load_model(f"models:/{model}/{version}").predict(rows))


def test_from_sqlite_to_postgres_and_s3_and_back(
    source: Place,
    artifacts: Artifacts,
    mlflow_server_s3: Server,
    s3_server: S3Server,
    sqlite_template: Path,
    model_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    rows = pd.read_parquet(artifacts.rows).drop(columns="benign").sample(ROWS, replace=True, random_state=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", source.settings.tracking_uri)
    first = predict(NAME, "2", rows)

    code, out = ask(capsys, "export", NAME, str(tmp_path / "out.bundle"))
    assert (code, out["version"], out["stage"], out["paths"]) == (0, "2", "production", [])
    assert set(out) == read_keys("greenroom/export/1")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server_s3.uri)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    words = ("import", str(tmp_path / "out.bundle"), "--name", model_name)
    code, found = ask(capsys, *words, "--digest", out["digest"], "--to", "staging")
    assert (code, found["version"], found["verdict"], found["manifest"]) == (0, "1", "yes", out["manifest"])
    assert set(found) == read_keys("greenroom/import/1") - {"unfinished"}
    assert np.array_equal(predict(model_name, "1", rows), first)
    assert ask(capsys, "verify", model_name)[1]["findings"] == []
    code, history = ask(capsys, "history", model_name)
    assert [entry["action"] for entry in history["entries"]] == ["import", "promote"]
    assert [entry["action"] for entry in history["imported"][0]["entries"]][-1] == "promote"
    code, found = ask(capsys, *words)
    assert (code, found["already"], found["seq"]) == (0, True, 2)

    code, back = ask(capsys, "export", f"{model_name}@staging", str(tmp_path / "back.bundle"))
    assert (code, back["manifest"], back["seq"]) == (0, out["manifest"], 2)
    home = copy_template(sqlite_template, tmp_path / "home.db", str(tmp_path / "home" / "0"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home)
    code, found = ask(capsys, "import", str(tmp_path / "back.bundle"))
    assert (code, found["model"], found["version"]) == (0, model_name, "1")
    assert np.array_equal(predict(model_name, "1", rows), first)
    assert ask(capsys, "verify", model_name)[1]["findings"] == []
    assert str(tmp_path).encode() not in (tmp_path / "back.bundle").read_bytes()


def test_what_is_asked_wrongly_is_one_line_and_writes_nothing(
    source: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", source.settings.tracking_uri)
    file = str(tmp_path / "out.bundle")
    assert ask(capsys, "export", NAME, file, "--version", "9")[1]["error"] == "not_found"
    assert ask(capsys, "export", f"{NAME}@staging", file)[1]["error"] == "not_found"
    code, found = ask(capsys, "export", NAME, str(tmp_path))
    assert (code, found["error"]) == (2, "usage")
    assert list(tmp_path.iterdir()) == []
    code, found = ask(capsys, "import", file)
    assert (code, found["error"]) == (1, "not_found")
    Path(file).write_bytes(b"PK\3\4 a zip")
    code, found = ask(capsys, "import", file)
    assert (code, found["error"]) == (3, "tampered")


def test_a_dry_run_needs_no_registry_yet(
    source: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", source.settings.tracking_uri)
    file = str(tmp_path / "out.bundle")
    code, out = ask(capsys, "export", NAME, file, "--version", "3")
    assert code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new.db")
    code, found = ask(capsys, "import", file, "--dry-run")
    assert (code, found["dry_run"], found["version"], found["manifest"]) == (0, True, None, out["manifest"])
    assert "pickle" in found["trust"][0]
    assert [path.name for path in tmp_path.iterdir()] == ["out.bundle"]
    code, found = ask(capsys, "import", file, "--digest", "0" * 64, "--dry-run")
    assert (code, found["error"]) == (3, "tampered")
