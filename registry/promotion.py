"""Moves a version to a stage: plan, judge, commit, project. The entry in the ledger is the commit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from .approval import Bond, find_waiting, judge_approval
from .errors import ConflictError, RefusedError
from .gates.extensions import check_gates
from .gates.verdict import GateResult, Verdict, combine
from .judging import Case
from .ledger.entry import Action, Draft
from .ledger.ledger import Ledger, conflict, new_nonce
from .ledger.state import Pending, State
from .looking import Looking, Sight
from .names import PRODUCTION, STAGING, check_model_name, check_stage
from .planning import check_basis, choose_version
from .policy import Policy
from .store import ModelVersion
from .upkeep import ensure_history, finish, preview_history

__all__ = ["Outcome", "PromotionRequest", "commit", "promote"]

Progress = Callable[[str], None]

LONG: Final = "f" * 64
"""A sha256's length in hexadecimal."""

MAX_OVERRIDE: Final = 500
"""Characters of an override's reason that the entry keeps."""


SHOWN: Final = {"superiority": "better", "non_inferiority": "no worse"}
"""What a promotion's entry says that the metric gate showed: see ``State.best``."""

GATES: Final = 16
"""Gates that an entry has room for, names of a team's own among them."""


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """What somebody asks for.

    Attributes:
        name: The registered model.
        to: ``staging`` or ``production``.
        version: Which version; None: the newest candidate, or the staged one.
        policy: What the team asks of it.
        data: Rows to judge by.
        expect: Only if the history's head is still this entry.
        reason: Why, for the history.
        override: Why quality gates shall not decide.
        dry_run: Judge, but write nothing.
    """

    name: str
    to: str
    version: str | None = None
    policy: Policy = field(default_factory=Policy)
    data: str | None = None
    expect: int | None = None
    reason: str | None = None
    override: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        model: The registered model.
        stage: The stage asked for.
        version: The version it was about.
        was: The version that had the stage before.
        seq: The history's head afterwards.
        verdict: yes, no, not_enough_data, pending or conflict.
        gates: Every gate's answer.
        evidence_run: Run with the evidence.
        evidence_experiment: That run's experiment.
        dry_run: Nothing was written.
        moved: Whether the stage changed; False if the version had it already.
        conflict: Who was first, if somebody else was.
        unfinished: What could not be written after the entry, if anything.
    """

    model: str
    stage: str
    version: str
    was: str | None
    seq: int
    verdict: Verdict | str
    gates: tuple[GateResult, ...] = ()
    evidence_run: str | None = None
    evidence_experiment: str | None = None
    dry_run: bool = False
    moved: bool = False
    conflict: str | None = None
    unfinished: str = ""


def promote(ledger: Ledger, request: PromotionRequest, *, progress: Progress = lambda _: None) -> Outcome:
    """Judges a version and, if every gate says yes, moves it.

    Args:
        ledger: The model's history, and through it the store and the actor.
        request: What is asked.
        progress: Told what is going on.

    Raises:
        UsageError: The reason is too long, or holds characters that cannot be kept.
        NotFoundError: No such model or version.
        OrderError: The version is not where it would have to be.
        RefusedError: A person rejected it, or the policy forbids overriding.
        TamperedError: History is not sound; nothing was changed.
        UnreachableError: MLflow gives no answer.
    """
    check_model_name(request.name)
    check_stage(request.to)
    if request.override and not request.policy.allow_override:
        raise RefusedError("The policy forbids --override.")
    check_gates(request.policy.gates)
    ledger.seal(_rehearse(request), State(ledger=LONG[:32], model=request.name, link=LONG))
    state = preview_history(ledger) if request.dry_run else ensure_history(ledger)
    if request.expect is not None and state.seq != request.expect:
        return _tell_overtaken(ledger, request, state)
    versions = ledger.store.list_versions(request.name)
    version = choose_version(state, versions, request.version, request.to)
    holder = state.holder(request.to)
    outcome = Outcome(
        model=request.name,
        stage=request.to,
        version=version.version,
        was=holder.version if holder else None,
        seq=state.seq,
        verdict="yes",
        dry_run=request.dry_run,
    )
    if state.standing(version.version, version.created_ms) == request.to:
        return outcome
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        return _Promotion(ledger, request, state, version, Path(scratch), progress).decide(outcome)


def _rehearse(request: PromotionRequest) -> Draft:
    """An entry as long as any that may come of it: a reason that does not fit is refused before judging."""
    details = {"gates": dict.fromkeys((LONG[:12] + str(place) for place in range(GATES)), "not_enough_data")}
    return Draft(
        action="promote",
        nonce=new_nonce(),
        stage=request.to,
        version=LONG[:8],
        was=LONG[:8],
        created_ms=10**13,
        run_id=LONG[:32],
        manifest=LONG,
        layout=LONG,
        evidence_run=LONG[:32],
        evidence=LONG,
        policy=LONG,
        reason=request.reason,
        details=details | ({"override": request.override[:MAX_OVERRIDE]} if request.override else {}),
    )


def _tell_overtaken(ledger: Ledger, request: PromotionRequest, state: State) -> Outcome:
    """With ``--expect`` any change is a conflict, whatever it makes of the version asked for."""
    holder, staged = state.holder(request.to), state.holder(STAGING)
    reading = ledger.find()
    what = f"the history's head is entry {state.seq}, not {request.expect}"
    return Outcome(
        model=request.name,
        stage=request.to,
        version=request.version or (staged.version if staged and request.to != STAGING else ""),
        was=holder.version if holder else None,
        seq=state.seq,
        verdict="conflict",
        dry_run=request.dry_run,
        conflict=conflict(reading, what).what if reading else f"{request.name}: {what}.",
    )


@dataclass(frozen=True, slots=True)
class _Promotion:
    """One promotion on its way: looked at, approved where that is asked, committed, projected."""

    ledger: Ledger
    request: PromotionRequest
    state: State
    version: ModelVersion
    scratch: Path
    progress: Progress

    def decide(self, outcome: Outcome) -> Outcome:
        looking = Looking(
            self.ledger,
            self._make_case(),
            expect=self.request.expect,
            dry_run=self.request.dry_run,
            find_waiting=lambda manifest: self._find_waiting(self.state, manifest),
        )
        try:
            sight = looking.look()
        except ConflictError as error:
            return self._tell_conflict(outcome, error)
        gates = (*sight.gates, *self._ask_approval(sight))
        outcome = replace(outcome, gates=gates, verdict=combine(gates), seq=sight.state.seq)
        if sight.evidence:
            evidence_run = sight.evidence.run_id
            outcome = replace(outcome, evidence_run=evidence_run, evidence_experiment=sight.experiment_id)
        if self.request.dry_run:
            return outcome
        if outcome.verdict == "yes":
            self.progress("writing the entry")
            return self._commit(self._draft("promote", outcome, sight), outcome, sight)
        if outcome.verdict == "pending":
            return self._wait(outcome, sight)
        return replace(outcome, unfinished=finish(self.ledger)) if sight.reserved else outcome

    def _make_case(self) -> Case:
        return Case(
            store=self.ledger.store,
            version=self.version,
            stage=self.request.to,
            state=self.state,
            policy=self.request.policy,
            data=self.request.data,
            overridden=self.request.override is not None,
            scratch=self.scratch,
            progress=self.progress,
        )

    def _find_waiting(self, state: State, manifest: str) -> Pending | None:
        return find_waiting(state, self._bind(state, manifest))

    def _bind(self, state: State, manifest: str) -> Bond:
        holder = state.holder(self.request.to)
        return Bond(
            version=self.version.version,
            stage=self.request.to,
            was=holder.version if holder else None,
            manifest=manifest,
            policy=self.request.policy.compute_digest(),
        )

    def _ask_approval(self, sight: Sight) -> tuple[GateResult, ...]:
        """Asked last, and only of a version that everything else speaks for."""
        policy = self.request.policy.approval
        if (
            not policy.required
            or self.request.to != PRODUCTION
            or sight.verdict != "yes"
            or not sight.manifest
        ):
            return ()
        bond = self._bind(sight.state, sight.manifest.digest)
        return (judge_approval(self.request.name, self._find_asked(sight), bond, policy),)

    def _find_asked(self, sight: Sight) -> Pending | None:
        """The promotion that waits for a word about this very evidence."""
        waiting = self._find_waiting(sight.state, sight.manifest.digest) if sight.manifest else None
        if waiting and sight.evidence and waiting.evidence != sight.evidence.digest:
            return None
        return waiting

    def _wait(self, outcome: Outcome, sight: Sight) -> Outcome:
        """Appends ``pending``, once."""
        if self._find_asked(sight):
            return outcome
        return self._commit(self._draft("pending", outcome, sight), outcome, sight)

    def _draft(self, action: Action, outcome: Outcome, sight: Sight) -> Draft:
        details: dict[str, object] = {"gates": {gate.name: gate.verdict for gate in outcome.gates}}
        if self.request.override:
            details["override"] = self.request.override[:MAX_OVERRIDE]
        elif any(gate.name == "metric" for gate in outcome.gates):
            details["shown"] = SHOWN[self.request.policy.metric.mode]
        manifest, evidence = sight.manifest, sight.evidence
        return Draft(
            action=action,
            nonce=new_nonce(),
            stage=self.request.to,
            version=self.version.version,
            was=outcome.was,
            created_ms=self.version.created_ms,
            run_id=self.version.run_id,
            manifest=manifest.digest if manifest else None,
            layout=manifest.layout if manifest else None,
            evidence_run=evidence.run_id if evidence else None,
            evidence=evidence.digest if evidence else None,
            policy=self.request.policy.compute_digest(),
            reason=self.request.reason,
            details=details,
        )

    def _commit(self, draft: Draft, outcome: Outcome, sight: Sight) -> Outcome:
        expect = self.request.expect
        if expect is not None and sight.reserved:
            expect = sight.state.seq
        try:
            done = commit(self.ledger, sight.state, self.version, draft, expect=expect)
        except ConflictError as error:
            return self._tell_conflict(outcome, error)
        return replace(outcome, seq=done.seq, moved=draft.action == "promote", unfinished=done.unfinished)

    def _tell_conflict(self, outcome: Outcome, error: ConflictError) -> Outcome:
        seq = self.ledger.open().state.seq
        return replace(outcome, verdict="conflict", conflict=error.what, seq=seq)


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry that stands. ``unfinished`` says what of its projection could not be written, if anything."""

    seq: int
    unfinished: str = ""


def commit(
    ledger: Ledger, before: State, version: ModelVersion, draft: Draft, *, expect: int | None = None
) -> Committed:
    """Appends a judged promotion if what it rested on still holds, then projects it.

    Args:
        ledger: The model's history.
        before: The state that the version was judged under.
        version: The version.
        draft: The entry, with the evidence.
        expect: Only if the newest entry still has this seq.

    Raises:
        ConflictError: Somebody else moved first.
        UnreachableError: MLflow gives no answer.
    """

    def decide(now: State) -> Draft:
        check_basis(before, now, version, draft.stage or "", draft.manifest or "")
        return draft

    entry, _ = ledger.append(decide, expect=expect)
    return Committed(entry.seq, finish(ledger))
