"""Computes a past decision again from its evidence: the same rows, answers and policy must say the same."""

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .errors import NotFoundError
from .evidence import Kept, read_evidence, read_material
from .gates.quality import judge_quality
from .gates.verdict import GateResult
from .ledger.entry import Entry
from .ledger.ledger import Ledger
from .policy import Policy
from .views import read_history

__all__ = ["Replay", "replay"]

TOLERANCE: Final = 1e-6
"""Relative difference of numbers that another processor may make (resamples are added up in float32)."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it.

    Attributes:
        entry: The decision.
        gates: What the quality gates say now.
        differences: What they said otherwise then, in sentences; empty if they agree.
        is_exact: Whether every number is the same to the last digit: so on the machine that decided. Another
            processor may add up in another order.
    """

    entry: Entry
    gates: tuple[GateResult, ...]
    differences: tuple[str, ...]
    is_exact: bool

    @property
    def agrees(self) -> bool:
        """Whether the decision can be had again from its evidence."""
        return not self.differences


def replay(ledger: Ledger, seq: int) -> Replay:
    """Computes the decision of an entry again. Reads only.

    Raises:
        NotFoundError: No such entry, or its decision rested on no rows.
        TamperedError: The evidence is not what the entry recorded.
    """
    entry = next((one for one in read_history(ledger) if one.seq == seq), None)
    if entry is None:
        raise NotFoundError(f"{ledger.name} has no entry {seq}.", hint=f"See greenroom history {ledger.name}")
    if entry.evidence_run is None:
        raise NotFoundError(f"Entry {seq} of {ledger.name} ({entry.action}) rests on no evidence.")
    with tempfile.TemporaryDirectory(prefix="greenroom-") as scratch:
        kept = read_evidence(ledger.store, entry.evidence_run, Path(scratch), digest=entry.evidence)
        material = read_material(kept)
        policy = Policy.model_validate(kept.document["policy"])
        gates = judge_quality(material, policy, attempt=int(kept.document["attempt"]))
        differences = tuple(_list_differences(entry, kept, policy, gates))
        return Replay(
            entry, gates, differences, [_plain(gate) for gate in gates] == [*map(_plain, kept.quality)]
        )


def _list_differences(
    entry: Entry, kept: Kept, policy: Policy, gates: tuple[GateResult, ...]
) -> Iterator[str]:
    if policy.compute_digest() != entry.policy:
        yield "the evidence names another policy than the entry"
    then = {gate.name: gate for gate in kept.quality}
    now = {gate.name: gate for gate in gates}
    for name in sorted(then.keys() | now.keys()):
        if name not in then or name not in now or not _agree(_plain(then[name]), _plain(now[name])):
            yield f"gate {name} said {_word(then.get(name))}, and says {_word(now.get(name))} now"


def _plain(gate: GateResult) -> dict[str, Any]:
    """Everything but whether a person overrode it; through JSON, as the evidence went."""
    plain: dict[str, Any] = json.loads(
        json.dumps(asdict(gate) | {"decides": True}, sort_keys=True, default=str)
    )
    return plain


def _agree(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """The same verdict from the same numbers; where a gate has none, in the same words."""
    if then["verdict"] != now["verdict"] or bool(then["numbers"]) != bool(now["numbers"]):
        return False
    return _are_close(then["numbers"], now["numbers"]) if now["numbers"] else then["reason"] == now["reason"]


def _are_close(then: Any, now: Any) -> bool:
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() == now.keys() and all(_are_close(then[key], now[key]) for key in then)
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(map(_are_close, then, now))
    if isinstance(then, float) and isinstance(now, float):
        return then == now or math.isclose(then, now, rel_tol=TOLERANCE) or (then != then and now != now)  # noqa: PLR0124 - NaN
    return bool(then == now)


def _word(gate: GateResult | None) -> str:
    return f"{gate.verdict} ({gate.reason})" if gate else "nothing"
