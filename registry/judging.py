"""Asks the integrity questions before every stage; nothing of an artifact runs before the trust check."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .artifact import fetch_artifact
from .compatibility import judge_contract, judge_guard, judge_signature
from .errors import ArtifactError, DataError, NotFoundError, TamperedError
from .gates.verdict import GateResult
from .ledger.state import Holding, State
from .manifest import Manifest
from .names import PRODUCTION
from .policy import Policy
from .question import Question, find_question
from .store import ModelVersion, RegistryStore
from .trust import inspect_trust, read_mlmodel
from .verification import find_misfits

__all__ = ["Case", "Examination", "examine", "fetch_rival"]

MAX_MISFITS: Final = 10
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

    @property
    def holder(self) -> Holding | None:
        """Whom the candidate is compared with: production's holder."""
        return self.state.holder(PRODUCTION) if self.stage == PRODUCTION else None

    @property
    def best(self) -> Holding | None:
        """Whom else: what the holder itself was measured against, where no worse is enough."""
        holder = self.holder
        if holder is None or self.policy.metric.mode != "non_inferiority":
            return None
        best = self.state.best_of(holder)
        return None if best.version == holder.version else best


@dataclass(frozen=True, slots=True)
class Examination:
    """What the integrity gates said.

    Attributes:
        gates: Their answers; after the first that is not yes, no other was asked.
        manifest: Of the candidate's files, if they were had.
        question: Rows to look at, if quality is asked and there are any.
        lack: Why there are none although quality is asked.
    """

    gates: tuple[GateResult, ...]
    manifest: Manifest | None = None
    question: Question | None = None
    lack: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether every gate said yes."""
        return all(gate.verdict == "yes" for gate in self.gates)


def examine(case: Case) -> Examination:
    """Runs the integrity gates that need no answer of the model; stops at the first that does not say yes.

    Raises:
        UnreachableError: MLflow or the artifact store gives no answer.
        UsageError: Data was given, but it is not known what is to be predicted.
    """
    case.progress(f"downloading version {case.version.version}")
    try:
        manifest = _fetch(case)
    except (ArtifactError, TamperedError) as error:
        return Examination((GateResult("artifact", "no", str(error)),))
    gates: list[GateResult] = []
    for result in _check_integrity(case, manifest):
        gates.append(result)
        if result.verdict != "yes":
            return Examination(tuple(gates), manifest)
    question, lack = _find_question(case)
    return Examination(tuple(gates), manifest, question, lack)


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
    if case.policy.contract:
        yield judge_contract(case.folder)
    if case.policy.guard:
        yield judge_guard(case.folder)
    if case.policy.signature == "compatible" and case.holder is not None:
        yield _judge_signature(case, case.holder)


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


def _judge_signature(case: Case, holder: Holding) -> GateResult:
    try:
        folder = fetch_rival(case, "holder", holder)
        return judge_signature(read_mlmodel(case.folder), read_mlmodel(folder))
    except (ArtifactError, NotFoundError, TamperedError) as error:
        return GateResult("signature", "no", f"The holder, version {holder.version}, cannot be read: {error}")


def _find_question(case: Case) -> tuple[Question | None, str]:
    """The rows to look at, and where there are none, why."""
    holder = case.holder
    asks_alone = case.stage == PRODUCTION and case.policy.asks_rows
    if holder is None and not asks_alone:
        return None, ""
    purpose = f"compare with version {holder.version} on" if holder else "judge it by"
    lack = (
        f"There are no rows to {purpose}. Supply them: --data FILE with a policy that names the target, or "
        "train with train-model."
    )
    try:
        return find_question(case.store, case.version, case.policy, case.data, case.scratch), lack
    except (ArtifactError, NotFoundError, DataError) as error:
        return None, str(error)


def fetch_rival(case: Case, who: str, holding: Holding) -> Path:
    """Downloads what the candidate is compared with, once, and checks it as the candidate was checked.

    Raises:
        NotFoundError: It was deleted.
        ArtifactError: It would run code nobody vouched for, or cannot be had.
        TamperedError: It is not the one that was verified.
    """
    folder = case.scratch / who
    if folder.exists():
        return folder
    version = case.store.get_version(case.version.name, holding.version)
    if version.created_ms != holding.created_ms:
        raise NotFoundError("It was deleted, and another has its number now.")
    fresh = case.scratch / f"{who}.fresh"
    manifest = fetch_artifact(case.store, version, fresh, manifest=holding.manifest)
    findings = inspect_trust(fresh)
    if findings and not _is_vouched(case, holding, manifest):
        raise ArtifactError(f"it would run code nobody vouched for ({findings[0].where}).")
    return fresh.rename(folder)


def _is_vouched(case: Case, holding: Holding, manifest: Manifest) -> bool:
    """It passed this check when it was promoted; an adopted holder was never checked."""
    return bool(holding.manifest) or case.policy.trust == "author" or manifest.digest in case.state.approved
