"""Signs of life of a training in progress, beside it, so that others know whether to wait for it."""

import threading
from contextlib import suppress
from typing import Final, Self

from registry import Agenda, Claim, GreenroomError

__all__ = ["Pulse"]

BEATS_PER_LEASE: Final = 4
"""Three signs may get lost before somebody takes the training for dead."""


class Pulse:
    """Beats while its block runs. A server that does not answer is no reason to stop the training.

    Args:
        agenda: Where the claim is.
        claim: Of the training.

    Attributes:
        run_id: The training run, once there is one; set it, and the next beat tells.
    """

    def __init__(self, agenda: Agenda, claim: Claim) -> None:
        self.run_id = ""
        self._agenda, self._claim = agenda, claim
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def begin_run(self, run_id: str) -> None:
        """Tells at once which run it is: who finds the claimant dead closes it."""
        self.run_id = run_id
        self._beat()

    def _beat_on(self) -> None:
        while not self._stopped.wait(self._claim.lease_s / BEATS_PER_LEASE):
            self._beat()

    def _beat(self) -> None:
        with suppress(GreenroomError):
            self._agenda.beat(self._claim, self.run_id)
