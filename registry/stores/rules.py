"""What the protocol promises beyond MLflow, in one place for every door.

MLflow answers a lost race with many different words. So nothing is read from its words here: after a refusal
the store is asked what it holds now, and that decides.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from registry.errors import AlreadyExistsError, StoreError, UnreachableError, UsageError
from registry.store import Experiment, Run

from .mapping import is_unique_race

__all__ = [
    "MAX_PARAM_LENGTH",
    "check_metrics",
    "check_param",
    "repeat_unique_race",
    "settle_name",
    "settle_param",
    "turn_pages",
]

MAX_PARAM_LENGTH: Final = 6000
"""MLflow's limit for a param's value (``MAX_PARAM_VAL_LENGTH``); it truncates longer ones silently."""

_MAX_BATCH: Final = 1000
"""MLflow's limit of metrics in one ``log-batch`` (``MAX_METRICS_PER_BATCH``)."""

_RACE_ATTEMPTS: Final = 8


def check_param(key: str, value: str) -> None:
    """Raises if MLflow would not keep this value as it is.

    Raises:
        UsageError: It is longer than 6,000 characters.
    """
    if len(value) > MAX_PARAM_LENGTH:
        raise UsageError(
            f"The value of param {key} has {len(value)} characters; MLflow keeps {MAX_PARAM_LENGTH}.",
            hint="Shorten it: MLflow would cut it silently.",
        )


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Raises if a metric says nothing.

    Raises:
        UsageError: A value is NaN or infinite.
    """
    for key, value in metrics.items():
        if not math.isfinite(value):
            raise UsageError(f"Metric {key} is {value}.", hint="Log finite values only.")


def turn_pages(metrics: Mapping[str, float]) -> Iterator[Sequence[tuple[str, float]]]:
    """Metrics in portions that MLflow takes in one call."""
    rows = list(metrics.items())
    for start in range(0, len(rows), _MAX_BATCH):
        yield rows[start : start + _MAX_BATCH]


def settle_param(
    write: Callable[[], object], read: Callable[[], Run], run_id: str, key: str, value: str
) -> None:
    """Writes a param once.

    Args:
        write: Asks MLflow to write it.
        read: Reads the run.
        run_id: Which run.
        key: Which param.
        value: What it shall hold.

    Raises:
        AlreadyExistsError: It holds another value.
        StoreError: MLflow refused for another reason.
    """
    try:
        write()
    except UnreachableError:
        raise  # unknown: the caller reads it back when MLflow answers again
    except StoreError:
        held = read().params.get(key)
        if held is None:
            raise
        if held != value:
            raise AlreadyExistsError(f"Param {key} of run {run_id} already holds another value.") from None


def settle_name(
    write: Callable[[], object], find: Callable[[], Experiment | None], experiment_id: str, name: str
) -> None:
    """Gives an experiment a name that nobody else has.

    Args:
        write: Asks MLflow to rename.
        find: Finds the experiment that has the name.
        experiment_id: Which one shall have it.
        name: The name.

    Raises:
        AlreadyExistsError: Another experiment has it.
        StoreError: MLflow refused for another reason.
    """
    try:
        write()
    except StoreError:
        holder = find()
        if holder is None:
            raise
        if holder.experiment_id != experiment_id:
            raise AlreadyExistsError(
                f"The experiment name {name!r} is taken (experiment {holder.experiment_id})."
            ) from None


def repeat_unique_race(write: Callable[[], object]) -> None:
    """Repeats an upsert that lost a race to insert the row: the second time it updates.

    Raises:
        StoreError: MLflow refused for another reason, or kept losing.
    """
    for _ in range(_RACE_ATTEMPTS - 1):
        try:
            write()
        except StoreError as error:
            if not is_unique_race(str(error)):
                raise
        else:
            return
    write()
