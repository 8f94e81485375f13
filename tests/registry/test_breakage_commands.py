"""Commands on strange ground: unknown words, sick models, long reasons, somebody who was first."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry import (
    PRODUCTION,
    FixedClock,
    MemoryStore,
    PromotionRequest,
    Tag,
    UsageError,
    open_store,
    promote,
    read_settings,
)
from registry.cli import main
from registry.ledger.ledger import Actor, Ledger
from registry.moves import rollback
from registry.server import Server
from registry.texts import BLOCK, link_version, merge_block
from registry.views import read_history
from tests.registry.histories import add_version, move_to_production
from tests.registry.mlflow_models import register


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(tmp_path / "runs", clock=FixedClock())
    store.add_model("m")
    return store


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "said"), [(("statsu",), "Did you mean 'status'?"), ((), "A command is missing.")]
)
def test_an_unknown_command_is_one_document_too(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, document = ask(capsys, *words)
    assert (code, document["schema"], document["exit_code"]) == (2, "greenroom/error/1", 2)
    assert said in document["message"]


@pytest.mark.parametrize(("name", "value"), [("GREENROOM_TIMEOUT_S", "abc"), ("GREENROOM_TIMEOUT_S", "-1")])
def test_a_setting_that_is_no_number_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, document = ask(capsys, "status")
    assert code == 2
    assert name in document["message"]


def test_a_time_out_of_range_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "history", "m", "--as-of", "0001-01-01T00:00:00+23:00")[0] == 2


def test_one_sick_model_does_not_hide_the_healthy_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mlflow_server: Server, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1")
    store = open_store(read_settings())
    names = [f"sick {tmp_path.name} 100% 'é'", f"well {tmp_path.name}"]
    for name in names:
        register(store, name, tmp_path / "model", 1)
        assert main(["adopt", name]) == 0
    store.set_model_tag(names[0], Tag.HEAD, "99 abc")
    capsys.readouterr()
    code, document = ask(capsys, "status")
    found = {model["model"]: model for model in document["models"]}
    assert code == 3
    assert "entry 99 was seen before" in found[names[0]]["notes"][0]
    assert found[names[1]]["head"]["seq"] == 1
    assert set(found[names[0]]) == set(found[names[1]])


# reasons


@pytest.mark.parametrize("reason", ["x" * 6000, "\U0001f600" * 500, "\ud800", "\x1b[0m"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_reason_that_cannot_be_kept_is_refused_before_anything_is_judged_or_written(
    store: MemoryStore, tmp_path: Path, reason: str, dry_run: bool
) -> None:
    add_version(store, tmp_path)
    request = PromotionRequest(name="m", to="staging", reason=reason, dry_run=dry_run)
    with pytest.raises(UsageError):
        promote(Ledger(store, "m"), request)
    assert store._experiments == {}


def test_descriptions_stay_within_what_postgresql_takes(store: MemoryStore, tmp_path: Path) -> None:
    ledger = Ledger(store, "m", actor=Actor("one"), clock=FixedClock())
    store.describe_model("m", "Ours. " * 700)
    for _ in range(2):
        move_to_production(ledger, add_version(store, tmp_path))
    for _ in range(3):
        rollback(ledger, reason="[" * 1000)
        move_to_production(ledger, add_version(store, tmp_path))
    assert len(store.get_model("m").description) <= 5000
    assert store.get_model("m").description.startswith("Ours. " * 699)
    assert max(len(version.description) for version in store.list_versions("m")) <= 5000
    assert merge_block("x" * 5000, BLOCK + " a") == "x" * 5000
    assert len(read_history(ledger)[4].reason or "") == 1000


def test_links_of_odd_names_lead_somewhere() -> None:
    assert link_version("my model (50%)", "1") == "[version 1](#/models/my%20model%20%2850%25%29/versions/1)"


# --expect


def test_expect_is_a_conflict_that_names_the_winner_even_if_there_is_nothing_left_to_move(
    store: MemoryStore, tmp_path: Path
) -> None:
    ledger = Ledger(store, "m", actor=Actor("winner@here"), clock=FixedClock())
    move_to_production(ledger, add_version(store, tmp_path))
    outcome = promote(ledger, PromotionRequest(name="m", to=PRODUCTION, expect=1))
    assert outcome.verdict == "conflict"
    assert "winner@here" in (outcome.conflict or "")
