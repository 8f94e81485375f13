"""Which version holds the stage now: by the ledger, or by the plain MLflow alias where there is none.

The only module here that asks the ground floor about stages. It writes nothing.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from registry import STAGING, Ledger, RegisteredModel, RegistryStore, State, Tag

from .target import Target, make_target

__all__ = ["StageWatch", "Watch"]

FULL_LOOK_S: Final = 60.0
"""How long an unchanged row of the registered model stands for an unchanged ledger."""


class Watch(Protocol):
    """Says which version should be served, again and again."""

    @property
    def staged(self) -> Target | None:
        """What may be wanted next, as of the last look."""

    def look(self) -> Target | None:
        """The version that should be served, or None."""


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
            state = self._read_history(row)
            self._target = self._find(row, state, self._stage)
            self.staged = self._find(row, state, STAGING) if self._stage != STAGING else None
            self._seen, self._looked_s = seen, time.monotonic()
        return self._target

    def _read_history(self, row: RegisteredModel) -> State | None:
        """What history says; None if there is none that the model's own tag names: others could begin one."""
        if Tag.LEDGER not in row.tags:
            return None
        reading = Ledger(self._connect(), self._model, template=self._template).find()
        return reading.state if reading is not None and Tag.LEDGER in reading.model.tags else None

    def _find(self, row: RegisteredModel, state: State | None, stage: str) -> Target | None:
        if state is None:
            return None if Tag.LEDGER in row.tags else self._read_alias(row, stage)
        holding = state.holder(stage)
        if holding is None:
            return None
        return make_target(holding)

    def _read_alias(self, row: RegisteredModel, stage: str) -> Target | None:
        number = row.aliases.get(stage)
        if number is None:
            return None
        version = self._connect().get_version(self._model, number)
        return Target(
            version=version.version, run_id=version.run_id, created_ms=version.created_ms, managed=False
        )
