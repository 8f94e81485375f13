"""Which version holds the stage now: by the ledger, or by the plain MLflow alias where there is none.

The only module here that asks the ground floor about stages. It writes nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from registry import STAGING, RegisteredModel, RegistryStore, Tag, find_holder

__all__ = ["StageWatch", "Target"]

FULL_LOOK_S: Final = 60.0
"""How long an unchanged row of the registered model stands for an unchanged ledger."""


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


class StageWatch:
    """Looks at one stage of one model, and at what is staged, cheaply: one call while nothing changes.

    The row of the registered model shows aliases and the ledger's witness; the ledger itself is read when
    that row changes, and once a minute (a promoter may die between its entry and the alias).

    Args:
        connect: Opens MLflow, and returns the same store once that has worked.
        model: The registered model's name.
        stage: The stage.
        template: Name of the ledger's experiment, with ``{model}``.
    """

    def __init__(
        self, connect: Callable[[], RegistryStore], model: str, stage: str, *, template: str
    ) -> None:
        self._template = template
        self._connect = connect
        self._model = model
        self._stage = stage
        self._seen: tuple[Mapping[str, str], Mapping[str, str]] | None = None
        self._looked_s = 0.0
        self._target: Target | None = None
        self.staged: Target | None = None
        """What holds staging, as of the last look, where another stage is followed."""

    def look(self) -> Target | None:
        """The version that holds the stage, or None.

        Raises:
            NotFoundError: There is no such registered model.
            TamperedError: The ledger is not what it was.
            UnreachableError: No answer.
            StoreError: MLflow refused.
        """
        row = self._connect().get_model(self._model)
        seen = (dict(row.aliases), dict(row.tags))
        if seen != self._seen or time.monotonic() - self._looked_s > FULL_LOOK_S:
            self._seen = None  # a look that fails half-way leaves nothing to rest on
            self._target = self._read(row, self._stage)
            self.staged = self._read(row, STAGING) if self._stage != STAGING else None
            self._seen, self._looked_s = seen, time.monotonic()
        return self._target

    def _read(self, row: RegisteredModel, stage: str) -> Target | None:
        holding = find_holder(self._connect(), self._model, stage, template=self._template)
        if holding is None:
            return None if Tag.LEDGER in row.tags else self._read_alias(row, stage)
        return Target(
            version=holding.version,
            seq=holding.seq,
            since=holding.since,
            manifest=holding.manifest,
            run_id=holding.run_id,
            created_ms=holding.created_ms,
        )

    def _read_alias(self, row: RegisteredModel, stage: str) -> Target | None:
        number = row.aliases.get(stage)
        if number is None:
            return None
        version = self._connect().get_version(self._model, number)
        return Target(
            version=version.version, run_id=version.run_id, created_ms=version.created_ms, managed=False
        )
