"""kill -9 after every single write of a promotion, on SQLite and PostgreSQL, over REST."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry import PRODUCTION, STAGING, RegistryStore, Server, Settings, Tag, open_store, reconcile
from registry.audit import audit
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.promotion import commit
from registry.upkeep import ensure_history
from tests.registry.mlflow_models import register

ROOT = Path(__file__).parents[2]
MOST_WRITES = 40


@pytest.fixture(params=["mlflow_server", "mlflow_server_postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def promote_and_be_killed(uri: str, name: str, version: str, at: int) -> int:
    command = [sys.executable, "-m", "tests.registry.killed_promotion", uri, name, version, str(at)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=120).returncode


def stage(ledger: Ledger, number: str) -> None:
    state = ensure_history(ledger)
    version = ledger.store.get_version(ledger.name, number)
    holder = state.holder(STAGING)
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=STAGING,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
    )
    commit(ledger, state, version, draft)


def test_a_promotion_killed_after_any_write_leaves_old_or_new_and_one_command_mends_it(
    server: Server, model_name: str, tmp_path: Path
) -> None:
    (tmp_path / "model").write_text("weights")
    store: RegistryStore = open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))
    versions = register(store, model_name, tmp_path, MOST_WRITES)
    ledger = Ledger(store, model_name, actor=Actor("tester"))
    stage(ledger, versions[0])
    assert promote_and_be_killed(server.uri, model_name, versions[0], at=10_000) == 0
    old = versions[0]
    ended = []
    for at, new in enumerate(versions[1:], 1):
        stage(ledger, new)
        code = promote_and_be_killed(server.uri, model_name, new, at)
        assert store.get_model(model_name).aliases.get(PRODUCTION) in {old, new}
        reconcile(ledger)
        state = ledger.open().state
        holder = state.holder(PRODUCTION)
        assert holder is not None
        assert holder.version in {old, new}
        model = store.get_model(model_name)
        assert model.aliases[PRODUCTION] == holder.version
        assert model.tags[Tag.PROJECTED] == str(state.seq)
        assert store.get_version(model_name, holder.version).tags[Tag.STAGE] == PRODUCTION
        assert audit(ledger, artifacts=False).findings == ()
        ended.append("new" if holder.version == new else "old")
        old = holder.version
        if code == 0:
            break
        assert code == -9
    assert code == 0, "there are more writes than versions to try with"
    assert ended == sorted(ended, reverse=True), "once the entry is written, the new version stays"
    assert ended.count("old") >= 3
    assert ended.count("new") >= 6
