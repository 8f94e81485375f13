"""The whole demo, as ``make demo`` runs it, on PostgreSQL and S3: the same job and story by two URIs."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fixtures.postgres import Postgres
from tests.fixtures.s3 import S3Server

DEMO = Path(__file__).parents[2] / "examples" / "flights" / "demo.py"


@pytest.mark.timeout(600)
def test_the_demo_tells_its_story_on_postgresql_and_s3(
    postgres: Postgres, s3_server: S3Server, tmp_path: Path
) -> None:
    command = [sys.executable, str(DEMO), "--folder", str(tmp_path)]
    command += ["--backend-store-uri", postgres.create_database()]
    command += ["--artifacts", f"s3://{s3_server.bucket}/demo"]
    environment = {**os.environ, **s3_server.environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "demo.log").read_text()[-3000:]
    assert ", failed: 0." in done.stdout
    assert "metric: no." in done.stdout
    assert "Version 1 answers again" in done.stdout
    kept = s3_server.connect().list_objects_v2(Bucket=s3_server.bucket, Prefix="demo/")
    assert any(item["Key"].endswith("MLmodel") for item in kept["Contents"])
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info)]
    assert left == []
