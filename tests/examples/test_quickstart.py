"""The quickstart: a CSV file of your own becomes a model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.cli import main

FOLDER = Path(__file__).parents[2] / "examples" / "quickstart"


def test_a_csv_file_becomes_a_model(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    for name in ("make_data.py", "job.toml"):
        shutil.copy(FOLDER / name, tmp_path)
    subprocess.run([sys.executable, "make_data.py"], check=True, cwd=tmp_path, capture_output=True)
    assert main([str(tmp_path / "job.toml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "tumours"
    assert document["metrics"]["roc_auc"] > 0.98
