"""What README and how-tos tell people to type works as written, and prints what the JSON page says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from registry.console import run_command
from registry.server import find_free_port
from tests.house.street import BIN, DOCS, REFERENCE, ROOT, load_commands, read_first_cells, read_sections

pytestmark = pytest.mark.xdist_group("readme")  # they share what the first of them typed

SET_UP = ("make setup", ". .venv/bin/activate")
READY_TIMEOUT_S = 90.0
CURL = """\
#!{python}
import sys, urllib.request
url = next(word for word in sys.argv[1:] if word.startswith("http"))
name, _, value = sys.argv[sys.argv.index("-H") + 1].partition(": ")
assert "@-" in sys.argv
request = urllib.request.Request(url, sys.stdin.buffer.read(), {{name: value}})
print(urllib.request.urlopen(request).read().decode())
"""
"""For machines without curl: Python and make are all that a developer needs."""


@dataclass(frozen=True)
class FiveMinutes:
    """The README's section, typed up to the server: the folder it made, and what is left to type."""

    folder: Path
    environment: dict[str, str]
    serve: str
    ask: str
    answer: Any

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> FiveMinutes:
    text = read_sections(ROOT / "README.md")["Your own model in five minutes"]
    set_up, train, serve, ask = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (job,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (answer,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    start = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples" / "quickstart", start / "examples" / "quickstart")
    folder = start / "my-model"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "GREENROOM"))},
        "PATH": os.pathsep.join([str(BIN), str(_make_tools(start)), os.environ["PATH"]]),
        "HOME": str(start),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    lines = [line for line in set_up.splitlines() if line not in SET_UP]
    assert len(lines) < len(set_up.splitlines()), "the set-up of the README changed; see SET_UP"
    FiveMinutes(start, environment, "", "", None).run("\n".join(lines))
    assert job.strip() in _drop_comments((folder / "job.toml").read_text("utf-8"))
    shutil.copyfile(sqlite_template, folder / "mlflow.db")  # the tables are MLflow's, and take 5 s to make
    made = FiveMinutes(folder, environment, serve.strip(), ask.strip(), json.loads(answer))
    assert "first version" in made.run(train)
    return made


def test_the_five_minutes_of_the_readme_end_with_the_answer_it_shows(typed: FiveMinutes) -> None:
    port = str(find_free_port())
    command = typed.serve.replace("8080", port)
    with (typed.folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            command.split(), cwd=typed.folder, env=typed.environment, stdout=log, stderr=log
        )
        try:
            _wait_until_ready(server, port)
            said = typed.run(typed.ask.replace("8080", port))
        finally:
            server.terminate()
            server.wait(timeout=30)
    assert json.loads(said) == typed.answer


def test_the_script_for_ci_takes_a_refusal_for_an_answer(typed: FiveMinutes) -> None:
    text = (DOCS / "how-to" / "promotion-from-ci.md").read_text("utf-8")
    (script,) = re.findall(r"```sh\n(#!.*?)```", text, re.DOTALL)
    assert "https://mlflow.example.com" in script
    script = script.replace("https://mlflow.example.com", "sqlite:///mlflow.db")
    script = script.replace("flight-delay", "tumours").replace("#!/usr/bin/env bash\n", "")
    folder = typed.folder
    ci = {"CI_PIPELINE_ID": "7", "CI_COMMIT_AUTHOR": "ada", **typed.environment}
    said = FiveMinutes(folder, ci, "", "", None).run(script)
    assert "The gates said no; version 2 stays in staging." in said
    promotion = json.loads((folder / "promotion.json").read_text("utf-8"))
    assert promotion["verdict"] in {"no", "not_enough_data"}
    assert "ci/7 (ada)" in typed.run("greenroom history tumours")


def test_commands_print_the_documents_that_the_json_page_describes(
    typed: FiveMinutes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(typed.folder)
    page = (REFERENCE / "json.md").read_text("utf-8")
    seen: dict[str, set[str]] = defaultdict(set)
    for words, expected in _list_documents():
        command, arguments = _split(words)
        code = run_command(load_commands()[command], [*arguments, "--json"], prog=command)
        out, err = capfd.readouterr()
        assert code == expected, f"{words}: {out}{err}"
        document = json.loads(out)
        seen[document["schema"]] |= set(document)
        if document["schema"] == "greenroom/history/1":
            assert all(f"`{key}`" in page for entry in document["entries"] for key in entry)
    pages = {name.strip("`"): text for name, text in read_sections(REFERENCE / "json.md").items()}
    known = {schema: set(read_first_cells(pages[schema])) for schema in seen}
    known["greenroom/status/1"].add("models")  # of all models, said in the text
    known["greenroom/training/1"] -= {"link", "experiment_id"}  # this one was a dry run
    assert seen == known


def _list_documents() -> Iterator[tuple[str, int]]:
    """Commands, and the exit codes they end with here."""
    yield "train-model job.toml --dry-run", 0
    yield "promote-model tumours --version 1 --to production --dry-run", 0
    yield "promote-model tumours --version 1 --to production --expect 99", 5
    yield "greenroom status", 0
    yield "greenroom status tumours", 0
    yield "greenroom history tumours", 0
    yield "greenroom history tumours --as-of 2100-01-01", 0
    yield "greenroom lineage tumours", 0
    yield "greenroom verify tumours", 0
    yield "greenroom reconcile tumours --dry-run", 0
    yield "greenroom doctor", 0
    yield "greenroom adopt tumours --dry-run", 0
    yield "greenroom approve tumours --version 1 --dry-run", 0
    yield "greenroom rollback tumours --dry-run", 1


def _split(words: str) -> tuple[str, list[str]]:
    parts = words.split()
    size = 2 if parts[0] == "greenroom" else 1
    return " ".join(parts[:size]), parts[size:]


def _make_tools(folder: Path) -> Path:
    tools = folder / "tools"
    tools.mkdir()
    if shutil.which("curl") is None:
        (tools / "curl").write_text(CURL.format(python=sys.executable), "utf-8")
        (tools / "curl").chmod(0o755)
    return tools


def _drop_comments(toml: str) -> str:
    lines = [re.sub(r"\s+#.*$", "", line) for line in toml.splitlines() if not line.startswith("#")]
    return "\n".join(lines).strip()


def _wait_until_ready(server: "subprocess.Popen[bytes]", port: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "serve-model ended"
        try:
            with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("serve-model was not ready in time")
