"""What became of answers that were to be logged, counted by the worker that gave them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["CRASH", "OVERFLOW", "SINK", "UNREADABLE", "Tally"]

OVERFLOW: Final = "overflow"
"""More was answered than the clerk could write, and the worker's memory for it was full."""
SINK: Final = "sink"
"""The folder or bucket took nothing for so long that the memory for it was full."""
CRASH: Final = "crash"
"""The clerk ended by itself and had not said yet that it was written."""
UNREADABLE: Final = "unreadable"
"""The answer was none that the clerk understands."""
_WORDS: Final = {
    OVERFLOW: "more is answered than can be written",
    CRASH: "the log's process ended",
    UNREADABLE: "their answers cannot be read",
}


@dataclass(slots=True)
class Tally:
    """Counts since a worker started, by request: a request of many rows counts once.

    Attributes:
        logged: Answered requests whose rows are in the log.
        feedback: Truths that are in the log.
        lost: Answered requests and truths that never will be, by the reason.
        problem: Why the log cannot be written now; empty: it can.
    """

    logged: int = 0
    feedback: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    problem: str = ""

    def total(self) -> int:
        """Everything of which it is known what became of it."""
        return self.logged + self.feedback + self.lost.total()

    def explain(self, reason: str) -> str:
        """Why predictions were lost, in words."""
        return _WORDS.get(reason) or self.problem or "the log could not be written"

    def dump(self) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "logged": self.logged,
            "feedback": self.feedback,
            "lost": dict(self.lost),
            "problem": self.problem,
        }

    def add(self, document: Mapping[str, Any]) -> None:
        """Adds another one's document."""
        self.logged += document["logged"]
        self.feedback += document["feedback"]
        self.lost.update(document["lost"])
        self.problem = self.problem or document["problem"]
