"""How a stream goes: its amounts, read from the job."""

from dataclasses import dataclass

from training.job import Job

from .amount import Amount, parse_amount, parse_duration
from .source import get_online

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a stream goes, from the job.

    Attributes:
        warmup: What the columns are fitted on.
        snapshot: From one snapshot to the next.
        judged: How far back held-out rows are kept.
        step_ns: Length of a tick; 0: each moment is one.
        window: Outcomes that the sliding figures are over.
        holdout: The share that is held out.
        max_rows: Held-out rows kept at most.
    """

    warmup: Amount
    snapshot: Amount
    judged: Amount
    step_ns: int
    window: int
    holdout: float
    max_rows: int

    @classmethod
    def of_job(cls, job: Job) -> "Pace":
        """Reads the section ``online``.

        Raises:
            UsageError: An amount is written wrongly.
        """
        section = get_online(job)
        snapshot = parse_amount(section.snapshot, "online.snapshot")
        judged = parse_amount(section.judged, "online.judged") if section.judged else _times_four(snapshot)
        return cls(
            warmup=parse_amount(section.warmup, "online.warmup"),
            snapshot=snapshot,
            judged=judged,
            step_ns=parse_duration(section.step, "online.step") if section.step else 0,
            window=section.window,
            holdout=section.holdout,
            max_rows=job.spec.evaluation.max_rows,
        )


def _times_four(amount: Amount) -> Amount:
    return Amount(amount.events and 4 * amount.events, amount.ns and 4 * amount.ns)
