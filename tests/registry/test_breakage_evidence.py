"""Evidence whose writing is cut off, at any write: no run is left running."""

from pathlib import Path

import pytest

from registry import UnreachableError
from registry.evidence import begin_evidence, keep_evidence
from registry.gates.verdict import GateResult
from registry.stores.memory import MemoryStore
from tests.registry.histories import Killed, MortalStore, raise_killed


def raise_unreachable() -> None:
    raise UnreachableError("gone")


@pytest.mark.parametrize("at", [2, 3, 4])
@pytest.mark.parametrize(("die", "error"), [(raise_killed, Killed), (raise_unreachable, UnreachableError)])
def test_evidence_that_was_cut_off_is_marked_failed(
    tmp_path: Path, at: int, die: object, error: type
) -> None:
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    version = store.add_version("m")
    experiment_id = store.create_experiment("x", {})
    mortal = MortalStore(store, at=at, after=False, die=die)  # type: ignore[arg-type]
    gates = [GateResult(f"gate {place}", "no", "long " * 2000) for place in range(5)]
    with pytest.raises(error):
        keep_evidence(
            mortal,
            begin_evidence(mortal, experiment_id, version=version, stage="staging"),
            version=version,
            stage="staging",
            was=None,
            integrity=gates,
            quality=(),
            looked=None,
            scratch=tmp_path,
        )
    (run,) = store._runs.values()
    assert run.status == "FAILED"
    assert len(run.tags.get("mlflow.note.content", "")) < 5000
