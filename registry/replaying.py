"""Computes a past decision again from its evidence: the same rows, answers and policy must say the same."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import NotFoundError
from .evidence import Kept, read_evidence, read_material
from .gates.quality import judge_quality
from .gates.verdict import GateResult
from .ledger.entry import Entry
from .ledger.ledger import Ledger
from .policy import Policy
from .views import read_history

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it.

    Attributes:
        entry: The decision.
        gates: What the quality gates say now.
        differences: What they said otherwise then, in sentences; empty if they agree to the last digit.
    """

    entry: Entry
    gates: tuple[GateResult, ...]
    differences: tuple[str, ...]

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
        return Replay(entry, gates, tuple(_list_differences(entry, kept, policy, gates)))


def _list_differences(
    entry: Entry, kept: Kept, policy: Policy, gates: tuple[GateResult, ...]
) -> Iterator[str]:
    if policy.compute_digest() != entry.policy:
        yield "the evidence names another policy than the entry"
    then = {gate.name: gate for gate in kept.quality}
    now = {gate.name: gate for gate in gates}
    for name in sorted(then.keys() | now.keys()):
        if _plain(then.get(name)) != _plain(now.get(name)):
            yield f"gate {name} said {_word(then.get(name))}, and says {_word(now.get(name))} now"


def _plain(gate: GateResult | None) -> Mapping[str, Any] | None:
    """Everything but whether a person overrode it; through JSON, as the evidence went."""
    if gate is None:
        return None
    plain: dict[str, Any] = json.loads(
        json.dumps(asdict(gate) | {"decides": True}, sort_keys=True, default=str)
    )
    return plain


def _word(gate: GateResult | None) -> str:
    return f"{gate.verdict} ({gate.reason})" if gate else "nothing"
