"""Asks for training, and takes what was asked: how monitoring reaches the schedulers without knowing them.

The asking run (a monitor's) carries a tag that says why; the model's agenda lists it; and the one who takes
it is the first to write a write-once param on that very run. A request is answered at most once: the monitor
asks again while its reason lasts.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .agenda import open_agenda
from .clock import Clock, SystemClock, format_time, parse_time
from .errors import AlreadyExistsError, NotFoundError, UnreachableError
from .names import Tag
from .store import RegistryStore, Run

__all__ = ["TrainingRequest", "find_training_requests", "request_training", "take_training_request"]

TAKEN_KEY: Final = "training_taken_by"
"""The write-once param on the asking run."""
MAX_REASON: Final = 1_000
RETRIES: Final = 3


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Somebody wants the model trained.

    Attributes:
        run_id: The run that asks.
        reason: Why, in a sentence.
        time: When.
        model: Which registered model.
    """

    run_id: str
    reason: str
    time: datetime
    model: str


def request_training(
    store: RegistryStore, model: str, *, run_id: str, reason: str, clock: Clock | None = None
) -> None:
    """Asks for training of a model; asking twice by one run is asking once.

    Args:
        store: MLflow.
        model: The registered model.
        run_id: The run that asks; a tag on it says why.
        reason: Why, in a sentence; cut after 1,000 characters.
        clock: Tells when; the machine's if None.

    Raises:
        NotFoundError: There is no such run.
        AccessDeniedError: MLflow does not let this user write.
        UnreachableError: MLflow gives no answer; ask again.
    """
    clock = clock or SystemClock()
    run = store.get_run(run_id)
    if Tag.TRAINING_REQUEST not in run.tags:
        mark = {"model": model, "reason": reason[:MAX_REASON], "time": format_time(clock.now())}
        store.set_run_tag(run_id, Tag.TRAINING_REQUEST, json.dumps(mark, ensure_ascii=False))
    if TAKEN_KEY not in run.params:
        open_agenda(store, model, clock=clock).ask(run_id)


def find_training_requests(store: RegistryStore, model: str) -> list[TrainingRequest]:
    """What was asked and not taken yet, oldest first (the newest 20 at most); writes nothing.

    Raises:
        UnreachableError: MLflow gives no answer.
    """
    found = (_find(store, model, run_id) for run_id in open_agenda(store, model).read().waiting)
    return [request for request in found if request is not None]


def take_training_request(store: RegistryStore, request: TrainingRequest, *, taker: str) -> bool:
    """Takes a request. Of any number of takers exactly one gets True.

    Args:
        store: MLflow.
        request: From :func:`find_training_requests`.
        taker: Who will train, for people.

    Raises:
        NotFoundError: The asking run is gone.
        UnreachableError: No answer, and it is not known who has it; take it again, or leave it.
    """
    mine = f"{taker[:200]} {secrets.token_hex(8)}"
    for attempt in range(RETRIES):
        try:
            store.log_param(request.run_id, TAKEN_KEY, mine)
            break
        except AlreadyExistsError:
            is_mine = store.get_run(request.run_id).params.get(TAKEN_KEY) == mine
            if is_mine:
                break
            return False
        except UnreachableError:
            if attempt == RETRIES - 1:
                raise
    open_agenda(store, request.model).strike(request.run_id)
    return True


def _find(store: RegistryStore, model: str, run_id: str) -> TrainingRequest | None:
    """None: it was taken, or its run is gone, or says nothing that can be read."""
    try:
        run = store.get_run(run_id)
    except NotFoundError:
        return None
    return None if not run.active or TAKEN_KEY in run.params else _parse(run, model)


def _parse(run: Run, model: str) -> TrainingRequest | None:
    try:
        mark = json.loads(run.tags[Tag.TRAINING_REQUEST])
        return TrainingRequest(run.run_id, str(mark["reason"]), parse_time(mark["time"]), model)
    except (KeyError, TypeError, ValueError):
        return None
