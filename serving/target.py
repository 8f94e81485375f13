"""The version that should be served, as a value; apart, since workers know nothing of history."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry import Holding

__all__ = ["Target", "make_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """The version that should be served.

    Attributes:
        version: MLflow's version.
        seq: The ledger entry by which it holds the stage; 0 without a ledger.
        since: RFC 3339 time of that entry; empty without a ledger.
        manifest: sha256 its files must have; empty if nobody recorded one.
        run_id: The run that made it.
        created_ms: When MLflow created it, which tells it from a later one of the same number.
        managed: Whether a ledger says so (else: the alias alone).
    """

    version: str
    seq: int = 0
    since: str = ""
    manifest: str = ""
    run_id: str | None = None
    created_ms: int = 0
    managed: bool = True


def make_target(holding: "Holding") -> Target:
    """The version that holds a stage by its history."""
    return Target(
        version=holding.version,
        seq=holding.seq,
        since=holding.since,
        manifest=holding.manifest,
        run_id=holding.run_id,
        created_ms=holding.created_ms,
    )
