"""Decides, from values alone, which version a command is about and whether its move is in order."""

from collections.abc import Sequence

from .errors import ConflictError, NotFoundError, OrderError, RefusedError
from .ledger.entry import Draft
from .ledger.ledger import new_nonce
from .ledger.state import Holding, State
from .names import PRODUCTION, STAGES, STAGING
from .store import ModelVersion, RegisteredModel

__all__ = [
    "check_basis",
    "choose_version",
    "find_rollback",
    "is_rejected",
    "plan_adoption",
    "preview_adoption",
]


def choose_version(
    state: State, versions: Sequence[ModelVersion], wanted: str | None, to: str
) -> ModelVersion:
    """The version to move: the one named, else the newest candidate (staging) or the staged one (production).

    Args:
        state: The history.
        versions: All versions, newest first.
        wanted: ``--version``, or None.
        to: The stage.

    Raises:
        NotFoundError: There is no such version.
        OrderError: It is not where it would have to be.
    """
    if wanted is None:
        wanted = _choose_newest(state, versions) if to == STAGING else _choose_staged(state)
    version = next((one for one in versions if one.version == wanted), None)
    if version is None:
        known = ", ".join(one.version for one in versions[:10]) or "none"
        raise NotFoundError(f"{state.model} has no version {wanted}; it has {known}.")
    _check_order(state, version, to)
    return version


def _choose_newest(state: State, versions: Sequence[ModelVersion]) -> str:
    for version in versions:
        if state.standing(version.version, version.created_ms) == "candidate":
            return version.version
    raise OrderError(
        f"{state.model} has no candidate: every version has been through a stage.",
        hint="Train one (train-model JOB.toml), or name a version with --version.",
    )


def _choose_staged(state: State) -> str:
    staged = state.holder(STAGING)
    if staged is None:
        raise OrderError(
            f"{state.model} has no version in staging.",
            hint=f"First: promote-model {state.model} --to staging",
        )
    return staged.version


def _check_order(state: State, version: ModelVersion, to: str) -> None:
    """Candidate or archived → staging → production; standing still is in order, and changes nothing."""
    standing = state.standing(version.version, version.created_ms)
    name, number = state.model, version.version
    if standing == to:
        return
    if standing == "rejected":
        raise RefusedError(f"Version {number} of {name} was rejected by a person; that is final.")
    if to == PRODUCTION and standing != STAGING:
        raise OrderError(
            f"Version {number} of {name} is {standing}; production takes versions from staging.",
            hint=f"First: promote-model {name} --version {number} --to staging",
        )
    if to == STAGING and standing == PRODUCTION:
        raise OrderError(f"Version {number} of {name} is in production already.")


def check_basis(before: State, now: State, version: ModelVersion, stage: str, manifest: str) -> None:
    """Whether what a decision rested on still holds; anything else in between does not matter.

    Raises:
        ConflictError: The holder, the version's standing, or a person's word about it changed.
    """
    if before.seq == now.seq:
        return
    holder, was = now.holder(stage), before.holder(stage)
    changes = {
        f"{stage} went to version {holder.version if holder else 'none'} (entry {now.seq})": holder != was,
        f"version {version.version} became {now.standing(version.version, version.created_ms)}": (
            now.standing(version.version, version.created_ms)
            != before.standing(version.version, version.created_ms)
        ),
        "a person rejected these files": manifest in now.rejected,
        "a person's approval changed": (
            (manifest in now.approved) != (manifest in before.approved)
            or (now.pending.get(version.version) != before.pending.get(version.version))
        ),
    }
    happened = [what for what, changed in changes.items() if changed]
    if happened:
        raise ConflictError(
            f"Somebody else moved {now.model} first: {happened[0]}.",
            hint=f"See greenroom history {now.model}, then decide again.",
        )


def find_rollback(state: State, wanted: str | None) -> Holding:
    """Who production goes back to: whoever held it before, or the version named if it ever held it.

    Raises:
        OrderError: Nobody did.
        RefusedError: A person rejected the version named; those rejected are passed over otherwise.
    """
    holder = state.holder(PRODUCTION)
    if wanted is None:
        present = (holder.version, holder.created_ms) if holder else None
        others = [held for held in state.before if (held.version, held.created_ms) != present]
        before = [held for held in others if not is_rejected(state, held)]
        if not before:
            raise OrderError(f"{state.model} has nothing to go back to: no other version was in production.")
        return before[-1]
    record = state.records.get(wanted)
    if record is None or record.produced is None:
        known = sorted((number for number, kept in state.records.items() if kept.produced), key=int)
        raise OrderError(
            f"Version {wanted} of {state.model} was never in production.",
            hint=f"Those that were: {', '.join(known) or 'none'}.",
        )
    if is_rejected(state, record.produced):
        raise RefusedError(f"Version {wanted} of {state.model} was rejected by a person; that is final.")
    return record.produced


def is_rejected(state: State, held: Holding) -> bool:
    """Whether a person rejected the version, or its very files under another number."""
    return held.manifest in state.rejected or state.standing(held.version, held.created_ms) == "rejected"


def plan_adoption(model: RegisteredModel, versions: Sequence[ModelVersion]) -> Draft:
    """The entry that takes over a model as it is found; marked unverified, for nothing was checked."""
    known = {version.version: version for version in versions}
    details: dict[str, object] = {"unverified": True}
    for stage in STAGES:
        version = known.get(model.aliases.get(stage, ""))
        if version is not None:
            details[stage] = {
                "version": version.version,
                "created_ms": version.created_ms,
                "run_id": version.run_id,
            }
    if STAGING in details and details[STAGING] == details.get(PRODUCTION):
        del details[STAGING]
    production = details.get(PRODUCTION)
    return Draft(
        action="adopt",
        nonce=new_nonce(),
        version=production["version"] if isinstance(production, dict) else None,
        reason="taken over as found",
        details=details,
    )


def preview_adoption(model: RegisteredModel, draft: Draft) -> State:
    """The state that an adoption would lead to, without writing it (``--dry-run``)."""
    from .ledger.entry import seal  # noqa: PLC0415 - beside its user
    from .ledger.fold import step  # noqa: PLC0415 - beside its user

    empty = State(ledger="", model=model.name)
    entry = seal(draft, seq=1, time="", actor="", model=model.name, ledger="", previous="")
    return step(empty, entry)
