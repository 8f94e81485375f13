"""What answers: a body goes in, a prediction or a RequestError comes out. Knows no HTTP."""

from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["COMPILED", "JSON", "NATIVE", "Scored", "Scorer"]

JSON: Final = "application/json"
COMPILED: Final = "compiled"
NATIVE: Final = "native"


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction, ready to be sent. ``path`` says who made it: ``compiled`` or ``native``."""

    body: bytes
    media_type: str
    path: str = NATIVE


class Scorer(Protocol):
    """One loaded version, as a worker asks it."""

    async def score(self, body: bytes, content_type: str | None, request_id: str = "") -> Scored:
        """Predicts.

        Raises:
            RequestError: There will be no prediction, and why.
        """
