"""The commands as scripts see them: documents, exit codes, against a real MLflow server."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from registry import PRODUCTION, STAGING, RegistryStore, Server, Settings, open_store
from registry.cli import main, promote_main
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.manifest import compute_manifest
from registry.promotion import commit
from registry.upkeep import ensure_history
from tests.house.street import REFERENCE, read_first_cells, read_sections
from tests.registry.conftest import Artifacts
from tests.registry.mlflow_models import register


@pytest.fixture
def store(mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> RegistryStore:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    return open_store(Settings(tracking_uri=mlflow_server.uri, registry_uri=mlflow_server.uri))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    return folder


@pytest.fixture
def model(store: RegistryStore, model_name: str, files: Path) -> str:
    """Version 1 was in production, version 2 is, version 3 is a candidate."""
    register(store, model_name, files, 3)
    ledger = Ledger(store, model_name, actor=Actor("ada@lab"))
    for number in ("1", "2"):
        for stage in (STAGING, PRODUCTION):
            move(ledger, number, stage, files)
    return model_name


def move(ledger: Ledger, number: str, stage: str, files: Path) -> None:
    state = ensure_history(ledger)
    version = ledger.store.get_version(ledger.name, number)
    holder = state.holder(stage)
    manifest = compute_manifest(files)
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=stage,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
        manifest=manifest.digest,
        layout=manifest.layout,
        reason="because",
    )
    commit(ledger, state, version, draft)


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_status_has_the_promised_keys(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = ask(capsys, "status", model)
    assert code == 0
    assert found["schema"] == "greenroom/status/1"
    assert found["model"] == model
    assert found["head"]["seq"] == 4
    assert len(found["head"]["hash"]) == 64
    assert found["staging"] is None
    assert found["production"]["version"] == "2"
    assert found["production"]["seq"] == 4
    assert found["production"]["since"].endswith("Z")
    assert (found["candidates"], found["pending"], found["rejected"]) == (["3"], [], [])


def test_status_without_a_name_shows_all_models(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = ask(capsys, "status")
    assert code in {0, 3}  # other tests leave tampered histories on the same server
    (own,) = [one for one in found["models"] if one["model"] == model]
    assert own["production"]["version"] == "2"


def test_history_has_the_promised_keys(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = ask(capsys, "history", model)
    assert (code, found["schema"]) == (0, "greenroom/history/1")
    promised = [
        "seq",
        "time",
        "actor",
        "action",
        "stage",
        "version",
        "was",
        "reason",
        "evidence_run",
        "manifest",
        "hash",
    ]
    assert all(set(promised) <= set(entry) for entry in found["entries"])
    assert [entry["seq"] for entry in found["entries"]] == [1, 2, 3, 4]
    assert found["entries"][-1]["was"] == "1"
    code, found = ask(capsys, "history", model, "--as-of", "2100-01-01")
    assert (code, found["production"]["version"]) == (0, "2")
    code, found = ask(capsys, "history", model, "--as-of", "2000-01-01")
    assert (code, found["error"]) == (1, "not_found")
    code, found = ask(capsys, "history", model, "--as-of", "tomorrow")
    assert (code, found["error"]) == (2, "usage")


def test_history_reads_well(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["seq", "time", "(UTC)", "who", "what", "from", "to", "why"]
    assert lines[4].split()[3:] == ["ada@lab", "promote", "to", "production", "1", "2", "because"]


def test_rollback_and_its_dry_run(
    model: str, store: RegistryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.get_model(model)
    code, found = ask(capsys, "rollback", model, "--dry-run")
    assert (code, found["version"], found["was"], found["dry_run"]) == (0, "1", "2", True)
    assert store.get_model(model) == before
    code, found = ask(capsys, "rollback", model, "--reason", "complaints")
    assert (code, found["schema"], found["verdict"]) == (0, "greenroom/promotion/1", "yes")
    assert (found["version"], found["was"], found["seq"]) == ("1", "2", 5)
    assert store.get_model(model).aliases == {PRODUCTION: "1"}
    code, found = ask(capsys, "rollback", model)
    assert (code, found["error"]) == (1, "order")
    code, found = ask(capsys, "rollback", model, "--to-version", "2")
    assert (code, found["version"]) == (0, "2")


def test_a_deleted_version_is_refused_as_a_rollback_target_with_its_reason(
    model: str, mlflow_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    import urllib.request

    request = urllib.request.Request(
        f"{mlflow_server.uri}/api/2.0/mlflow/model-versions/delete",
        data=json.dumps({"name": model, "version": "1"}).encode(),
        headers={"Content-Type": "application/json"},
        method="DELETE",
    )
    urllib.request.urlopen(request, timeout=30).close()
    code, found = ask(capsys, "rollback", model)
    assert (code, found["error"]) == (1, "artifact")
    assert "Version 1" in found["message"]
    assert "deleted" in found["message"]


def test_words_archive_reject_approve(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "approve", model, "--version", "3", "--reason", "looked")[0] == 0
    assert ask(capsys, "archive", model, "--version", "3")[0] == 0
    code, found = ask(capsys, "archive", model, "--version", "2")
    assert (code, found["error"]) == (1, "order")
    assert ask(capsys, "history", model)[1]["entries"][-2]["action"] == "approve"


def test_reject_is_shown_by_status(
    store: RegistryStore, model_name: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(store, model_name, files, 1)
    assert ask(capsys, "reject", model_name, "--version", "1")[0] == 0
    assert ask(capsys, "status", model_name)[1]["rejected"] == ["1"]
    code = promote_main([model_name, "--to", "staging", "--version", "1", "--json"])
    assert (code, json.loads(capsys.readouterr().out)["error"]) == (3, "refused")


def test_adopt_takes_over_what_is_there(
    store: RegistryStore, model_name: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(store, model_name, files, 2)
    store.set_alias(model_name, PRODUCTION, "2")
    code, found = ask(capsys, "adopt", model_name, "--dry-run")
    assert (code, found["found"], found["seq"]) == (0, {PRODUCTION: "2"}, 0)
    assert store.find_experiment(f"greenroom/{model_name}") is None
    code, found = ask(capsys, "adopt", model_name)
    assert (code, found["found"], found["seq"]) == (0, {PRODUCTION: "2"}, 1)
    assert ask(capsys, "adopt", model_name)[1]["seq"] == 1


def test_lineage_verify_and_doctor(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = ask(capsys, "lineage", f"{model}@production")
    assert (code, found["version"], found["stage"]) == (0, "2", PRODUCTION)
    code, found = ask(capsys, "verify", model)
    assert (code, found["entries"], found["artifacts"], found["findings"]) == (0, 4, 2, [])
    code, found = ask(capsys, "doctor", "--probe")
    grades = {check["name"]: check["grade"] for check in found["checks"]}
    assert code == 0
    assert (grades["compare-and-swap"], grades["names"], grades["import registry"]) == ("good",) * 3


def test_verify_says_no_when_history_was_touched(
    model: str, store: RegistryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.set_version_tag(model, "2", "greenroom.head", "9 " + "0" * 64)
    code, found = ask(capsys, "verify", model, "--no-artifacts")
    assert code == 3
    assert "its tail was cut" in found["findings"][0]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["status", "no-such-model-anywhere"], 1, "not_found"),
        (["status", "a/b"], 2, "usage"),
        (["rollback"], 2, "usage"),
        (["history", "x", "--limit", "many"], 2, "usage"),
        (["history", "x", "--limit", "0"], 2, "usage"),
        (["approve", "x"], 2, "usage"),
    ],
)
def test_errors_are_documents_too(
    store: RegistryStore, capsys: pytest.CaptureFixture[str], words: list[str], code: int, error: str
) -> None:
    found_code, found = ask(capsys, *words)
    assert (found_code, found["error"]) == (code, error)
    assert found["schema"] == "greenroom/error/1"
    assert found["exit_code"] == code
    assert found["message"]


def test_a_template_that_would_give_all_models_one_history_is_refused(
    store: RegistryStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENROOM_LEDGER_EXPERIMENT", "/Shared/greenroom")
    code, found = ask(capsys, "status", "x")
    assert (code, found["error"]) == (2, "usage")
    assert "{model}" in found["message"]


def test_an_unreachable_server_is_exit_4(
    monkeypatch: pytest.MonkeyPatch, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
    code, found = ask(capsys, "status", "x")
    assert (code, found["error"]) == (4, "unreachable")
    assert f"127.0.0.1:{free_port}" in found["message"]


def test_an_unknown_command_is_named_with_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rolback"]) == 2
    assert "Did you mean 'rollback'" in capsys.readouterr().err


def test_a_policy_with_an_unknown_key_is_wrong_usage_that_names_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[metric]\nmargn = 0.1\n")
    code = promote_main(["m", "--to", "production", "--policy", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code, found["error"]) == (2, "usage")
    assert f"{path}: there is no key 'metric.margn'. Did you mean 'metric.margin'?" in found["message"]


@pytest.fixture
def waiting(
    store: RegistryStore, model_name: str, artifacts: Artifacts, tmp_path: Path
) -> tuple[str, list[str]]:
    """Version 1 is staged; its promotion needs a floor that it reaches, and a person. What one types."""
    register(store, model_name, artifacts.good, 1)
    path = tmp_path / "policy.toml"
    path.write_text(
        "[metric]\nname = 'brier'\nfloor = 0.2\n[approval]\nrequired = true\n"
        f"[evaluation]\ndata = '{artifacts.rows}'\ntarget = 'benign'\n"
    )
    assert promote_main([model_name, "--to", "staging"]) == 0
    return model_name, [model_name, "--to", "production", "--policy", str(path)]


def test_a_promotion_that_needs_a_person_says_what_to_do_and_is_replayed_until_somebody_tampers(
    waiting: tuple[str, list[str]],
    store: RegistryStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, words = waiting
    capsys.readouterr()
    assert promote_main(words) == 3
    said = capsys.readouterr().out
    assert "the answer is pending. It waits for a person's word; entry 3 says so." in said
    again = f"promote-model {model} --version 1 --to production --policy {words[-1]}"
    assert f"Once it is approved, ask again: {again}\n" in said
    assert f"greenroom approve {model} --version 1" in said
    assert (promote_main([*words, "--json"]), read(capsys)["verdict"]) == (3, "pending")
    assert ask(capsys, "status", model)[1]["pending"] == ["1"]
    assert ask(capsys, "approve", model, "--version", "1", "--reason", "looked")[0] == 0
    assert promote_main([*words, "--json"]) == 0
    moved = read(capsys)
    assert (moved["verdict"], moved["moved"]) == ("yes", True)
    assert main(["history", model]) == 0
    for line, act in zip(capsys.readouterr().out.splitlines()[1:], HISTORY, strict=True):
        assert f"  {act}  " in line
    description = store.get_version(model, "1").description
    assert "looked at version 1 for production, attempt 1" in description
    assert "asked to move version 1 to production, which waits for a person's approval" in description
    code, found = ask(capsys, "replay", model, str(moved["seq"]))
    assert (code, found["agrees"], found["exact"], found["differences"]) == (0, True, True, [])
    assert [gate["name"] for gate in found["gates"]] == ["floor"]
    page = read_sections(REFERENCE / "json.md")["`greenroom/replay/1`"]
    assert set(found) == set(read_first_cells(page))
    tamper(store, moved["evidence_run"], tmp_path)
    code, found = ask(capsys, "replay", model, str(moved["seq"]))
    assert (code, found["error"]) == (3, "tampered")
    assert "rows.parquet" in found["message"]
    code, found = ask(capsys, "replay", model, "1")
    assert (code, found["error"]) == (1, "not_found")


HISTORY = (
    "promote to staging",
    "reserve attempt 1",
    "pending to production",
    "approve entry 3",
    "promote to production",
)


def read(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def tamper(store: RegistryStore, run_id: str, folder: Path) -> None:
    """Somebody with write access changes the answers."""
    import pandas as pd

    (folder / "changed").mkdir()
    path = store.download_run_file(run_id, "rows.parquet", str(folder / "changed"))
    pd.read_parquet(path).assign(**{"candidate.probability.1": 0.5}).to_parquet(path)
    store.upload(run_id, str(folder / "changed"))


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in [
        "adopt",
        "approve",
        "archive",
        "doctor",
        "history",
        "lineage",
        "reconcile",
        "reject",
        "rollback",
        "server",
        "status",
        "verify",
    ]:
        assert f"  {name}" in shown


def test_a_reader_that_goes_away_is_no_error(model: str, mlflow_server: Server) -> None:
    command = (
        f"{sys.executable} -c 'import sys; from registry.cli import main; sys.exit(main())' history {model}"
    )
    shell = f"set -o pipefail; {command} | head -n 1 > /dev/null"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server.uri}
    done = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_reconcile_puts_an_alias_back_and_records_it_once(
    model: str, store: RegistryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        store.set_alias(model, PRODUCTION, "1")
        code, found = ask(capsys, "reconcile", model)
        assert (code, found["acts"]) == (0, ["production=1"])
        assert store.get_model(model).aliases[PRODUCTION] == "2"
    entries = ask(capsys, "history", model)[1]["entries"]
    assert [entry["action"] for entry in entries].count("rogue") == 1


def test_reconcile_watch_and_server_put_an_alias_back_within_five_seconds(
    model: str, store: RegistryStore, mlflow_server: Server
) -> None:
    command = [sys.executable, "-c", "import sys; from registry.cli import main; sys.exit(main())"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_server.uri}
    watcher = subprocess.Popen(
        [*command, "reconcile", model, "--watch"], env=environment, stderr=subprocess.PIPE
    )
    try:
        assert watcher.stderr is not None
        assert b"Watching" in watcher.stderr.readline()
        store.set_alias(model, PRODUCTION, "3")
        _wait_for_alias(store, model, "2")
        store.delete_alias(model, PRODUCTION)
        _wait_for_alias(store, model, "2")
    finally:
        watcher.terminate()
        watcher.communicate(timeout=30)


def test_the_server_s_caretaker_looks_after_every_model(
    model: str, store: RegistryStore, mlflow_server: Server
) -> None:
    from registry import Caretaker

    told: list[str] = []
    settings = Settings(tracking_uri=mlflow_server.uri, registry_uri=mlflow_server.uri)
    caretaker = Caretaker(store, settings, told.append)
    caretaker()
    store.set_alias(model, PRODUCTION, "1")
    start = time.monotonic()
    caretaker()
    assert time.monotonic() - start < 5
    assert store.get_model(model).aliases[PRODUCTION] == "2"
    assert [line for line in told if line.startswith(model)] == [
        f"{model}: changed outside of Greenroom and put right (production=1)."
    ]
    entries = len(call_entries(store, model))
    caretaker()
    assert len(call_entries(store, model)) == entries


def call_entries(store: RegistryStore, model: str) -> Any:
    from registry import read_history

    return read_history(Ledger(store, model))


def _wait_for_alias(store: RegistryStore, model: str, version: str) -> None:
    deadline = time.monotonic() + 5
    while store.get_model(model).aliases.get(PRODUCTION) != version:
        assert time.monotonic() < deadline, "not put right within 5 s"
        time.sleep(0.05)
