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
from .projection import has_witnesses, is_present, is_projected, plan_aliases, project
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
        recorded: Acts recorded now; the others were already.
        left: Acts that cannot be put right, because the version that history names is gone.
    """

    model: str
    seq: int
    finished: bool = False
    acts: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


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
    if not _is_up_to_date(ledger, reading):
        if not dry_run:
            seq = ensure_history(ledger).seq
        return Reconciled(ledger.name, seq, finished=True)
    acts, left = _list_acts(ledger, reading)
    if not acts and set(left) <= set(reading.state.rogue):
        return Reconciled(ledger.name, seq, left=left)
    ledger.clock.sleep(PAUSE_S)
    again = ledger.find()
    if again is None or again.state.seq != seq or not is_projected(again.model, again.state):
        return Reconciled(ledger.name, seq)
    found_acts, found_left = _list_acts(ledger, again)
    acts = tuple(act for act in found_acts if act in acts)
    left = tuple(act for act in found_left if act in left)
    if dry_run or not (acts or left):
        return Reconciled(ledger.name, seq, acts=acts, left=left)
    recorded = _record(ledger, acts, left)
    newest = project(ledger)
    return Reconciled(
        ledger.name, newest.state.seq if newest else seq, acts=acts, recorded=recorded, left=left
    )


def _is_up_to_date(ledger: Ledger, reading: Reading) -> bool:
    named = reading.state.model == ledger.name
    return named and is_projected(reading.model, reading.state) and has_witnesses(ledger, reading)


def _list_acts(ledger: Ledger, reading: Reading) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Aliases that differ from history: those that can be put right, and those whose version is gone."""
    acts: list[str] = []
    left: list[str] = []
    aliases = reading.model.aliases
    for move in plan_aliases(reading.state, aliases):
        holder = reading.state.holder(move.alias)
        possible = holder is None or is_present(ledger.store, ledger.name, holder)
        (acts if possible else left).append(f"{move.alias}={aliases.get(move.alias, '')}")
    return tuple(acts), tuple(left)


def _record(ledger: Ledger, acts: tuple[str, ...], left: tuple[str, ...]) -> tuple[str, ...]:
    nonce = new_nonce()
    new: tuple[str, ...] = ()

    def decide(state: State) -> Draft:
        nonlocal new
        new = tuple(act for act in (*acts, *left) if act not in state.rogue)
        if not new:
            raise ConflictError("These acts are recorded already.")
        said = {"put back": acts, "cannot be put back, for the version is gone": left}
        parts = (
            f"{outcome}: {', '.join(map(_word, kept))}"
            for outcome, these in said.items()
            if (kept := [act for act in new if act in these])
        )
        return Draft(
            action="rogue",
            nonce=nonce,
            reason=f"changed outside of Greenroom; {'; '.join(parts)}",
            details={"acts": list(new)},
        )

    try:
        ledger.append(decide)
    except ConflictError:
        return ()
    return new


def _word(act: str) -> str:
    alias, _, version = act.partition("=")
    return f"{alias} was at {f'version {version}' if version else 'nothing'}"
