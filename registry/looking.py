"""One look at the rows: planned before it is spent, reserved in history, measured once, then recalled."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import DataError, GreenroomError, NotFoundError
from .evidence import Evidence, Kept, Looked, begin_evidence, keep_evidence, read_evidence
from .gates.budget import level_of_attempt
from .gates.material import CANDIDATE, HOLDER, Material
from .gates.metric import plan_look
from .gates.quality import judge_quality
from .gates.verdict import GateResult, Verdict, combine
from .hearing import Hearing, hear, make_material
from .judging import Case, Examination, examine
from .ledger.ledger import Ledger
from .ledger.state import Look, Pending, State
from .manifest import Manifest
from .reserving import Inquiry, find_look, next_attempt, reserve
from .verification import prepare_models

__all__ = ["Looking", "Sight"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What came of looking.

    Attributes:
        gates: Every gate's answer.
        state: History as the decision knows it: with the reservation, if one was made.
        manifest: Of the candidate's files, if they were had.
        evidence: Where it is kept; None in a dry run.
        experiment_id: The evidence run's experiment.
        reserved: Whether this look made a reservation just now.
    """

    gates: tuple[GateResult, ...]
    state: State
    manifest: Manifest | None = None
    evidence: Evidence | None = None
    experiment_id: str | None = None
    reserved: bool = False

    @property
    def verdict(self) -> Verdict:
        """The answer of all gates together."""
        return combine(self.gates)


@dataclass(frozen=True, slots=True)
class Looking:
    """A candidate is looked at, once for every question.

    Attributes:
        ledger: The model's history.
        case: The candidate, and what it is judged by.
        expect: Only if history's newest entry still has this seq.
        dry_run: Write nothing, and look at nothing that was not looked at before.
        find_waiting: Manifest's digest → the promotion of exactly this that waits for a person's word, or has
            it, if any.
    """

    ledger: Ledger
    case: Case
    expect: int | None
    dry_run: bool
    find_waiting: Callable[[str], Pending | None]

    def look(self) -> Sight:
        """Asks the gates in order: integrity, then the model's own example, then quality.

        Raises:
            ConflictError: Somebody else moved first.
            TamperedError: Evidence that is used again is not what was kept.
            UnreachableError: MLflow or the artifact store gives no answer.
        """
        prepare_models()
        examination = examine(self.case)
        if not examination.is_sound:
            return self._keep(examination, examination.gates, ())
        inquiry = self._inquire(examination)
        recalled = self._recall(examination, inquiry)
        question = examination.question if inquiry and not recalled else None
        hearing = hear(self.case, question)
        gates = (*examination.gates, hearing.gate)
        if hearing.gate.verdict != "yes":
            return self._keep(examination, gates, ())
        if recalled:
            return self._show_again(examination, gates, recalled)
        if inquiry is None or hearing.problem:
            return self._keep(examination, gates, self._lack(examination, hearing))
        return self._measure(examination, gates, inquiry, hearing)

    def _inquire(self, examination: Examination) -> Inquiry | None:
        if examination.question is None or examination.manifest is None:
            return None
        case = self.case
        return Inquiry(
            version=case.version,
            stage=case.stage,
            manifest=examination.manifest.digest,
            holder=case.holder,
            best=case.best,
            rows=examination.question.digest,
            policy=case.policy.compute_digest(),
        )

    def _recall(self, examination: Examination, inquiry: Inquiry | None) -> Kept | None:
        """The answer to this very question, if it was given before; or what a person approved."""
        waiting = self.find_waiting(examination.manifest.digest) if examination.manifest else None
        look = find_look(self.case.state, inquiry) if inquiry else None
        if waiting and waiting.evidence_run:
            run_id, digest = waiting.evidence_run, waiting.evidence
        elif look:
            run_id, digest = look.evidence_run, None
        else:
            return None
        try:
            kept = read_evidence(self.ledger.store, run_id, self._make_folder(), digest=digest)
        except (NotFoundError, DataError):
            return None  # the look was interrupted: it is spent, and is taken again under its own number
        asked = kept.document.get("question", {}).get("digest")
        return kept if inquiry is None or asked == inquiry.rows else None

    def _make_folder(self) -> Path:
        folder = self.case.scratch / "recalled"
        folder.mkdir()
        return folder

    def _show_again(self, examination: Examination, gates: tuple[GateResult, ...], kept: Kept) -> Sight:
        quality = tuple(replace(gate, decides=not self.case.overridden) for gate in kept.quality)
        experiment_id = self.ledger.store.get_run(kept.evidence.run_id).experiment_id
        return Sight(
            gates=(*gates, *quality),
            state=self.case.state,
            manifest=examination.manifest,
            evidence=kept.evidence,
            experiment_id=experiment_id,
        )

    def _lack(self, examination: Examination, hearing: Hearing) -> tuple[GateResult, ...]:
        """Quality is asked, but there is nothing to look at."""
        reason = hearing.problem or examination.lack
        if not reason:
            return ()
        name = "metric" if self.case.holder else "rows"
        return (GateResult(name, "not_enough_data", reason, decides=not self.case.overridden),)

    def _measure(
        self, examination: Examination, gates: tuple[GateResult, ...], inquiry: Inquiry, hearing: Hearing
    ) -> Sight:
        case, question = self.case, examination.question
        assert question is not None  # an inquiry has one
        known = find_look(case.state, inquiry)
        number = known.attempt if known else next_attempt(case.state, case.stage)
        plan = self._plan(hearing, examination, number)
        if self.dry_run:
            said = GateResult("metric", "not_enough_data", f"A dry run looks at no metric. {plan}")
            return Sight(
                (*gates, replace(said, decides=not case.overridden)), case.state, examination.manifest
            )
        case.progress(plan)
        material = make_material(case, question, hearing)
        experiment_id = self.ledger.open().chapter.experiment_id
        run_id = self._find_interrupted(known) or self._begin(experiment_id)
        try:
            look, state = reserve(self.ledger, case.state, inquiry, run_id, expect=self.expect)
        except GreenroomError:
            with suppress(GreenroomError):  # what went wrong first is what matters
                self.ledger.store.delete_run(run_id)
            raise
        case.progress(f"measuring (attempt {look.attempt})")
        quality = self._judge(run_id, material, look.attempt)
        looked = Looked(material, case.policy, look.attempt, question.origin, question.digest)
        evidence = self._write(run_id, gates, quality, looked)
        return Sight(
            gates=(*gates, *quality),
            state=state,
            manifest=examination.manifest,
            evidence=evidence,
            experiment_id=experiment_id,
            reserved=state.seq != case.state.seq,
        )

    def _judge(self, run_id: str, material: Material, attempt: int) -> tuple[GateResult, ...]:
        try:
            said = judge_quality(material, self.case.policy, attempt=attempt)
        except BaseException:
            with suppress(GreenroomError):  # what went wrong first is what matters
                self.ledger.store.finish_run(run_id, "FAILED")
            raise
        return tuple(replace(gate, decides=not self.case.overridden) for gate in said)

    def _find_interrupted(self, known: Look | None) -> str | None:
        """The run that the reservation named: an answer that comes later belongs there too."""
        if known is None:
            return None
        try:
            run = self.ledger.store.get_run(known.evidence_run)
        except NotFoundError:
            return None
        return run.run_id if run.active else None

    def _plan(self, hearing: Hearing, examination: Examination, attempt: int) -> str:
        """What this look costs and what it can show, from the models' answers alone."""
        question, policy = examination.question, self.case.policy
        assert question is not None  # see above
        level = level_of_attempt(policy.alpha, attempt)
        return plan_look(
            question.task,
            policy.metric,
            hearing.answers.get(HOLDER),
            hearing.answers[CANDIDATE],
            attempt=attempt,
            level=level,
            grouped=question.group is not None,
        )

    def _keep(
        self, examination: Examination, gates: tuple[GateResult, ...], quality: tuple[GateResult, ...]
    ) -> Sight:
        """A decision without a look is kept too."""
        sight = Sight((*gates, *quality), self.case.state, examination.manifest)
        if self.dry_run:
            return sight
        experiment_id = self.ledger.open().chapter.experiment_id
        evidence = self._write(self._begin(experiment_id), gates, quality, None)
        return replace(sight, evidence=evidence, experiment_id=experiment_id)

    def _begin(self, experiment_id: str) -> str:
        case = self.case
        return begin_evidence(
            self.ledger.store,
            experiment_id,
            version=case.version,
            stage=case.stage,
            actor=self.ledger.actor.name,
        )

    def _write(
        self,
        run_id: str,
        gates: tuple[GateResult, ...],
        quality: tuple[GateResult, ...],
        looked: Looked | None,
    ) -> Evidence:
        case = self.case
        case.progress("keeping the evidence in MLflow")
        holder = case.state.holder(case.stage)
        return keep_evidence(
            self.ledger.store,
            run_id,
            version=case.version,
            stage=case.stage,
            was=holder.version if holder else None,
            integrity=gates,
            quality=quality,
            looked=looked,
            scratch=case.scratch,
        )
