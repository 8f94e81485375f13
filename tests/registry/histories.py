"""What tests of the history share: promotions without judging, and stores that fail on purpose."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry import PRODUCTION, STAGING
from registry.ledger.entry import Draft
from registry.ledger.ledger import Ledger, new_nonce
from registry.ledger.state import State
from registry.manifest import compute_manifest
from registry.promotion import commit
from registry.stores.memory import MemoryStore
from registry.upkeep import ensure_history

WRITES = (
    "set_alias",
    "delete_alias",
    "set_model_tag",
    "set_version_tag",
    "describe_model",
    "describe_version",
    "create_experiment",
    "rename_experiment",
    "delete_experiment",
    "set_experiment_tag",
    "create_run",
    "finish_run",
    "delete_run",
    "log_param",
    "set_run_tag",
    "log_metrics",
    "upload",
)


def add_version(store: MemoryStore, folder: Path, name: str = "m") -> str:
    """Registers a version whose artifact is one small file of its own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "model").write_text(place.name)
    return store.add_version(name, str(place)).version


def draft_promotion(ledger: Ledger, state: State, number: str, stage: str) -> Draft:
    """The entry that a judged promotion would append."""
    version = ledger.store.get_version(ledger.name, number)
    manifest = compute_manifest(Path(version.source))
    holder = state.holder(stage)
    return Draft(
        action="promote",
        nonce=new_nonce(),
        stage=stage,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
        manifest=manifest.digest,
        layout=manifest.layout,
    )


def move(ledger: Ledger, number: str, stage: str) -> int:
    """Promotes without judging: what is tested here is what comes after."""
    state = ensure_history(ledger)
    version = ledger.store.get_version(ledger.name, number)
    return commit(ledger, state, version, draft_promotion(ledger, state, number, stage)).seq


def move_to_production(ledger: Ledger, number: str) -> None:
    """Through both stages."""
    move(ledger, number, STAGING)
    move(ledger, number, PRODUCTION)


class Killed(BaseException):
    """The process is gone: nothing below may catch it."""


class MortalStore:
    """Passes everything on, and dies at the n-th write: right before it, or right after."""

    def __init__(self, store: Any, *, at: int, after: bool, die: Callable[[], None]) -> None:
        self._store = store
        self.left = at
        self._after = after
        self._die = die

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in WRITES:
            return found

        def write(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self._after:
                self._die()
            answer = found(*args, **kwargs)
            if self.left == 0:
                self._die()
            return answer

        return write


def raise_killed() -> None:
    """Dies within the process."""
    raise Killed
