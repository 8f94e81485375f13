"""Tries on the user's own server what everything rests on: exactly one of many writers wins."""

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from .clock import Clock
from .errors import AlreadyExistsError, UnreachableError
from .store import RegistryStore

__all__ = ["Probe", "run_probe"]

RACERS: Final = 8
TRIALS: Final = 25


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of it.

    Attributes:
        racers: Writers at once.
        trials: Races for a param.
        single: Races with exactly one winner whose value stayed.
        name_winners: Racers who got one experiment name; must be 1.
        offset_s: The server's clock minus ours, seconds.
    """

    racers: int
    trials: int
    single: int
    name_winners: int
    offset_s: float

    @property
    def holds(self) -> bool:
        """Whether every race had exactly one winner."""
        return self.single == self.trials

    @property
    def names_hold(self) -> bool:
        """Whether an experiment's name went to exactly one racer."""
        return self.name_winners == 1


def run_probe(store: RegistryStore, clock: Clock, *, racers: int = RACERS, trials: int = TRIALS) -> Probe:
    """Races on a throw-away experiment, which is deleted afterwards (softly: ``mlflow gc`` removes it).

    Raises:
        UnreachableError: MLflow gives no answer.
        AccessDeniedError: No permission to create an experiment.
    """
    name = f"greenroom-probe~{secrets.token_hex(6)}"
    before = clock.now()
    experiment_id = store.create_experiment(name, {})
    after = clock.now()
    try:
        found = store.find_experiment(name)
        middle = before + (after - before) / 2
        offset_s = (found.created_ms / 1000 - middle.timestamp()) if found else 0.0
        single = sum(_race_for_param(store, experiment_id, racers) for _ in range(trials))
        winners = _race_for_name(store, f"{name}-name", racers)
    finally:
        store.delete_experiment(experiment_id)
    return Probe(racers, trials, single, winners, offset_s)


def _race_for_param(store: RegistryStore, experiment_id: str, racers: int) -> bool:
    run = store.create_run(experiment_id, "probe", {})

    def write(place: int) -> bool:
        try:
            store.log_param(run.run_id, "0001", str(place))
        except (AlreadyExistsError, UnreachableError):
            return False
        return True

    won = _race(write, racers)
    kept = store.get_run(run.run_id).params.get("0001")
    return sum(won) == 1 and kept == str(won.index(True))


def _race_for_name(store: RegistryStore, name: str, racers: int) -> int:
    ids: list[str] = []

    def claim(_: int) -> bool:
        try:
            ids.append(store.create_experiment(name, {}))
        except AlreadyExistsError:
            return False
        return True

    won = _race(claim, racers)
    for experiment_id in ids:
        store.delete_experiment(experiment_id)
    return sum(won)


def _race(act: Callable[[int], bool], racers: int) -> list[bool]:
    """Lets all start at the same moment."""
    barrier = threading.Barrier(racers)

    def run(place: int) -> bool:
        barrier.wait()
        return act(place)

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(run, range(racers)))
