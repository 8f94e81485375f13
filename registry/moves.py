"""The moves that need no judging: rollback, archive, and a person's word (approve, reject); and adoption."""

from dataclasses import dataclass

from .artifact import fetched_artifact
from .errors import ArtifactError, ConflictError, NotFoundError, OrderError
from .ledger.entry import Action, Draft
from .ledger.ledger import Ledger, new_nonce
from .ledger.state import Holding, State
from .manifest import compute_layout
from .names import PRODUCTION
from .planning import find_rollback, is_rejected, plan_adoption
from .store import ModelVersion
from .upkeep import ensure_history, finish, preview_history

__all__ = ["Moved", "adopt", "archive", "rollback", "speak"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done, or would be (``dry_run``).

    Attributes:
        model: The registered model.
        version: The version it is about.
        was: The version that held the stage before, for a rollback.
        seq: The history's head afterwards.
        dry_run: Nothing was written.
        found: What adoption found, stage → version.
        conflict: Who was first, if somebody else was.
        unfinished: What could not be written after the entry, if anything.
    """

    model: str
    version: str | None
    was: str | None
    seq: int
    dry_run: bool = False
    found: dict[str, str] | None = None
    conflict: str | None = None
    unfinished: str = ""


def rollback(
    ledger: Ledger,
    *,
    to_version: str | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    holder: Holding | None = None,
    evidence_run: str | None = None,
) -> Moved:
    """Production back to the version that held it before, or to any that ever held it.

    The version was verified when it was promoted: here only its existence, files and sizes are checked,
    without a download, so that going back takes well under a second. Followers check every digest.

    Args:
        ledger: The model's history.
        to_version: Where to go back to; None: what held production before.
        reason: Why, for the history.
        dry_run: Write nothing.
        holder: Only while exactly this holding has production; anything else is a ``conflict``.
        evidence_run: The run that shows why, for the history.

    Raises:
        OrderError: Nothing to go back to, or the version is in production already.
        RefusedError: A person rejected the version.
        ArtifactError: Its files are gone or have other sizes than recorded.
    """
    state = _read(ledger, dry_run=dry_run)
    wanted, holder = holder, state.holder(PRODUCTION)
    was = holder.version if holder else None
    if wanted is not None and holder != wanted:
        problem = f"Production of {ledger.name} is at {_name(holder)}, not at {_name(wanted)} any more."
        return Moved(ledger.name, None, was, state.seq, dry_run=dry_run, conflict=problem)
    target = find_rollback(state, to_version)
    if holder and (holder.version, holder.created_ms) == (target.version, target.created_ms):
        raise OrderError(f"Version {target.version} of {ledger.name} is in production already.")
    version = _check_target(ledger, target)
    if dry_run:
        return Moved(ledger.name, target.version, was, state.seq, dry_run=True)
    draft = Draft(
        action="rollback",
        nonce=new_nonce(),
        stage=PRODUCTION,
        version=target.version,
        was=was,
        created_ms=target.created_ms,
        run_id=version.run_id,
        manifest=target.manifest or None,
        layout=target.layout or None,
        evidence_run=evidence_run,
        reason=reason,
    )

    def decide(now: State) -> Draft:
        _check_unmoved(ledger, now, holder, target)
        return draft

    try:
        entry, _ = ledger.append(decide)
    except ConflictError as error:
        seq = ledger.open().state.seq
        return Moved(ledger.name, target.version, was, seq, conflict=error.what)
    return Moved(ledger.name, target.version, was, entry.seq, unfinished=finish(ledger))


def _check_unmoved(ledger: Ledger, now: State, holder: Holding | None, target: Holding) -> None:
    if now.holder(PRODUCTION) != holder:
        raise ConflictError(
            f"Somebody else moved {ledger.name} first: production is at "
            f"{_name(now.holder(PRODUCTION))} since entry {now.seq}.",
            hint=f"See greenroom history {ledger.name}, then decide again.",
        )
    if is_rejected(now, target):
        raise ConflictError(f"Somebody rejected version {target.version} of {ledger.name} first.")


def archive(ledger: Ledger, version: str, *, reason: str | None = None, dry_run: bool = False) -> Moved:
    """Takes a version out, from wherever it is but production.

    Raises:
        OrderError: It is in production.
        NotFoundError: There is no such version.
    """
    return _mark(ledger, "archive", version, reason=reason, dry_run=dry_run, hash_files=False)


def speak(
    ledger: Ledger, action: Action, version: str, *, reason: str | None = None, dry_run: bool = False
) -> Moved:
    """A person's word: ``approve`` or ``reject``, bound to exactly the version's present files.

    Raises:
        OrderError: A version in production cannot be rejected.
        ArtifactError: The files cannot be had.
        NotFoundError: There is no such version.
    """
    return _mark(ledger, action, version, reason=reason, dry_run=dry_run, hash_files=True)


def adopt(ledger: Ledger, *, dry_run: bool = False) -> Moved:
    """Begins the history of a model that already lives on an MLflow server, as it is found.

    Idempotent: a model with a history is left alone.

    Raises:
        NotFoundError: There is no such model.
    """
    reading = ledger.find()
    if reading is not None and reading.state.seq:
        found = {stage: held.version for stage, held in reading.state.holders.items()}
        return Moved(
            ledger.name, found.get(PRODUCTION), None, reading.state.seq, dry_run=dry_run, found=found
        )
    model = ledger.store.get_model(ledger.name)
    draft = plan_adoption(model, ledger.store.list_versions(ledger.name))
    found = {stage: what["version"] for stage, what in draft.details.items() if isinstance(what, dict)}
    if dry_run:
        return Moved(ledger.name, draft.version, None, 0, dry_run=True, found=found)

    def decide(now: State) -> Draft:
        if now.seq:
            raise ConflictError(f"Somebody else adopted {ledger.name} first.")
        return draft

    entry, _ = ledger.append(decide)
    return Moved(ledger.name, draft.version, None, entry.seq, found=found, unfinished=finish(ledger))


def _mark(
    ledger: Ledger, action: Action, number: str, *, reason: str | None, dry_run: bool, hash_files: bool
) -> Moved:
    state = _read(ledger, dry_run=dry_run)
    version = ledger.store.get_version(ledger.name, number)
    _check_not_in_production(state, version, action)
    manifest = _hash(ledger, version) if hash_files else None
    if dry_run:
        return Moved(ledger.name, number, None, state.seq, dry_run=True)
    nonce = new_nonce()

    def decide(now: State) -> Draft:
        _check_not_in_production(now, version, action)
        return Draft(
            action=action,
            nonce=nonce,
            version=number,
            created_ms=version.created_ms,
            run_id=version.run_id,
            manifest=manifest,
            reason=reason,
            details=_bind_word(now, version, manifest) if action == "approve" else {},
        )

    entry, _ = ledger.append(decide)
    return Moved(ledger.name, number, None, entry.seq, unfinished=finish(ledger))


def _check_not_in_production(state: State, version: ModelVersion, action: Action) -> None:
    if action == "approve" or state.standing(version.version, version.created_ms) != PRODUCTION:
        return
    raise OrderError(
        f"Version {version.version} of {state.model} is in production.",
        hint=f"First move production: greenroom rollback {state.model}, or promote another version.",
    )


def _bind_word(state: State, version: ModelVersion, manifest: str | None) -> dict[str, object]:
    """What waits for this word: the very promotion, with its evidence and policy."""
    waiting = state.pending.get(version.version)
    if waiting is None or waiting.manifest != manifest:
        return {}
    return {"pending": waiting.seq, "evidence": waiting.evidence, "policy": waiting.policy}


def _hash(ledger: Ledger, version: ModelVersion) -> str:
    with fetched_artifact(ledger.store, version) as (_, manifest):
        return manifest.digest


def _read(ledger: Ledger, *, dry_run: bool) -> State:
    if not dry_run:
        return ensure_history(ledger)
    return preview_history(ledger)


def _check_target(ledger: Ledger, target: Holding) -> ModelVersion:
    try:
        version = ledger.store.get_version(ledger.name, target.version)
    except NotFoundError as error:
        raise ArtifactError(
            f"Version {target.version} of {ledger.name} was deleted; production cannot go back to it.",
            hint=f"Name another: greenroom rollback {ledger.name} --to-version N",
        ) from error
    if version.created_ms != target.created_ms:
        raise ArtifactError(
            f"Version {target.version} of {ledger.name} is not the one that was in production: "
            "that was deleted, and its number given again."
        )
    sizes = ledger.store.list_files(version)
    if target.layout and compute_layout(sizes) != target.layout:
        raise ArtifactError(
            f"The files of version {target.version} of {ledger.name} are not those that were recorded.",
            hint=f"See greenroom verify {ledger.name}",
        )
    return version


def _name(holder: Holding | None) -> str:
    return f"version {holder.version}" if holder else "no version"
