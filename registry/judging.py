"""Asks a version every question that stands before a stage, and gathers the answers.

Integrity comes first, and nothing of the artifact runs before the trust check has passed. Quality follows
where production has a holder: both models answer the same rows in processes without credentials.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from .artifact import fetch_artifact
from .errors import ArtifactError, DataError, NotFoundError, TamperedError
from .gates.bootstrap import compare
from .gates.losses import compute_losses
from .gates.measured import Measured
from .gates.verdict import GateResult, judge_improvement
from .ledger.state import Holding, State
from .manifest import Manifest
from .names import PRODUCTION
from .policy import Policy
from .question import Question, find_question
from .store import ModelVersion, RegistryStore
from .trust import inspect_trust, read_mlmodel
from .verification import Answers, find_misfits, run_model

__all__ = ["Case", "Judgement", "judge"]

MAX_MISFITS = 10
"""Libraries named that do not fit: MLflow keeps the reason in a tag of limited length."""


@dataclass(frozen=True, slots=True)
class Case:
    """A version that wants a stage, and everything it is judged by.

    Attributes:
        store: MLflow.
        version: The candidate.
        stage: Where it wants to go.
        state: The history it is judged under.
        policy: What the team asks.
        data: Rows to judge by, over the policy's and the run's own.
        overridden: Quality gates are asked and recorded, but do not decide.
        scratch: Folder for downloads; the caller removes it.
        progress: Told what is going on.
        stop: Set when nobody waits for the models' answers any more.
    """

    store: RegistryStore
    version: ModelVersion
    stage: str
    state: State
    policy: Policy
    data: str | None
    overridden: bool
    scratch: Path
    progress: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        """Where the candidate's artifact is."""
        return self.scratch / "candidate"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every gate's answer; ``manifest`` if the artifact was had, ``measured`` if rows were compared."""

    gates: tuple[GateResult, ...]
    manifest: Manifest | None = None
    measured: Measured | None = None


def judge(case: Case) -> Judgement:
    """Runs the gates of a stage; stops at the first integrity gate that does not say yes.

    Raises:
        UnreachableError: MLflow or the artifact store gives no answer.
        UsageError: Data was given, but it is not known what is to be predicted.
    """
    case.progress(f"downloading version {case.version.version}")
    try:
        manifest = _fetch(case)
    except (ArtifactError, TamperedError) as error:
        return Judgement((GateResult("artifact", "no", str(error)),))
    gates: list[GateResult] = []
    for result in _check_integrity(case, manifest):
        gates.append(result)
        if result.verdict != "yes":
            return Judgement(tuple(gates), manifest)
    holder = case.state.holder(case.stage) if case.stage == PRODUCTION else None
    question, lack = _find_question(case, holder)
    case.progress(f"version {case.version.version} opens and answers in a process of its own")
    asked, held = _ask_both(case, holder, question)
    try:
        answers = asked.result()
    except ArtifactError as error:
        return Judgement((*gates, GateResult("answers", "no", str(error))), manifest)
    gates.append(_praise(answers))
    if holder is None:
        return Judgement(tuple(gates), manifest)
    quality, measured = _lack(lack), None
    if question and held:
        quality, measured = _judge_quality(case, question, answers, held)
    return Judgement((*gates, replace(quality, decides=not case.overridden)), manifest, measured)


def _fetch(case: Case) -> Manifest:
    """A version that was verified before must still be the same."""
    record = case.state.records.get(case.version.version)
    known = record.manifest if record and record.created_ms == case.version.created_ms else ""
    return fetch_artifact(case.store, case.version, case.folder, manifest=known)


def _check_integrity(case: Case, manifest: Manifest) -> Iterator[GateResult]:
    size = sum(length for length, _ in manifest.files.values())
    whole = f"{len(manifest.files)} files, {size:,} bytes, manifest {manifest.digest[:12]}."
    yield GateResult("artifact", "yes", whole)
    if manifest.digest in case.state.rejected:
        yield GateResult("rejected", "no", "A person rejected exactly these files; that is final.")
    yield _judge_trust(case, manifest)
    yield _judge_environment(case)


def _judge_trust(case: Case, manifest: Manifest) -> GateResult:
    try:
        findings = inspect_trust(case.folder)
    except ArtifactError as error:
        return GateResult("trust", "no", str(error))
    if not findings:
        return GateResult("trust", "yes", "It opens without running code of its author.")
    what = "; ".join(f"{finding.where}: {finding.what}" for finding in findings[:3])
    if manifest.digest in case.state.approved:
        seq = case.state.approved[manifest.digest]
        return GateResult("trust", "yes", f"A person vouched for these files (entry {seq}): {what}.")
    if case.policy.trust == "author":
        return GateResult("trust", "yes", f"The policy trusts the author: {what}.")
    name, number = case.version.name, case.version.version
    return GateResult(
        "trust",
        "no",
        f"It would run code nobody vouched for ({what}). Look at it, then: greenroom approve {name} "
        f'--version {number} (or trust = "author" in the policy).',
    )


def _judge_environment(case: Case) -> GateResult:
    requirements = case.folder / "requirements.txt"
    text = requirements.read_text(encoding="utf-8", errors="replace") if requirements.is_file() else ""
    misfits = find_misfits(read_mlmodel(case.folder), text)
    if not misfits:
        return GateResult("environment", "yes", "Its Python and libraries are those installed here.")
    more = f", and {len(misfits) - MAX_MISFITS} more" if len(misfits) > MAX_MISFITS else ""
    said = "; ".join(misfits[:MAX_MISFITS]) + more
    return GateResult("environment", "no", f"It does not fit the environment here: {said}.")


def _find_question(case: Case, holder: Holding | None) -> tuple[Question | None, str]:
    """The rows to compare on, and where there are none, why."""
    if holder is None:
        return None, ""
    lack = (
        f"There are no rows to compare with version {holder.version} on. Supply them: --data FILE with a "
        "policy that names the target, or train with train-model."
    )
    try:
        return find_question(case.store, case.version, case.policy, case.data, case.scratch), lack
    except (ArtifactError, NotFoundError, DataError) as error:
        return None, str(error)


def _ask_both(
    case: Case, holder: Holding | None, question: Question | None
) -> tuple[Future[Answers], Future[Answers] | None]:
    """Both at the same time; Ctrl-C ends the models too, wherever they are."""
    with ThreadPoolExecutor(2) as pool:
        try:
            asked = pool.submit(_ask, case, case.folder, question)
            held = pool.submit(_ask_holder, case, holder, question) if holder and question else None
            wait([future for future in (asked, held) if future])
        except BaseException:
            case.stop.set()
            raise
    return asked, held


def _ask_holder(case: Case, holder: Holding, question: Question) -> Answers:
    try:
        return _ask(case, _fetch_holder(case, holder), question)
    except (ArtifactError, NotFoundError, TamperedError) as error:
        raise ArtifactError(
            f"The holder, version {holder.version}, cannot be asked: {error}",
            hint="Go back with greenroom rollback, or promote with --override REASON.",
        ) from error


def _fetch_holder(case: Case, holder: Holding) -> Path:
    version = case.store.get_version(case.version.name, holder.version)
    if version.created_ms != holder.created_ms:
        raise NotFoundError("It was deleted, and another has its number now.")
    folder = case.scratch / "holder"
    manifest = fetch_artifact(case.store, version, folder, manifest=holder.manifest)
    findings = inspect_trust(folder)
    if findings and not _is_vouched(case, holder, manifest):
        raise ArtifactError(f"it would run code nobody vouched for ({findings[0].where}).")
    return folder


def _is_vouched(case: Case, holder: Holding, manifest: Manifest) -> bool:
    """It passed this check when it was promoted; an adopted holder was never checked."""
    return bool(holder.manifest) or case.policy.trust == "author" or manifest.digest in case.state.approved


def _ask(case: Case, folder: Path, question: Question | None) -> Answers:
    timeout_s = case.policy.timeout_s
    if question is None:
        return run_model(folder, scratch=case.scratch, timeout_s=timeout_s, stop=case.stop)
    return run_model(
        folder,
        scratch=case.scratch,
        rows=question.rows,
        features=question.features,
        task=question.task,
        classes=question.classes,
        timeout_s=timeout_s,
        stop=case.stop,
    )


def _praise(answers: Answers) -> GateResult:
    example = "and answered its input example" if answers.has_example else "(it carries no input example)"
    return GateResult("answers", "yes", f"It loaded in {answers.load_s:.1f} s {example}.")


def _judge_quality(
    case: Case, question: Question, candidate: Answers, held: Future[Answers]
) -> tuple[GateResult, Measured | None]:
    try:
        measured = _measure(case, question, held.result(), candidate)
    except (ArtifactError, DataError) as error:
        return _lack(str(error)), None
    blocks = "rows" if question.group is None else "blocks"
    return judge_improvement(measured.comparison, measured.losses.metric, blocks=blocks), measured


def _lack(reason: str) -> GateResult:
    return GateResult("metric", "not_enough_data", reason)


def _measure(case: Case, question: Question, holder: Answers, candidate: Answers) -> Measured:
    import pandas as pd  # noqa: PLC0415 - heavy

    answers = {}
    for who, given in (("holder", holder), ("candidate", candidate)):
        if given.rows is None:
            raise ArtifactError(f"The {who} could not answer the rows: {given.rows_error}")
        answers[who] = pd.read_parquet(given.rows)
    columns = [question.target, *([question.group] if question.group else [])]
    table = pd.read_parquet(question.rows, columns=columns)
    losses = compute_losses(
        table[question.target],
        answers["holder"],
        answers["candidate"],
        task=question.task,
        classes=question.classes,
    )
    blocks = table[question.group].astype(str).to_numpy() if question.group else None
    comparison = compare(losses.holder, losses.candidate, blocks, confidence=case.policy.confidence)
    return Measured(question, losses, comparison, answers)
