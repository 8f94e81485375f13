"""What every writing command does first: begin, adopt, follow a rename, finish what was left unfinished."""

from contextlib import suppress

from .errors import AlreadyExistsError, ConflictError, GreenroomError
from .ledger.entry import Draft
from .ledger.ledger import Ledger, new_nonce
from .ledger.reading import Reading
from .ledger.state import State
from .planning import plan_adoption, preview_adoption
from .projection import project

__all__ = ["ensure_history", "finish", "preview_history"]


def ensure_history(ledger: Ledger) -> State:
    """The history, begun if there is none; a model that already has stages is adopted as found.

    Raises:
        NotFoundError: No such model.
        TamperedError: History is not sound; nothing was changed.
    """
    reading = ledger.open()
    if reading.state.seq == 0:
        draft = plan_adoption(reading.model, ledger.store.list_versions(ledger.name))
        if set(draft.details) - {"unverified"}:
            _append_once(ledger, draft)
    elif reading.state.model != ledger.name:
        _follow_rename(ledger, reading)
    projected = project(ledger)
    return (projected or ledger.open()).state


def preview_history(ledger: Ledger) -> State:
    """What :func:`ensure_history` would lead to, without writing anything (``--dry-run``)."""
    reading = ledger.find()
    if reading is not None and reading.state.seq:
        return reading.state
    model = ledger.store.get_model(ledger.name)
    return preview_adoption(model, plan_adoption(model, ledger.store.list_versions(ledger.name)))


def finish(ledger: Ledger) -> str:
    """Projects after a commit, which stands all the same; returns what could not be done, in words."""
    try:
        project(ledger)
    except GreenroomError as error:
        return (
            f"The entry stands, but MLflow's aliases and tags are not up to date: {error.what} "
            f"Finish it: greenroom reconcile {ledger.name}"
        )
    return ""


def _append_once(ledger: Ledger, draft: Draft) -> None:
    """For entries that only make sense on the state they were made for; somebody else's will do as well."""

    def decide(state: State) -> Draft:
        if state.seq:
            raise ConflictError(f"Somebody else began the history of {ledger.name} first.")
        return draft

    with suppress(ConflictError):
        ledger.append(decide)


def _follow_rename(ledger: Ledger, reading: Reading) -> None:
    """The history goes with the model: an entry says so, and the experiment takes the new name."""
    old, nonce = reading.state.model, new_nonce()

    def decide(state: State) -> Draft:
        if state.model == ledger.name:
            raise ConflictError(f"Somebody else noted the rename of {ledger.name} first.")
        return Draft(action="rename", nonce=nonce, reason=f"was {old}", details={"from": old})

    with suppress(ConflictError):
        ledger.append(decide)
    with suppress(AlreadyExistsError):
        ledger.store.rename_experiment(reading.chapter.experiment_id, ledger.experiment_name)
