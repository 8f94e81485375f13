"""Whether a promotion has the word of a person that its policy asks for: bound to exactly what was judged."""

from dataclasses import dataclass

from .gates.verdict import GateResult
from .ledger.state import Pending, State
from .policy import ApprovalPolicy

__all__ = ["Bond", "find_waiting", "judge_approval"]


@dataclass(frozen=True, slots=True)
class Bond:
    """What a word is bound to: the version's files, where they go, whom they follow, and the policy.

    Attributes:
        version: The version.
        stage: Where it goes.
        was: The version that has the stage.
        manifest: sha256 over the version's files.
        policy: sha256 of the policy.
    """

    version: str
    stage: str
    was: str | None
    manifest: str
    policy: str


def find_waiting(state: State, bond: Bond) -> Pending | None:
    """The promotion that waits for a word, or has it, if it is about exactly this.

    Another holder, other files or another policy: it is another promotion.
    """
    waiting = state.pending.get(bond.version)
    if waiting is None:
        return None
    found = Bond(waiting.version, waiting.stage, waiting.was, waiting.manifest, waiting.policy or "")
    return waiting if found == bond else None


def judge_approval(name: str, waiting: Pending | None, bond: Bond, policy: ApprovalPolicy) -> GateResult:
    """Pending until the word is there, and is of somebody who may give it.

    Args:
        name: The registered model.
        waiting: As :func:`find_waiting` found it.
        bond: What the word must be about.
        policy: Whose word counts.
    """
    ask = f"greenroom approve {name} --version {bond.version}"
    if waiting is None or not waiting.word:
        who = " by somebody else than who asked" if policy.four_eyes else ""
        return GateResult(
            "approval", "pending", f"It needs a person's approval{who}. Look at the evidence, then: {ask}"
        )
    if policy.four_eyes and waiting.speaker == waiting.asker:
        reason = f"{waiting.speaker} asked for it and approved it; another person must: {ask}"
        return GateResult("approval", "pending", reason)
    if policy.four_eyes and not policy.self_declared and waiting.speaker_source != "server":
        reason = (
            f"{waiting.speaker} approved it (entry {waiting.word}), but under a name that MLflow did not "
            "authenticate. Use a server with users, or allow it: self_declared = true under [approval]."
        )
        return GateResult("approval", "pending", reason)
    return GateResult("approval", "yes", f"{waiting.speaker} approved exactly this (entry {waiting.word}).")
