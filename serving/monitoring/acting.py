"""Does what the policy says about an alarm, once, and never to something else than what was judged."""

from collections.abc import Callable
from typing import Final

from registry import (
    PRODUCTION,
    Entry,
    GreenroomError,
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
    if not alarm.holder_seq:
        return f"no rollback: version {alarm.version} did not have production by a history of {ledger.name}"
    done = _find_entry(ledger, lambda entry: entry.evidence_run == alarm.run_id)
    if done is not None:  # by a monitor that died since, or by one that is a moment ahead
        return _word_done(done.version, done.seq)
    holder = read_status(ledger).holders.get(PRODUCTION)
    if holder is None or (holder.version, holder.seq) != (alarm.version, alarm.holder_seq):
        now = f"version {holder.version}" if holder else "no version"
        return f"no rollback: version {alarm.version} was judged, and production is at {now} by now"
    if _find_entry(ledger, lambda entry: entry.seq == holder.seq) is not None:
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
    return f"no rollback: {moved.conflict}" if moved.conflict else _word_done(moved.version, moved.seq)


def _find_entry(ledger: Ledger, fits: Callable[[Entry], bool]) -> Entry | None:
    """The newest rollback that fits."""
    rollbacks = [entry for entry in read_history(ledger) if entry.action == "rollback" and fits(entry)]
    return rollbacks[-1] if rollbacks else None


def _word_done(version: str | None, seq: int) -> str:
    return f"production is back at version {version} (entry {seq})"
