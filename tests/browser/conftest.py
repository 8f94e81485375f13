"""A browser, and a model with a short life to look at."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from registry.server import Server
from tests.browser.story import Story

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BIN = Path(sys.executable).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET_UI = """
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
"""The UI opens in its GenAI mode, with an assistant over a third of the page."""

JOB = """
[job]
name = "{name}"
description = "Is a tumour benign?"

[data]
source = "rows.csv"
target = "benign"

[model]
estimator = "sklearn.linear_model.LogisticRegression"
params = {{ max_iter = 5000 }}
"""


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium of this machine. There is no skipping: without one these tests fail."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"Browser tests need one of {', '.join(BROWSERS)}; install it, then: make test-browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: "Browser", request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Page]":
    """A fresh page; what it showed last is kept in the test's folder if the test fails."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    context.add_init_script(QUIET_UI)
    context.set_default_timeout(20_000)
    opened = context.new_page()
    failed_before = request.session.testsfailed
    yield opened
    if request.session.testsfailed > failed_before:
        opened.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()


@pytest.fixture(scope="session")
def story(mlflow_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Trains a tiny job and promotes it, with the commands that people type."""
    from sklearn.datasets import load_breast_cancer

    folder = tmp_path_factory.mktemp("story")
    name = f"tumour-{uuid.uuid4().hex[:8]}"
    data = load_breast_cancer(as_frame=True)
    rows = data.data.iloc[:, :6].assign(benign=data.target)
    rows.columns = [column.replace(" ", "_") for column in rows.columns]
    rows.to_csv(folder / "rows.csv", index=False)
    (folder / "job.toml").write_text(JOB.format(name=name), "utf-8")

    def run(*words: str) -> dict[str, Any]:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server.uri, "GREENROOM_ACTOR": "ada@lab"}
        done = subprocess.run(
            [BIN / words[0], *words[1:], "--json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    trained = run("train-model", "job.toml")
    run("promote-model", name, "--to", "staging")
    promoted = run("promote-model", name, "--to", "production", "--reason", "first version")
    from mlflow import MlflowClient

    evidence = MlflowClient(mlflow_server.uri).get_run(promoted["evidence_run"])
    return Story(
        uri=mlflow_server.uri,
        name=name,
        version=trained["version"],
        run_id=trained["run_id"],
        experiment_id=trained["experiment_id"],
        evidence_run=promoted["evidence_run"],
        evidence_experiment=evidence.info.experiment_id,
    )
