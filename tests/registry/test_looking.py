"""The error budget: every look at a metric is spent in history, once for each question."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from registry import DataError, PromotionRequest, TamperedError, promote
from registry.ledger.ledger import Actor, Ledger
from registry.moves import rollback, speak
from registry.policy import ApprovalPolicy, LatencyPolicy, MetricPolicy, Policy, SlicesPolicy
from registry.replaying import replay
from registry.stores.memory import MemoryStore
from registry.views import read_history
from tests.registry.conftest import Artifacts
from tests.registry.histories import Killed, MortalStore, raise_killed


def request(to: str = "production", **more: Any) -> PromotionRequest:
    return PromotionRequest(name="m", to=to, **more)


def stage(ledger: Ledger, store: MemoryStore, folder: Path) -> str:
    version = store.add_version("m", str(folder)).version
    assert promote(ledger, request("staging", version=version)).moved
    return version


@pytest.fixture
def held(ledger: Ledger, store: MemoryStore, artifacts: Artifacts) -> Ledger:
    """Version 1, a good one, is in production."""
    stage(ledger, store, artifacts.good)
    assert promote(ledger, request()).moved
    return ledger


def actions(ledger: Ledger) -> list[str]:
    return [entry.action for entry in read_history(ledger)]


def say(outcome: Any) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in outcome.gates}


def test_every_look_is_reserved_and_the_same_question_asked_again_is_the_same_look(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)
    first = promote(held, request(policy=policy))
    (spent,) = [entry for entry in read_history(held) if entry.action == "reserve"]
    assert (spent.version, spent.was, spent.details["attempt"]) == ("2", "1", 1)
    assert (first.verdict, spent.evidence_run) == ("no", first.evidence_run)
    again = promote(held, request(policy=policy))
    assert again.gates[-1] == first.gates[-1]
    assert (again.evidence_run, again.seq) == (first.evidence_run, first.seq)
    peek = promote(held, request(policy=policy, dry_run=True))
    assert peek.gates[-1] == first.gates[-1]
    assert actions(held)[-1] == "reserve"
    other = promote(held, request(policy=policy.model_copy(update={"confidence": 0.9})))
    assert "level 0.015" in other.gates[-1].reason  # 6 · 0.1 / (π² · 2²)
    assert read_history(held)[-1].details["attempt"] == 2


def test_a_new_holder_starts_the_count_anew_and_a_rollback_does_not(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(ledger, store, artifacts.fair)
    promote(ledger, request())
    stage(ledger, store, artifacts.bad)
    promote(ledger, request(policy=policy))
    stage(ledger, store, artifacts.good)
    assert promote(ledger, request(policy=policy)).moved
    attempts = [entry.details["attempt"] for entry in read_history(ledger) if entry.action == "reserve"]
    assert attempts == [1, 2]
    assert ledger.open().state.attempts["production"] == 0
    stage(ledger, store, artifacts.bad)
    promote(ledger, request(policy=policy))
    rollback(ledger)
    assert ledger.open().state.attempts["production"] == 2  # as many as were taken at version 1 before


def test_a_look_that_was_cut_off_is_spent_and_is_taken_again_under_its_own_number(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)

    def cut_off(step: str) -> None:
        if step.startswith("measuring"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promote(held, request(policy=policy), progress=cut_off)
    assert actions(held)[-1] == "reserve"
    spent = read_history(held)[-1]
    outcome = promote(held, request(policy=policy))
    assert (outcome.verdict, outcome.evidence_run) == ("no", spent.evidence_run)
    assert actions(held)[-1] == "reserve"
    assert held.open().state.attempts["production"] == 1
    assert promote(held, request(policy=policy)).evidence_run == spent.evidence_run


@pytest.mark.parametrize("at", [1, 2])
def test_nothing_is_measured_before_the_reservation_stands(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, at: int
) -> None:
    """Killed at the opening of the evidence run, or at the reservation itself: nobody saw a metric."""
    stage(held, store, artifacts.bad)
    steps: list[str] = []
    mortal = Ledger(
        MortalStore(store, at=at, after=False, die=raise_killed), "m", actor=Actor("x@y")
    )  # counts writes
    with pytest.raises(Killed):
        promote(mortal, request(policy=policy), progress=steps.append)
    assert not [step for step in steps if step.startswith("measuring")]
    assert held.open().state.attempts.get("production", 0) == 0


def ask_while_asking(held: Ledger, policy: Policy, other: Policy) -> tuple[Any, Any]:
    """Somebody asks ``other`` right before the attempt for ``policy`` is reserved."""
    inner: list[Any] = []

    def overtake(step: str) -> None:
        if step.startswith("This is attempt") and not inner:
            inner.append(None)
            inner[0] = promote(held, request(policy=other))

    outer = promote(held, request(policy=policy), progress=overtake)
    return inner[0].gates[-1].numbers, outer.gates[-1].numbers


def test_two_who_ask_the_same_at_once_share_one_attempt(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)
    inner, outer = ask_while_asking(held, policy, policy)
    assert outer == inner
    assert actions(held).count("reserve") == 1


def test_two_who_ask_something_else_never_share_an_attempt(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)
    both = ask_while_asking(held, policy, policy.model_copy(update={"confidence": 0.9}))
    levels = [round(numbers["level"], 4) for numbers in both]
    assert levels == [0.0608, 0.0076]


def test_evidence_that_was_changed_is_not_used_again(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)
    refused = promote(held, request(policy=policy))
    rows = next(Path(store.get_run(refused.evidence_run or "").artifact_uri).rglob("rows.parquet"))
    table = pd.read_parquet(rows)
    table["candidate.probability.1"] = table["benign"].astype(float)
    table.to_parquet(rows)
    with pytest.raises(TamperedError, match=r"rows\.parquet"):
        promote(held, request(policy=policy))


def test_a_version_compared_with_itself_is_never_better(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.good)
    outcome = promote(held, request(policy=policy))
    assert (outcome.verdict, outcome.gates[-1].numbers["improvement"]) == ("no", 0.0)
    assert "is the same" in outcome.gates[-1].reason


def test_no_worse_is_enough_where_the_policy_names_a_margin_but_decline_does_not_creep(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    lenient = policy.model_copy(update={"metric": MetricPolicy(mode="non_inferiority", margin=0.05)})
    stage(held, store, artifacts.good)
    assert promote(held, request(policy=lenient)).moved
    assert read_history(held)[-1].details["shown"] == "no worse"
    stage(held, store, artifacts.good)
    outcome = promote(held, request(policy=lenient))
    assert outcome.moved
    assert "Against version 1, the best so far" in outcome.gates[-1].reason
    assert held.open().state.best["3"].version == "1"


def test_quality_gates_look_together_and_a_replay_agrees_to_the_last_digit(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, tmp_path: Path
) -> None:
    rows = pd.read_parquet(artifacts.rows)
    rows["side"] = ["left" if place % 2 else "right" for place in range(len(rows))]
    rows.to_parquet(tmp_path / "rows.parquet")
    full = policy.model_copy(
        update={
            "evaluation": policy.evaluation.model_copy(update={"data": str(tmp_path / "rows.parquet")}),
            "metric": MetricPolicy(name="brier", floor=0.2),
            "slices": SlicesPolicy(columns=("side",), min_rows=50),
            "latency": LatencyPolicy(max_ratio=50, repeats=5, batch_rows=200),
            "signature": "compatible",
        }
    )
    stage(ledger, store, artifacts.fair)
    promote(ledger, request())
    stage(ledger, store, artifacts.good)
    outcome = promote(ledger, request(policy=full))
    names = ["signature", "answers", "metric", "floor", "slices", "latency"]
    assert {name: say(outcome).get(name) for name in names} == dict.fromkeys(names, "yes")
    pictures = Path(store.get_run(outcome.evidence_run or "").artifact_uri)
    found = {path.name for path in pictures.rglob("*.png")}
    assert found == {"difference.png", "slices.png", "calibration.png", "latency.png"}
    again = replay(ledger, outcome.seq)
    assert (again.agrees, again.is_exact, again.differences) == (True, True, ())
    document = next(pictures.rglob("evidence.json"))
    document.write_text(document.read_text().replace("0.2", "0.3", 1))
    with pytest.raises(TamperedError, match="not what the decision rested on"):
        replay(ledger, outcome.seq)


def test_a_replay_notices_a_verdict_that_its_rows_do_not_give(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    """A refusal's entry holds no digest of the evidence: the numbers themselves give a changed one away."""
    stage(held, store, artifacts.bad)
    outcome = promote(held, request(policy=policy))
    path = next(Path(store.get_run(outcome.evidence_run or "").artifact_uri).rglob("evidence.json"))
    document = json.loads(path.read_text())
    document["quality"][0]["verdict"] = "yes"
    path.write_text(json.dumps(document))
    found = replay(held, read_history(held)[-1].seq)
    assert not found.agrees
    assert "gate metric said yes" in found.differences[0]


def test_a_slice_that_the_rows_do_not_have_is_named_before_an_attempt_is_spent(
    held: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    stage(held, store, artifacts.bad)
    wrong = policy.model_copy(update={"slices": SlicesPolicy(columns=("carier",))})
    with pytest.raises(DataError, match="slices by 'carier'"):
        promote(held, request(policy=wrong))
    assert "reserve" not in actions(held)


# a person's word


@pytest.fixture
def careful(policy: Policy) -> Policy:
    return policy.model_copy(update={"approval": ApprovalPolicy(required=True)})


def test_a_promotion_waits_for_a_person_and_then_uses_the_evidence_that_was_approved(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy, careful: Policy
) -> None:
    stage(ledger, store, artifacts.fair)
    promote(ledger, request())
    stage(ledger, store, artifacts.good)
    waits = promote(ledger, request(policy=careful))
    assert (waits.verdict, waits.moved, say(waits)["approval"]) == ("pending", False, "pending")
    assert actions(ledger)[-2:] == ["reserve", "pending"]
    again = promote(ledger, request(policy=careful))
    assert (again.verdict, again.seq) == ("pending", waits.seq)
    speak(ledger, "approve", "2", reason="looked at the slices")
    done = promote(ledger, request(policy=careful))
    assert (done.moved, done.evidence_run) == (True, waits.evidence_run)
    assert actions(ledger)[-2:] == ["approve", "promote"]
    assert ledger.open().state.pending == {}


def test_a_word_is_bound_to_the_policy_the_holder_and_the_files(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, careful: Policy
) -> None:
    stage(ledger, store, artifacts.good)
    waits = promote(ledger, request(policy=careful))
    assert promote(ledger, request(policy=careful)).seq == waits.seq
    speak(ledger, "approve", "1")
    stricter = careful.model_copy(update={"confidence": 0.99})
    assert promote(ledger, request(policy=stricter)).verdict == "pending"
    speak(ledger, "approve", "1")
    assert promote(ledger, request(policy=stricter)).moved


def test_other_rows_need_another_word(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, careful: Policy, tmp_path: Path
) -> None:
    stage(ledger, store, artifacts.fair)
    promote(ledger, request())
    stage(ledger, store, artifacts.good)
    promote(ledger, request(policy=careful))
    speak(ledger, "approve", "2")
    pd.read_parquet(artifacts.rows)[:-1].to_parquet(tmp_path / "fewer.parquet")
    other = promote(ledger, request(policy=careful, data=str(tmp_path / "fewer.parquet")))
    assert other.verdict == "pending"
    assert [entry.action for entry in read_history(ledger)][-2:] == ["reserve", "pending"]
    assert promote(ledger, request(policy=careful)).verdict == "pending"


def test_four_eyes_are_not_one_person_nor_a_name_that_somebody_gave_themselves(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, policy: Policy
) -> None:
    eyes = policy.model_copy(update={"approval": ApprovalPolicy(required=True, four_eyes=True)})
    stage(ledger, store, artifacts.good)
    promote(ledger, request(policy=eyes))
    speak(ledger, "approve", "1")
    own = promote(ledger, request(policy=eyes))
    assert (own.verdict, "another person" in own.gates[-1].reason) == ("pending", True)
    speak(Ledger(store, "m", actor=Actor("eve@here")), "approve", "1")
    self_declared = promote(ledger, request(policy=eyes))
    assert "did not authenticate" in self_declared.gates[-1].reason
    speak(Ledger(store, "m", actor=Actor("eve", "server")), "approve", "1")
    assert promote(ledger, request(policy=eyes)).moved


def test_a_rejection_ends_the_waiting_for_good(
    ledger: Ledger, store: MemoryStore, artifacts: Artifacts, careful: Policy, tmp_path: Path
) -> None:
    folder = shutil.copytree(artifacts.good, tmp_path / "model")
    stage(ledger, store, folder)
    promote(ledger, request(policy=careful))
    speak(ledger, "reject", "1")
    assert ledger.open().state.pending == {}
    store.add_version("m", str(folder))
    assert say(promote(ledger, request("staging", version="2", policy=careful)))["rejected"] == "no"
