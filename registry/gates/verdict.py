"""What a gate says: yes, no, or not enough data, with the reason in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["GateResult", "Verdict", "combine"]

Verdict = Literal["yes", "no", "not_enough_data", "pending"]

_ORDER: Final[tuple[Verdict, ...]] = ("no", "not_enough_data", "pending", "yes")
"""The first of these that any gate says is the whole answer."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer.

    Attributes:
        name: The gate.
        verdict: Its answer.
        reason: One sentence with the numbers.
        decides: False where a person overrode it: recorded, but not counted.
        numbers: What the sentence was made of.
    """

    name: str
    verdict: Verdict
    reason: str
    decides: bool = True
    numbers: Mapping[str, Any] = field(default_factory=dict)


def combine(results: Sequence[GateResult]) -> Verdict:
    """The answer of all gates together; yes if there are none.

    >>> combine([GateResult("a", "yes", ""), GateResult("b", "not_enough_data", "")])
    'not_enough_data'
    """
    said = {result.verdict for result in results if result.decides}
    return next((verdict for verdict in _ORDER if verdict in said), "yes")
