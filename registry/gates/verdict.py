"""What a gate says: yes, no, or not enough data, with the reason in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .bootstrap import Comparison

__all__ = ["GateResult", "Verdict", "combine", "judge_improvement"]

Verdict = Literal["yes", "no", "not_enough_data", "pending"]

_ORDER: Final[tuple[Verdict, ...]] = ("no", "not_enough_data", "pending", "yes")
"""The first of these that any gate says is the whole answer."""

WORDS: Final = {"log_loss": "log loss", "error": "error rate", "squared_error": "mean squared error"}


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


def count_fewest_blocks(confidence: float) -> int:
    """Independent blocks below which even complete agreement could be chance: the sign test's 2⁻ⁿ.

    Source: Dixon and Mood, The statistical sign test, JASA 41 (1946).

    >>> count_fewest_blocks(0.95)
    5
    """
    return math.ceil(-math.log2(1 - confidence))


def judge_improvement(found: Comparison, metric: str, *, blocks: str = "rows") -> GateResult:
    """Superiority: yes only if the candidate's loss is lower with the confidence asked for.

    Args:
        found: The comparison.
        metric: The loss's name.
        blocks: What the independent blocks are, in words.

    >>> found = Comparison(0.067, 0.03, 0.1, 0.02, 0.95, 29000, 31, 20)
    >>> judge_improvement(found, "log_loss", blocks="days").verdict
    'yes'
    """
    word = WORDS.get(metric, metric)
    over = f"{found.rows:,} rows" + (f" in {found.blocks} {blocks}" if blocks != "rows" else "")
    sure = f"{found.confidence:.0%}"
    numbers = {name: getattr(found, name) for name in Comparison.__dataclass_fields__} | {"metric": metric}
    fewest = count_fewest_blocks(found.confidence)
    if found.blocks < fewest:
        what = blocks if found.blocks != 1 else blocks.removesuffix("s")
        reason = (
            f"{found.blocks} {what} cannot prove anything with {sure} confidence, whatever they say: "
            f"at least {fewest} are needed."
        )
        return GateResult("metric", "not_enough_data", reason, numbers=numbers)
    if found.lower > 0:
        least = f"at least {found.lower:.4f} with {sure} confidence"
        reason = f"{word} is lower by {found.improvement:.4f}, {least} ({over})."
        return GateResult("metric", "yes", reason, numbers=numbers)
    if found.improvement <= 0:
        reason = (
            f"{word} is not better: {-found.improvement:.4f} higher than the holder's, "
            f"at best {max(found.upper, 0):.4f} lower with {sure} confidence ({over})."
        )
        return GateResult("metric", "no", reason, numbers=numbers)
    reason = (
        f"{word} looks lower by {found.improvement:.4f}, but with {sure} confidence it may be "
        f"{-found.lower:.4f} higher ({over}). An improvement of this size needs about "
        f"{found.blocks_needed:,} {blocks}."
    )
    return GateResult("metric", "not_enough_data", reason, numbers=numbers)
