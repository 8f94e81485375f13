"""Adds entries up, in order: a pure fold, which refuses ill-formed histories."""

from collections.abc import Iterable
from dataclasses import replace

from registry.errors import TamperedError
from registry.names import PRODUCTION, STAGES, STAGING

from .entry import Entry
from .state import Holding, Look, Pending, Record, Standing, State

__all__ = ["find_problem", "fold", "step"]


def fold(state: State, entries: Iterable[Entry]) -> State:
    """Applies entries in order.

    Raises:
        TamperedError: One does not follow from what stands before it.
    """
    for entry in entries:
        state = step(state, entry)
    return state


def step(state: State, entry: Entry) -> State:
    """Applies one entry.

    Raises:
        TamperedError: It does not follow from the state.
    """
    _check_place(state, entry)
    _check_form(state, entry)
    state = _ACTS[entry.action](state, entry)
    if entry.action != "rogue":
        state = replace(state, rogue=())
    return replace(state, seq=entry.seq, hash=entry.hash, link=entry.hash, time=max(state.time, entry.time))


def _check_place(state: State, entry: Entry) -> None:
    expected = {"seq": state.seq + 1, "previous": state.link, "ledger": state.ledger}
    for name, value in expected.items():
        if getattr(entry, name) != value:
            raise TamperedError(
                f"Ledger entry {entry.seq} of {state.model} does not follow entry {state.seq}: "
                f"its {name} is {getattr(entry, name)!r}, not {value!r}."
            )
    if entry.action not in ("rename", "import") and entry.model != state.model:
        raise TamperedError(f"Ledger entry {entry.seq} is about {entry.model!r}, not {state.model!r}.")


def _check_form(state: State, entry: Entry) -> None:
    problem = find_problem(state, entry)
    if problem:
        raise TamperedError(f"Ledger entry {entry.seq} of {state.model} is ill-formed: {problem}.")


def find_problem(state: State, entry: Entry) -> str:
    """Why an entry is ill-formed after this state; empty if it is well-formed."""
    if entry.action in ("promote", "rollback"):
        return _find_move_problem(state, entry)
    if entry.action in ("approve", "reject", "archive", "pending", "reserve") and not entry.version:
        return "it names no version"
    if entry.action == "reserve":
        return _find_reserve_problem(state, entry)
    problems = {
        "an import names a version, its files, and where it came from": (
            entry.action == "import"
            and not (entry.version and entry.manifest and entry.details.get("origin"))
        ),
        f"the files of version {entry.version} were rejected": (
            entry.action == "import" and entry.manifest in state.rejected
        ),
        "it binds to no manifest": entry.action in ("approve", "pending") and not entry.manifest,
        "its version is in production": (
            entry.action in ("reject", "archive") and _is_holder(state, PRODUCTION, entry)
        ),
        "a history is adopted at its beginning only": entry.action == "adopt" and state.seq > 0,
    }
    return next((problem for problem, found in problems.items() if found), "")


def _find_reserve_problem(state: State, entry: Entry) -> str:
    """Nobody gets an attempt that is taken already, nor one that comes later."""
    following = state.attempts.get(_stage_of(entry), 0) + 1
    if not entry.stage or not entry.evidence_run or not entry.details.get("question"):
        return "a reservation names a stage, a question, and the run where the answer will be"
    if entry.details.get("attempt") != following:
        return f"it reserves attempt {entry.details.get('attempt')}, the next one is {following}"
    return ""


def _find_move_problem(state: State, entry: Entry) -> str:
    if entry.stage not in STAGES or not entry.version or entry.created_ms is None:
        return "a move names a stage, and a version with its creation time"
    holder = state.holder(entry.stage)
    if entry.was != (holder.version if holder else None):
        return f"it says {entry.was} was in {entry.stage}"
    if entry.manifest in state.rejected:
        return f"version {entry.version} was rejected"
    return _find_order_problem(state, entry, entry.version, entry.created_ms)


def _find_order_problem(state: State, entry: Entry, version: str, created_ms: int) -> str:
    if entry.action == "rollback":
        known = state.records.get(version)
        sound = entry.stage == PRODUCTION and known is not None and known.produced is not None
        return "" if sound else f"version {version} was never in production"
    standing = state.standing(version, created_ms)
    if entry.stage == PRODUCTION and standing != STAGING:
        return f"version {version} was not in staging"
    if entry.stage == STAGING and standing not in ("candidate", "archived"):
        return f"version {version} was {standing}"
    return ""


def _is_holder(state: State, stage: str, entry: Entry) -> bool:
    holder = state.holder(stage)
    return holder is not None and _is_same(holder, entry)


def _is_same(held: Holding, entry: Entry) -> bool:
    """The very version, and not another that was given its number after it was deleted."""
    return (held.version, held.created_ms) == (entry.version, entry.created_ms or 0)


def _promote(state: State, entry: Entry) -> State:
    stage, version = _stage_of(entry), _version_of(entry)
    holding = _hold(entry)
    displaced = state.holder(stage)
    if displaced and displaced.version != version:
        state = _stand(state, displaced.version, "archived")
    before = state.before
    if stage == PRODUCTION:
        state = _vacate(state, STAGING, version)
        before = (*before, displaced) if displaced else before
        best = {**state.best, version: _find_best(state, entry, displaced) or holding}
        state = replace(state, best=best, spent=_keep_spent(state, displaced, version))
    looks = {question: look for question, look in state.looks.items() if look.stage != stage}
    state = replace(state, before=before, attempts={**state.attempts, stage: 0}, looks=looks)
    return _install(state, stage, holding)


def _keep_spent(state: State, displaced: Holding | None, version: str) -> dict[str, int]:
    """A new holder begins with no looks; those at the one before are remembered."""
    spent = {number: looks for number, looks in state.spent.items() if number != version}
    looks = state.attempts.get(PRODUCTION, 0)
    return {**spent, displaced.version: looks} if displaced and looks else spent


def _find_best(state: State, entry: Entry, displaced: Holding | None) -> Holding | None:
    """What a new holder inherits that was not shown to be better than the one before; None: nothing."""
    if displaced is None or entry.details.get("shown") == "better":
        return None
    return state.best_of(displaced)


def _rollback(state: State, entry: Entry) -> State:
    version = _version_of(entry)
    displaced = state.holder(PRODUCTION)
    state = _vacate(state, STAGING, version)
    places = [place for place, held in enumerate(state.before) if _is_same(held, entry)]
    if places:
        before = state.before[: places[-1]]
    else:
        before = (*state.before, displaced) if displaced else state.before
    if displaced and displaced.version != version:
        state = _stand(state, displaced.version, "archived")
    looks = state.attempts.get(PRODUCTION, 0)
    spent = {**state.spent, displaced.version: looks} if displaced else state.spent
    attempts = {**state.attempts, PRODUCTION: max(looks, state.spent.get(version, 0))}
    state = replace(state, before=before, spent=spent, attempts=attempts)
    return _install(state, PRODUCTION, _hold(entry))


def _adopt(state: State, entry: Entry) -> State:
    for stage in STAGES:
        found = entry.details.get(stage)
        if found:
            holding = Holding(
                version=found["version"],
                seq=entry.seq,
                since=entry.time,
                created_ms=found["created_ms"],
                run_id=found.get("run_id"),
            )
            state = _install(state, stage, holding)
    return state


def _archive(state: State, entry: Entry) -> State:
    state = _vacate(state, STAGING, _version_of(entry))
    return _stand(state, _version_of(entry), "archived", entry)


def _reject(state: State, entry: Entry) -> State:
    state = _vacate(state, STAGING, _version_of(entry))
    state = _stand(state, _version_of(entry), "rejected", entry)
    rejected = state.rejected | {entry.manifest} if entry.manifest else state.rejected
    pending = {version: wait for version, wait in state.pending.items() if version != entry.version}
    return replace(state, rejected=rejected, pending=pending)


def _approve(state: State, entry: Entry) -> State:
    state = replace(state, approved={**state.approved, entry.manifest or "": entry.seq})
    waiting = state.pending.get(_version_of(entry))
    if waiting is None or entry.details.get("pending") != waiting.seq or waiting.manifest != entry.manifest:
        return state
    heard = replace(waiting, word=entry.seq, speaker=entry.actor, speaker_source=entry.actor_source)
    return replace(state, pending={**state.pending, waiting.version: heard})


def _wait(state: State, entry: Entry) -> State:
    waiting = Pending(
        version=_version_of(entry),
        stage=entry.stage or PRODUCTION,
        seq=entry.seq,
        manifest=entry.manifest or "",
        evidence_run=entry.evidence_run,
        evidence=entry.evidence,
        policy=entry.policy,
        was=entry.was,
        asker=entry.actor,
    )
    return replace(state, pending={**state.pending, waiting.version: waiting})


def _reserve(state: State, entry: Entry) -> State:
    stage = _stage_of(entry)
    look = Look(stage, int(entry.details["attempt"]), entry.evidence_run or "")
    looks = {**state.looks, str(entry.details["question"]): look}
    return replace(state, attempts={**state.attempts, stage: look.attempt}, looks=looks)


def _rename(state: State, entry: Entry) -> State:
    return replace(state, model=entry.model)


def _note_rogue(state: State, entry: Entry) -> State:
    return replace(state, rogue=(*state.rogue, *entry.details.get("acts", ())))


def _import(state: State, entry: Entry) -> State:
    """A candidate like any other; what it did elsewhere counts for nothing here."""
    version, known = _version_of(entry), state.records.get(_version_of(entry))
    if known is None or known.created_ms != (entry.created_ms or 0):
        state = _stand(state, version, "candidate", entry)
    return replace(state, imported={**state.imported, str(entry.details["origin"]): _hold(entry)})


_ACTS = {
    "adopt": _adopt,
    "promote": _promote,
    "rollback": _rollback,
    "archive": _archive,
    "approve": _approve,
    "reject": _reject,
    "pending": _wait,
    "reserve": _reserve,
    "rogue": _note_rogue,
    "rename": _rename,
    "import": _import,
}


def _hold(entry: Entry) -> Holding:
    return Holding(
        version=_version_of(entry),
        seq=entry.seq,
        since=entry.time,
        manifest=entry.manifest or "",
        layout=entry.layout or "",
        created_ms=entry.created_ms or 0,
        run_id=entry.run_id,
    )


def _install(state: State, stage: str, holding: Holding) -> State:
    known = state.records.get(holding.version)
    same = known is not None and known.created_ms == holding.created_ms
    record = Record(
        standing="production" if stage == PRODUCTION else "staging",
        created_ms=holding.created_ms,
        manifest=holding.manifest,
        produced=holding if stage == PRODUCTION else (known.produced if known and same else None),
    )
    pending = {version: wait for version, wait in state.pending.items() if version != holding.version}
    return replace(
        state,
        holders={**state.holders, stage: holding},
        records={**state.records, holding.version: record},
        pending=pending,
    )


def _stand(state: State, version: str, standing: Standing, entry: Entry | None = None) -> State:
    known = state.records.get(version)
    if entry is not None and (known is None or known.created_ms != (entry.created_ms or 0)):
        known = Record(standing, created_ms=entry.created_ms or 0, manifest=entry.manifest or "")
    record = replace(known, standing=standing) if known else Record(standing)
    return replace(state, records={**state.records, version: record})


def _vacate(state: State, stage: str, version: str) -> State:
    """Takes the stage from the version, if it has it."""
    holder = state.holder(stage)
    if holder is None or holder.version != version:
        return state
    return replace(state, holders={name: held for name, held in state.holders.items() if name != stage})


def _version_of(entry: Entry) -> str:
    return entry.version or ""


def _stage_of(entry: Entry) -> str:
    return entry.stage or ""
