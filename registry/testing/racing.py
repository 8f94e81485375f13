"""Lets promoters race as separate long-lived processes, and counts how many are told that they won.

Each racer reads the history, decides, and waits at a barrier; then all commit at once. With Greenroom exactly
one may win and every other must be told so. :func:`promote_naively` is the way it is done without: look at
the alias, then set it.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Final, Literal

from registry.environment import Settings
from registry.errors import ConflictError, GreenroomError
from registry.ledger.entry import Draft
from registry.ledger.ledger import Actor, Ledger, new_nonce
from registry.names import STAGING
from registry.promotion import commit
from registry.store import RegistryStore
from registry.stores import open_store

__all__ = ["Kind", "Racers", "Result", "promote_naively", "racers"]

Kind = Literal["greenroom", "naive"]
Result = str
"""``won``, ``told`` that somebody else was first, or an error in words."""

PATIENCE_S: Final = 120.0


@dataclass
class Racers:
    """Processes that wait for a race."""

    pipes: "Sequence[Connection[tuple[str, Kind] | None, Result]]"

    def race(self, versions: Sequence[str], kind: Kind) -> list[Result]:
        """Each racer wants staging for its own version; returns what each was told."""
        for pipe, version in zip(self.pipes, versions, strict=True):
            pipe.send((version, kind))
        results = []
        for pipe in self.pipes:
            if not pipe.poll(PATIENCE_S):
                raise TimeoutError("a racer does not answer")
            results.append(pipe.recv())
        return results


@contextmanager
def racers(count: int, uri: str, name: str) -> Iterator[Racers]:
    """Starts ``count`` processes that promote versions of model ``name`` at ``uri``; ends them."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pairs = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=_run, args=(theirs, barrier, uri, name, f"racer-{place}"), daemon=True)
        for place, (_, theirs) in enumerate(pairs)
    ]
    for process in processes:
        process.start()
    try:
        yield Racers([ours for ours, _ in pairs])
    finally:
        for ours, _ in pairs:
            ours.send(None)
        for process in processes:
            process.join(PATIENCE_S)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


def _run(
    pipe: "Connection[Result, tuple[str, Kind] | None]", barrier: Barrier, uri: str, name: str, who: str
) -> None:
    store = open_store(Settings(tracking_uri=uri, registry_uri=uri))
    ledger = Ledger(store, name, actor=Actor(who))
    while (task := pipe.recv()) is not None:
        version, kind = task
        try:
            act = promote_naively if kind == "naive" else _promote
            pipe.send(act(ledger, version, barrier))
        except GreenroomError as error:
            pipe.send(f"{type(error).__name__}: {error}")


def _promote(ledger: Ledger, number: str, barrier: Barrier) -> Result:
    state = ledger.open().state
    holder = state.holder(STAGING)
    version = ledger.store.get_version(ledger.name, number)
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=STAGING,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
    )
    barrier.wait(PATIENCE_S)
    try:
        commit(ledger, state, version, draft)
    except ConflictError:
        return "told"
    return "won"


def promote_naively(ledger: Ledger, number: str, barrier: Barrier) -> Result:
    """Looks who has the alias, waits, looks again, and sets it if nothing changed: last writer wins."""
    store: RegistryStore = ledger.store
    before = store.get_model(ledger.name).aliases.get(STAGING)
    barrier.wait(PATIENCE_S)
    if store.get_model(ledger.name).aliases.get(STAGING) != before:
        return "told"
    store.set_alias(ledger.name, STAGING, number)
    return "won"
