"""Moves a version to a stage: plan, judge, commit, project. The entry in the ledger is the commit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from .errors import ConflictError, RefusedError
from .evidence import Evidence, record_evidence
from .gates.verdict import GateResult, Verdict, combine
from .judging import Case, Judgement, judge
from .ledger.entry import Draft
from .ledger.ledger import Ledger, conflict, new_nonce
from .ledger.state import State
from .names import STAGING, check_model_name, check_stage
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
    details = {"gates": dict.fromkeys((LONG[:12] + str(place) for place in range(8)), "not_enough_data")}
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
    """One promotion on its way: judged, kept, committed, projected."""

    ledger: Ledger
    request: PromotionRequest
    state: State
    version: ModelVersion
    scratch: Path
    progress: Progress

    def decide(self, outcome: Outcome) -> Outcome:
        judgement = judge(self._make_case())
        outcome = replace(outcome, gates=judgement.gates, verdict=combine(judgement.gates))
        if self.request.dry_run:
            return outcome
        self.progress("keeping the evidence in MLflow")
        experiment_id = self.ledger.open().chapter.experiment_id
        evidence = self._keep(experiment_id, outcome, judgement)
        outcome = replace(outcome, evidence_run=evidence.run_id, evidence_experiment=experiment_id)
        if outcome.verdict != "yes":
            return outcome
        self.progress("writing the entry")
        return self._commit(self._draft(outcome, judgement, evidence), outcome)

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

    def _keep(self, experiment_id: str, outcome: Outcome, judgement: Judgement) -> Evidence:
        return record_evidence(
            self.ledger.store,
            experiment_id,
            version=self.version,
            stage=self.request.to,
            was=outcome.was,
            gates=judgement.gates,
            measured=judgement.measured,
            scratch=self.scratch,
            actor=self.ledger.actor.name,
        )

    def _draft(self, outcome: Outcome, judgement: Judgement, evidence: Evidence) -> Draft:
        details: dict[str, object] = {"gates": {gate.name: gate.verdict for gate in outcome.gates}}
        if self.request.override:
            details["override"] = self.request.override[:MAX_OVERRIDE]
        manifest = judgement.manifest
        return Draft(
            action="promote",
            nonce=new_nonce(),
            stage=self.request.to,
            version=self.version.version,
            was=outcome.was,
            created_ms=self.version.created_ms,
            run_id=self.version.run_id,
            manifest=manifest.digest if manifest else None,
            layout=manifest.layout if manifest else None,
            evidence_run=evidence.run_id,
            evidence=evidence.digest,
            policy=self.request.policy.compute_digest(),
            reason=self.request.reason,
            details=details,
        )

    def _commit(self, draft: Draft, outcome: Outcome) -> Outcome:
        try:
            done = commit(self.ledger, self.state, self.version, draft, expect=self.request.expect)
        except ConflictError as error:
            seq = self.ledger.open().state.seq
            return replace(outcome, verdict="conflict", conflict=error.what, seq=seq)
        return replace(outcome, seq=done.seq, moved=True, unfinished=done.unfinished)


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
