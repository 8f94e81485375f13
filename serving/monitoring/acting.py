"""Does what the policy says about an alarm, once, and never to something else than what was judged."""

from typing import Final

from registry import (
    PRODUCTION,
    GreenroomError,
    Holding,
    Ledger,
    UnreachableError,
    read_history,
    read_status,
    request_training,
    rollback,
)

from .diary import Alarm

__all__ = ["act"]

MAX_REASON: Final = 900
"""Characters of a reason in the history, which takes 1,000."""


def act(ledger: Ledger, alarm: Alarm) -> str:
    """Does it, and says in a sentence what came of it. Doing it twice is doing it once.

    Raises:
        UnreachableError: MLflow gives no answer; the alarm stays open, and the next monitor tries again.
    """
    if alarm.action == "retrain":
        request_training(
            ledger.store, ledger.name, run_id=alarm.run_id, reason=alarm.reason, clock=ledger.clock
        )
        return f"training is asked for (run {alarm.run_id})"
    if alarm.action == "rollback":
        return _roll_back(ledger, alarm)
    return "nothing, as the policy says"


def _roll_back(ledger: Ledger, alarm: Alarm) -> str:
    """Only while the judged version holds production, and did not itself come back by a rollback."""
    holder = read_status(ledger).holders.get(PRODUCTION)
    if not alarm.holder_seq:
        return f"no rollback: version {alarm.version} did not have production by a history of {ledger.name}"
    if holder is None or (holder.version, holder.seq) != (alarm.version, alarm.holder_seq):
        now = f"version {holder.version}" if holder else "no version"
        return f"no rollback: version {alarm.version} was judged, and production is at {now} by now"
    if _came_by_rollback(ledger, holder):
        return (
            f"no rollback: version {alarm.version} came back by a rollback itself; going further back is a "
            "person's decision"
        )
    reason = f"monitor: {alarm.reason}"[:MAX_REASON]
    try:
        moved = rollback(ledger, reason=reason, holder=holder, evidence_run=alarm.run_id)
    except UnreachableError:
        raise
    except GreenroomError as error:  # nothing to go back to, files gone, no permission: told, not retried
        return f"no rollback: {error}"
    if moved.conflict:
        return f"no rollback: {moved.conflict}"
    return f"production is back at version {moved.version} (entry {moved.seq})"


def _came_by_rollback(ledger: Ledger, holder: Holding) -> bool:
    return any(entry.seq == holder.seq and entry.action == "rollback" for entry in read_history(ledger))
