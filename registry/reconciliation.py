"""Makes aliases equal to history again, and records who-knows-who's acts outside of it.

An alias that differs while the marker is behind the head is an unfinished projection: it is rolled forward.
An alias that differs while the marker is at the head, on two reads some time apart, is a rogue act: it is put
back, and recorded once for each value found since the last entry of another kind, so that a script which
fights the alias cannot grow the history without bound.
"""

from dataclasses import dataclass
from typing import Final

from .errors import ConflictError
from .ledger.entry import Draft
from .ledger.ledger import Ledger, new_nonce
from .ledger.reading import Reading
from .ledger.state import State
from .projection import is_projected, plan_aliases, project
from .upkeep import ensure_history

__all__ = ["Reconciled", "reconcile"]

PAUSE_S: Final = 2.0
"""Between the two reads that tell a rogue act from a projection under way."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found and done.

    Attributes:
        model: The registered model.
        seq: The history's head.
        finished: A projection that somebody left unfinished was finished.
        acts: Rogue acts put right, as ``alias=version found``.
        recorded: Those of them recorded now; the others were already.
    """

    model: str
    seq: int
    finished: bool = False
    acts: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()


def reconcile(ledger: Ledger, *, dry_run: bool = False) -> Reconciled:
    """Compares MLflow with history once and puts right what differs.

    A model without a history, or with an empty one, is never touched.

    Raises:
        NotFoundError: There is no such model.
        TamperedError: History is not sound; nothing was touched.
    """
    reading = ledger.find()
    if reading is None or reading.state.seq == 0:
        return Reconciled(ledger.name, 0)
    seq = reading.state.seq
    if reading.state.model != ledger.name or not is_projected(reading.model, reading.state):
        if not dry_run:
            seq = ensure_history(ledger).seq
        return Reconciled(ledger.name, seq, finished=True)
    acts = _list_acts(reading)
    if not acts:
        return Reconciled(ledger.name, seq)
    ledger.clock.sleep(PAUSE_S)
    again = ledger.find()
    if again is None or again.state.seq != seq or not is_projected(again.model, again.state):
        return Reconciled(ledger.name, seq)
    acts = tuple(act for act in _list_acts(again) if act in acts)
    if not acts or dry_run:
        return Reconciled(ledger.name, seq, acts=acts)
    recorded = _record(ledger, acts)
    newest = project(ledger)
    return Reconciled(ledger.name, newest.state.seq if newest else seq, acts=acts, recorded=recorded)


def _list_acts(reading: Reading) -> tuple[str, ...]:
    aliases = reading.model.aliases
    return tuple(
        f"{move.alias}={aliases.get(move.alias, '')}" for move in plan_aliases(reading.state, aliases)
    )


def _record(ledger: Ledger, acts: tuple[str, ...]) -> tuple[str, ...]:
    nonce = new_nonce()
    new: tuple[str, ...] = ()

    def decide(state: State) -> Draft:
        nonlocal new
        new = tuple(act for act in acts if act not in state.rogue)
        if not new:
            raise ConflictError("These acts are recorded already.")
        found = ", ".join(act.replace("=", " was at version ").removesuffix(" version ") for act in new)
        return Draft(
            action="rogue",
            nonce=nonce,
            reason=f"changed outside of Greenroom, put back: {found}",
            details={"acts": list(new)},
        )

    try:
        ledger.append(decide)
    except ConflictError:
        return ()
    return new
