"""A crew in this process: what a worker does, without the process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from serving.batch.order import Part, PartReport
from serving.batch.worker import do


@dataclass
class InlineCrew:
    """Scores one part after the other.

    Attributes:
        stop_after: Parts after which it raises KeyboardInterrupt, as Ctrl-C does.
        scored: Numbers of the parts it was given.
    """

    stop_after: int = 1_000_000
    scored: list[int] = field(default_factory=list)

    def ask(self, message: Mapping[str, Any]) -> Any:
        return do(message, lambda _: None)

    def score(
        self, order: str, parts: Sequence[Part], tell: Callable[[int, int], None], look: Callable[[], None]
    ) -> Iterator[tuple[Part, PartReport]]:
        for part in parts:
            if len(self.scored) == self.stop_after:
                raise KeyboardInterrupt
            look()
            message = {"op": "score", "order": order, "part": part.dump()}
            found = do(message, partial(tell, part.number))
            self.scored.append(part.number)
            yield part, PartReport(**found)
