"""A promotion in a process of its own that is killed (SIGKILL) right after its n-th write to MLflow.

Run as ``python -m tests.registry.killed_promotion URI MODEL VERSION N``; 0 if there were fewer writes.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

from registry import PRODUCTION, Settings, open_store
from registry.evidence import begin_evidence, keep_evidence
from registry.gates.verdict import GateResult
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.promotion import commit
from registry.reserving import Inquiry, reserve
from registry.upkeep import ensure_history
from tests.registry.histories import MortalStore


def main(uri: str, name: str, number: str, at: int) -> None:
    store = MortalStore(open_store(Settings(tracking_uri=uri, registry_uri=uri)), at=at, after=True, die=_die)
    ledger = Ledger(store, name, actor=Actor("mortal"))
    state = ensure_history(ledger)
    version = store.get_version(name, number)
    holder = state.holder(PRODUCTION)
    was = holder.version if holder else None
    run_id = begin_evidence(store, ledger.open().chapter.experiment_id, version=version, stage=PRODUCTION)
    inquiry = Inquiry(version, PRODUCTION, "files", holder, None, "rows", "policy")
    _, state = reserve(ledger, state, inquiry, run_id)
    with tempfile.TemporaryDirectory() as scratch:
        evidence = keep_evidence(
            store,
            run_id,
            version=version,
            stage=PRODUCTION,
            was=was,
            integrity=[GateResult("answers", "yes", "It answered.")],
            quality=[],
            looked=None,
            scratch=Path(scratch),
        )
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=PRODUCTION,
        version=number,
        was=was,
        created_ms=version.created_ms,
        evidence_run=evidence.run_id,
        evidence=evidence.digest,
    )
    commit(ledger, state, version, draft)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
