"""Keeps the aliases of all models of a server equal to their histories, cheaply enough for every second.

One call lists all models with their aliases and tags. Only a model that differs from what was seen to be
right is looked at closely, and every model once a minute.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .access import open_ledger
from .environment import Settings
from .errors import GreenroomError, UnreachableError
from .names import STAGES, Tag
from .reconciliation import reconcile
from .store import RegisteredModel, RegistryStore

__all__ = ["Caretaker"]

LOOK_EVERY: Final = 60
"""Rounds after which a model is looked at closely although nothing seems to differ."""

WITNESSES: Final = (Tag.LEDGER, Tag.HEAD, Tag.PROJECTED)


@dataclass
class Caretaker:
    """Call it again and again.

    Attributes:
        store: MLflow.
        settings: How histories are named there.
        tell: Told what was put right, and what is wrong (once).
    """

    store: RegistryStore
    settings: Settings
    tell: Callable[[str], None]
    _seen: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _managed: set[str] = field(default_factory=set)
    _round: int = 0

    def __call__(self) -> None:
        """One round.

        Raises:
            UnreachableError: MLflow gives no answer.
        """
        if self._round % LOOK_EVERY == 0:
            self._seen.clear()
        self._round += 1
        for model in self.store.list_models():
            if Tag.LEDGER in model.tags:
                self._managed.add(model.name)
            if model.name in self._managed and self._seen.get(model.name) != _summarise(model):
                self._look(model)

    def _look(self, model: RegisteredModel) -> None:
        try:
            found = reconcile(open_ledger(model.name, settings=self.settings, store=self.store))
        except UnreachableError:
            raise
        except GreenroomError as error:
            if self._told.get(model.name) != str(error):
                self._told[model.name] = str(error)
                self.tell(str(error))
            return
        if found.acts or found.finished:
            self.tell(_word(model.name, found.acts))
        else:
            self._seen[model.name] = _summarise(model)


def _summarise(model: RegisteredModel) -> Mapping[str, str]:
    """All that a promotion, or a hand, would change."""
    return {name: model.tags.get(name, "") for name in WITNESSES} | {
        f"alias {stage}": model.aliases.get(stage, "") for stage in STAGES
    }


def _word(name: str, acts: tuple[str, ...]) -> str:
    if acts:
        return f"{name}: changed outside of Greenroom and put right ({', '.join(acts)})."
    return f"{name}: an unfinished promotion was finished."
