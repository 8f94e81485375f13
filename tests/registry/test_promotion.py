"""Promotion on the store in memory, with models that MLflow saved and opens."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry import OrderError, PromotionRequest, RefusedError, Tag, promote
from registry.ledger.ledger import Ledger
from registry.moves import rollback, speak
from registry.policy import Policy
from registry.stores.memory import MemoryStore
from registry.views import read_history, read_status
from tests.registry.conftest import Artifacts


def request(to: str, **more: Any) -> PromotionRequest:
    return PromotionRequest(name="m", to=to, **more)


def put_into_production(ledger: Ledger, store: MemoryStore, folder: Path, **more: Any) -> str:
    version = store.add_version("m", str(folder)).version
    promote(ledger, request("staging", version=version, **more))
    outcome = promote(ledger, request("production", **more))
    assert outcome.moved, outcome
    return version


def verdicts(outcome: Any) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in outcome.gates}


def test_the_first_version_needs_integrity_only(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts
) -> None:
    store.add_version("m", str(artifacts.good))
    staged = promote(ledger, request("staging"))
    assert (staged.verdict, staged.moved, staged.seq) == ("yes", True, 1)
    outcome = promote(ledger, request("production", reason="first"))
    assert verdicts(outcome) == {"artifact": "yes", "trust": "yes", "environment": "yes", "answers": "yes"}
    model = store.get_model("m")
    assert model.aliases == {"production": "1"}
    assert model.tags[Tag.PROJECTED] == "2"
    version = store.get_version("m", "1")
    assert version.tags[Tag.STAGE] == "production"
    assert f"runs/{outcome.evidence_run}" in version.description
    assert "first" in model.description


def test_a_better_version_is_accepted_and_the_evidence_is_kept(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, tmp_path: Path
) -> None:
    put_into_production(ledger, store, artifacts.fair)
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging"))
    outcome = promote(ledger, request("production", policy=policy))
    assert verdicts(outcome)["metric"] == "yes"
    assert (outcome.was, outcome.version) == ("1", "2")
    assert outcome.evidence_run is not None
    path = store.download_run_file(outcome.evidence_run, "evidence.json", str(tmp_path))
    evidence = json.loads(Path(path).read_text())
    (metric,) = evidence["quality"]
    assert metric["numbers"]["rows"] == 284
    assert read_history(ledger)[-2].details["attempt"] == 1
    for name in ("rows.parquet", "difference.png", "calibration.png"):
        assert Path(store.download_run_file(outcome.evidence_run, name, str(tmp_path))).stat().st_size > 1000
    run = store.get_run(outcome.evidence_run)
    assert run.status == "FINISHED"
    assert run.metrics["improvement"] > 0


def test_a_worse_version_is_refused_and_nothing_moves(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    put_into_production(ledger, store, artifacts.good)
    store.add_version("m", str(artifacts.bad))
    promote(ledger, request("staging"))
    before = store.get_model("m")
    outcome = promote(ledger, request("production", policy=policy))
    assert (outcome.verdict, outcome.moved) == ("no", False)
    assert "not better" in outcome.gates[-1].reason
    after = store.get_model("m")
    assert (after.aliases, after.tags[Tag.PROJECTED]) == (before.aliases, str(outcome.seq))
    assert store.get_version("m", "2").tags[Tag.EVIDENCE] == outcome.evidence_run


def test_an_equal_version_is_not_called_better(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    put_into_production(ledger, store, artifacts.good)
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging"))
    assert promote(ledger, request("production", policy=policy)).verdict in {"no", "not_enough_data"}


def test_without_rows_the_answer_is_not_enough_data_and_says_what_to_supply(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts
) -> None:
    put_into_production(ledger, store, artifacts.fair)
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging"))
    outcome = promote(ledger, request("production"))
    assert outcome.verdict == "not_enough_data"
    assert "--data" in outcome.gates[-1].reason


def test_an_override_moves_the_version_and_stands_in_the_history(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    put_into_production(ledger, store, artifacts.good)
    store.add_version("m", str(artifacts.bad))
    promote(ledger, request("staging"))
    forbidding = policy.model_copy(update={"allow_override": False})
    with pytest.raises(RefusedError, match="forbids"):
        promote(ledger, request("production", policy=forbidding, override="fire"))
    outcome = promote(ledger, request("production", policy=policy, override="fire"))
    assert (outcome.verdict, outcome.moved) == ("yes", True)
    assert verdicts(outcome)["metric"] == "no"
    assert read_history(ledger)[-1].details["override"] == "fire"


def test_an_override_does_not_help_against_integrity(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts
) -> None:
    store.add_version("m", str(artifacts.pickled))
    assert promote(ledger, request("staging", override="fire")).verdict == "no"


def test_a_pickle_is_refused_until_a_person_vouches_for_exactly_these_files(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts.pickled, tmp_path / "model")
    store.add_version("m", str(folder))
    refused = promote(ledger, request("staging"))
    assert verdicts(refused)["trust"] == "no"
    assert "greenroom approve m --version 1" in refused.gates[-1].reason
    speak(ledger, "approve", "1", reason="looked at it")
    assert promote(ledger, request("staging")).moved
    store.add_version("m", str(folder))
    (folder / "note.txt").write_text("one file more")
    assert promote(ledger, request("staging", version="2")).verdict == "no"


def test_a_policy_may_trust_the_author(ledger: Ledger, store: MemoryStore, artifacts: Artifacts) -> None:
    store.add_version("m", str(artifacts.pickled))
    assert promote(ledger, request("staging", policy=Policy(trust="author"))).moved


def test_a_rejected_version_stays_out(ledger: Ledger, store: MemoryStore, artifacts: Artifacts) -> None:
    store.add_version("m", str(artifacts.good))
    speak(ledger, "reject", "1", reason="trained on the test set")
    with pytest.raises(RefusedError, match="rejected"):
        promote(ledger, request("staging", version="1"))
    store.add_version("m", str(artifacts.good))
    outcome = promote(ledger, request("staging", version="2"))
    assert verdicts(outcome)["rejected"] == "no"


def test_a_dry_run_writes_nothing_at_all(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, tmp_path: Path
) -> None:
    store.add_version("m", str(artifacts.good))
    before = _dump(store, tmp_path)
    outcome = promote(ledger, request("staging", dry_run=True))
    assert (outcome.verdict, outcome.moved, outcome.dry_run) == ("yes", False, True)
    assert _dump(store, tmp_path) == before
    put_into_production(ledger, store, artifacts.fair)
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging"))
    before = _dump(store, tmp_path)
    peek = promote(ledger, request("production", policy=policy, dry_run=True))
    assert (peek.verdict, verdicts(peek)["answers"]) == ("not_enough_data", "yes")
    assert "looks at no metric. This is attempt 1" in peek.gates[-1].reason
    assert _dump(store, tmp_path) == before


def _dump(store: MemoryStore, folder: Path) -> Any:
    files = sorted(str(path) for path in folder.rglob("*"))
    return repr((store._models, store._versions, store._experiments, store._runs, files))


def test_files_changed_after_staging_are_noticed(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    store.add_version("m", str(folder))
    promote(ledger, request("staging"))
    shutil.copy(artifacts.bad / "model.skops", folder / "model.skops")
    outcome = promote(ledger, request("production"))
    assert verdicts(outcome) == {"artifact": "no"}
    assert "not those that were verified" in outcome.gates[0].reason


def test_a_holder_with_swapped_weights_is_not_compared_with(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    put_into_production(ledger, store, folder)
    shutil.copy(artifacts.bad / "model.skops", folder / "model.skops")
    store.add_version("m", str(artifacts.fair))
    promote(ledger, request("staging"))
    outcome = promote(ledger, request("production", policy=policy))
    assert outcome.verdict == "not_enough_data"
    assert "not those that were verified" in outcome.gates[-1].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "MLmodel").unlink(), ("trust", "no MLmodel")),
        (lambda folder: (folder / "model.skops").write_bytes(b"PK"), ("trust", "types cannot be read")),
        (lambda folder: (folder / "model.skops").unlink(), ("answers", "does not answer")),
        (lambda folder: _edit(folder, "version: 3.1", "version: 2.1"), ("environment", "Python 2.")),
        (lambda folder: _edit(folder, "module: mlflow.sklearn", "module: x"), ("trust", "'x' runs")),
        (lambda folder: _edit(folder, "code: null", "code: src"), ("trust", "import path")),
        (lambda folder: (folder / "extra.pkl").write_bytes(b"\x80\x04."), ("trust", "extra.pkl")),
        (lambda folder: (folder / "data.bin").write_bytes(b"\x80\x04K\x01."), ("trust", "data.bin")),
        (lambda folder: (folder / "requirements.txt").write_text("numpy==1.2\n"), ("environment", "1.2")),
    ],
)
def test_an_artifact_that_is_not_sound_is_refused_with_its_reason(
    ledger: Ledger, artifacts: Artifacts, tmp_path: Path, change: Any, said: tuple[str, str]
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    change(folder)
    store = ledger.store
    assert isinstance(store, MemoryStore)
    store.add_version("m", str(folder))
    outcome = promote(ledger, request("staging"))
    gate, reason = said
    assert outcome.verdict == "no"
    assert (outcome.gates[-1].name, outcome.gates[-1].verdict) == (gate, "no")
    assert reason in outcome.gates[-1].reason
    assert store.get_model("m").aliases == {}
    assert read_history(ledger) == ()


def _edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "MLmodel").read_text()
    assert old in text
    (folder / "MLmodel").write_text(text.replace(old, new))


def test_the_order_is_candidate_staging_production(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts
) -> None:
    store.add_version("m", str(artifacts.good))
    with pytest.raises(OrderError, match="promote-model m --version 1 --to staging"):
        promote(ledger, request("production", version="1"))
    with pytest.raises(OrderError, match="no version in staging"):
        promote(ledger, request("production"))


def test_asking_again_changes_nothing(ledger: Ledger, store: MemoryStore, artifacts: Artifacts) -> None:
    put_into_production(ledger, store, artifacts.good)
    again = promote(ledger, request("production", version="1"))
    assert (again.verdict, again.moved, again.seq) == ("yes", False, 2)


def test_expect_says_conflict_when_history_moved_on(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts
) -> None:
    put_into_production(ledger, store, artifacts.good)
    store.add_version("m", str(artifacts.fair))
    outcome = promote(ledger, request("staging", expect=1))
    assert (outcome.verdict, outcome.moved) == ("conflict", False)
    assert promote(ledger, request("staging", expect=2)).moved


def test_a_promotion_that_is_overtaken_says_who_was_first(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    """While version 2 is being judged against version 1, somebody rolls production away from under it."""
    put_into_production(ledger, store, artifacts.bad)
    put_into_production(ledger, store, artifacts.fair, policy=policy)
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging"))

    def overtake(step: str) -> None:
        if step == "writing the entry":
            rollback(ledger)

    outcome = promote(ledger, request("production", policy=policy), progress=overtake)
    assert (outcome.verdict, outcome.moved) == ("conflict", False)
    assert outcome.conflict is not None
    assert "production went to version 1" in outcome.conflict
    assert read_status(ledger).holders["production"].version == "1"


def test_history_that_moved_elsewhere_meanwhile_does_not_disturb(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    put_into_production(ledger, store, artifacts.fair)
    other = store.add_version("m", str(artifacts.bad)).version
    store.add_version("m", str(artifacts.good))
    promote(ledger, request("staging", version="3"))

    def bystander(step: str) -> None:
        if step == "writing the entry":
            speak(ledger, "reject", other)

    outcome = promote(ledger, request("production", policy=policy), progress=bystander)
    assert outcome.moved
    assert [entry.action for entry in read_history(ledger)][-2:] == ["reject", "promote"]


def test_a_model_with_aliases_is_adopted_by_the_first_promotion(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    store.add_version("m", str(artifacts.fair))
    store.set_alias("m", "production", "1")
    store.set_alias("m", "champion", "1")
    store.add_version("m", str(artifacts.good))
    assert promote(ledger, request("staging")).seq == 2
    assert promote(ledger, request("production", policy=policy)).was == "1"
    assert [entry.action for entry in read_history(ledger)] == ["adopt", "promote", "reserve", "promote"]
    assert store.get_model("m").aliases == {"production": "2", "champion": "1"}
    back = rollback(ledger)
    assert back.version == "1"


def test_the_users_own_description_stays(ledger: Ledger, store: MemoryStore, artifacts: Artifacts) -> None:
    store.describe_model("m", "Our model.\n\nAsk Ada.")
    put_into_production(ledger, store, artifacts.good)
    assert store.get_model("m").description.startswith("Our model.\n\nAsk Ada.\n\n---\n")
    assert store.get_model("m").description.count("**Greenroom**") == 1
