"""Spends the error budget: an attempt is reserved in history before any metric is looked at.

An interrupted look is therefore a spent one, two promoters never share an attempt, and the same question
(candidate, holder, rows, policy) asked again is the same look.
"""

from dataclasses import dataclass

from .errors import GreenroomError
from .ledger.entry import Draft, digest
from .ledger.ledger import Ledger, new_nonce
from .ledger.state import Holding, Look, State
from .planning import check_basis
from .store import ModelVersion

__all__ = ["Inquiry", "find_look", "next_attempt", "reserve"]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question to the rows, before it is asked.

    Attributes:
        version: The candidate.
        stage: Where it wants to go.
        manifest: sha256 over the candidate's files.
        holder: Who has the stage.
        best: What else the candidate is measured against, if anything.
        rows: sha256 of the rows.
        policy: sha256 of the policy.
    """

    version: ModelVersion
    stage: str
    manifest: str
    holder: Holding | None
    best: Holding | None
    rows: str
    policy: str

    @property
    def digest(self) -> str:
        """What tells one question from another, in hexadecimal."""
        against = {
            who: [held.version, held.created_ms, held.manifest] if held else None
            for who, held in (("holder", self.holder), ("best", self.best))
        }
        return digest(
            {
                "stage": self.stage,
                "candidate": [self.version.version, self.version.created_ms, self.manifest],
                "rows": self.rows,
                "policy": self.policy,
                **against,
            }
        )


def find_look(state: State, inquiry: Inquiry) -> Look | None:
    """The look that this very question took, if it was asked before."""
    return state.looks.get(inquiry.digest)


def next_attempt(state: State, stage: str) -> int:
    """Which attempt the next look would be."""
    return state.attempts.get(stage, 0) + 1


class _AskedAlreadyError(GreenroomError):
    """The question was reserved meanwhile, by somebody else who asked the same."""

    def __init__(self, look: Look) -> None:
        super().__init__("The same question was asked already.")
        self.look = look


def reserve(
    ledger: Ledger, before: State, inquiry: Inquiry, evidence_run: str, *, expect: int | None = None
) -> tuple[Look, State]:
    """Takes the next attempt for this question, or finds the one that it has.

    Args:
        ledger: The model's history.
        before: The state that the question rests on.
        inquiry: The question.
        evidence_run: Where its answer will be.
        expect: Only if the newest entry still has this seq.

    Returns:
        The look, and the state that knows of it.

    Raises:
        ConflictError: Somebody else moved first; nothing was spent.
        UnreachableError: MLflow gives no answer.
    """
    nonce, question = new_nonce(), inquiry.digest

    def decide(now: State) -> Draft:
        check_basis(before, now, inquiry.version, inquiry.stage, inquiry.manifest)
        look = find_look(now, inquiry)
        if look is not None:
            raise _AskedAlreadyError(look)
        return Draft(
            action="reserve",
            nonce=nonce,
            stage=inquiry.stage,
            version=inquiry.version.version,
            was=inquiry.holder.version if inquiry.holder else None,
            created_ms=inquiry.version.created_ms,
            run_id=inquiry.version.run_id,
            manifest=inquiry.manifest,
            evidence_run=evidence_run,
            policy=inquiry.policy,
            details={
                "attempt": next_attempt(now, inquiry.stage),
                "question": question,
                "rows": inquiry.rows,
            },
        )

    try:
        _, state = ledger.append(decide, expect=expect)
    except _AskedAlreadyError as error:
        return error.look, ledger.open().state
    return state.looks[question], state
