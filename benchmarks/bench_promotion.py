"""Promoters that race, with Greenroom and the way it is done without; and what a long history costs.

1,000 races per database (half with 2, half with 8 processes; LONG=1: 10,000), over REST, released by a
barrier. Then promoting and reading status at entry 10,000 against entry 10, interleaved in one run.
Trials: ``TRIALS=100`` for a quick look.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from registry import (
    STAGING,
    Actor,
    Ledger,
    RegistryStore,
    Settings,
    open_store,
    read_status,
    start_server,
)
from registry.ledger.entry import Draft
from registry.ledger.ledger import new_nonce
from registry.ledger.state import State
from registry.promotion import commit
from registry.testing.racing import Kind, racers
from tests.fixtures.postgres import running_postgres
from tests.registry.mlflow_models import register

TRIALS = int(os.environ.get("TRIALS", "10000" if os.environ.get("LONG") else "1000"))
ENTRIES = int(os.environ.get("ENTRIES", "10000"))
REPEATS = 15


def main() -> None:
    """Prints everything."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    try:
        print(f"Promoters racing for one stage, separate processes over REST, {TRIALS} races per database")
        print(
            f"  {'database':<12}{'racers':<8}{'promoter':<12}{'races':<8}{'one winner':<12}"
            f"{'all others told':<17}{'winners in a race':<18}"
        )
        with serving_sqlite(folder / "sqlite") as store:
            race_all(store, "SQLite", folder)
            measure_length(store, folder)
        with serving_postgres(folder / "postgres") as store:
            race_all(store, "PostgreSQL", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving_sqlite(folder: Path) -> Iterator[RegistryStore]:
    """MLflow's server on SQLite."""
    folder.mkdir()
    with start_server(
        backend_store_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        folder=folder,
        log=folder / "log",
    ) as server:
        yield open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))


@contextmanager
def serving_postgres(folder: Path) -> Iterator[RegistryStore]:
    """MLflow's server on PostgreSQL."""
    folder.mkdir()
    with (
        running_postgres(folder) as postgres,
        start_server(
            backend_store_uri=postgres.create_database(),
            artifacts=str(folder / "artifacts"),
            folder=folder,
            log=folder / "log",
        ) as server,
    ):
        yield open_store(Settings(tracking_uri=server.uri, registry_uri=server.uri))


def race_all(store: RegistryStore, database: str, folder: Path) -> None:
    """Greenroom and the naive promoter, with 2 and 8 racers."""
    plain = folder / "model"
    plain.mkdir(exist_ok=True)
    (plain / "weights").write_text("x")
    for count in (2, 8):
        for kind in ("greenroom", "naive"):
            name = f"{kind}-{count}"
            versions = register(store, name, plain, count + 1)
            races = TRIALS // 2 if kind == "greenroom" else min(TRIALS // 2, 100)
            show_races(store, database, name, versions, kind=kind, races=races)


def show_races(
    store: RegistryStore, database: str, name: str, versions: list[str], *, kind: Kind, races: int
) -> None:
    """One row."""
    count = len(versions) - 1
    winners: list[int] = []
    told = 0
    with racers(count, store.tracking_uri, name) as field:
        for _ in range(races):
            held = store.get_model(name).aliases.get(STAGING)
            said = field.race([one for one in versions if one != held][:count], kind)
            winners.append(said.count("won"))
            told += said.count("told") == count - 1
    single = sum(number == 1 for number in winners)
    print(
        f"  {database:<12}{count:<8}{kind:<12}{races:<8}{single:<12}{told:<17}{statistics.mean(winners):.2f}",
        flush=True,
    )


def measure_length(store: RegistryStore, folder: Path) -> None:
    """Promote and status at entry 10 and at entry 10,000, in turn."""
    plain = folder / "model"
    young, old = "young", "old"
    versions = {name: register(store, name, plain, 3) for name in (young, old)}
    grow(store, young, versions[young], 10)
    print(f"\nGrowing a history to {ENTRIES:,} entries ...", flush=True)
    start = time.perf_counter()
    grow(store, old, versions[old], ENTRIES)
    print(f"  {ENTRIES / (time.perf_counter() - start):.0f} entries/s")
    acts: dict[str, Callable[[str], None]] = {
        "status": lambda name: _read(store, name),
        "promote (append and project)": lambda name: _promote(store, name, versions[name]),
    }
    print(f"\n  {'median of ' + str(REPEATS):<32}{'entry 10':<12}{f'entry {ENTRIES:,}':<16}ratio")
    for what, act in acts.items():
        times: dict[str, list[float]] = {young: [], old: []}
        for _ in range(REPEATS):
            for name in (young, old):
                start = time.perf_counter()
                act(name)
                times[name].append(time.perf_counter() - start)
        short, long = statistics.median(times[young]), statistics.median(times[old])
        print(f"  {what:<32}{short * 1000:<12.1f}{long * 1000:<16.1f}{long / short:.2f}   (ms)")


def grow(store: RegistryStore, name: str, versions: list[str], entries: int) -> None:
    """Appends entries as a life of many versions would: each about another version number."""
    ledger = Ledger(store, name, actor=Actor("bench"))
    _promote(store, name, versions)
    done = ledger.open().state.seq
    for place in range(done, entries):
        draft = Draft(
            action="archive",
            nonce=new_nonce(),
            version=str(1000 + place // 3),
            created_ms=place,
            manifest=f"{place:064x}",
        )
        ledger.append(_always(draft))


def _always(draft: Draft) -> Callable[[State], Draft]:
    return lambda _: draft


def _read(store: RegistryStore, name: str) -> None:
    read_status(Ledger(store, name))


def _promote(store: RegistryStore, name: str, versions: list[str]) -> None:
    ledger = Ledger(store, name, actor=Actor("bench"))
    state = ledger.open().state
    holder = state.holder(STAGING)
    number = next(one for one in versions if holder is None or one != holder.version)
    version = store.get_version(name, number)
    draft = Draft(
        action="promote",
        nonce=new_nonce(),
        stage=STAGING,
        version=number,
        was=holder.version if holder else None,
        created_ms=version.created_ms,
    )
    commit(ledger, state, version, draft)


if __name__ == "__main__":
    main()
