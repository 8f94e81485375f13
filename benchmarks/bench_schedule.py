"""Schedulers as processes, killed at random moments: each slot at most once, and none lost silently?

``SCHEDULERS`` processes (3) run one job every two seconds on one tracking server, until ``SLOTS`` slots (60)
are taken. After every fourth one of them is killed with ``kill -9`` at a random moment, and started again.
Then the model's training journal is read: a slot that was taken twice, or one that is neither taken nor
accounted for (left out because a training was in progress, or missed, as the next claim says), is a failure.
``SLOTS=10``: a quick look.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from registry import Agenda, Occasion, Settings, open_agenda, open_store, parse_time, start_server
from registry.environment import get_child_environment

SLOTS = int(os.environ.get("SLOTS", "60"))
SCHEDULERS = int(os.environ.get("SCHEDULERS", "3"))
EVERY_S = 2
SLOTS_PER_KILL = 4
PATIENCE_S = 60.0 * SLOTS
TRAIN = str(Path(sys.executable).with_name("train-model"))
JOB = """
[job]
name = "often"
[data]
source = "rows.csv"
target = "late"
[model]
estimator = "sklearn.linear_model.LogisticRegression"
[evaluation]
plots = false
importance = { rows = 0 }
"""


def main() -> int:
    """Runs the trial; returns 1 if a slot was trained twice or lost."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_job(folder)
        with start_server(
            backend_store_uri=f"sqlite:///{folder}/mlflow.db", folder=folder, log=folder / "log"
        ) as server:
            settings = Settings(tracking_uri=server.uri, registry_uri=server.uri)
            agenda = open_agenda(open_store(settings), "often", settings=settings)
            kills = let_run(folder, server.uri, agenda)
            return report(agenda.list_occasions(100_000), kills)


def write_job(folder: Path) -> None:
    """200 rows, a second's work."""
    draws = np.random.default_rng(7)
    size = draws.normal(size=200)
    late = (draws.random(200) < 1 / (1 + np.exp(-size))).astype(int)
    pd.DataFrame({"size": size, "late": late}).to_csv(folder / "rows.csv", index=False)
    (folder / "job.toml").write_text(JOB)


def let_run(folder: Path, uri: str, agenda: Agenda) -> int:
    """Starts them, kills one at a time, starts it again; returns how many were killed."""
    environment = get_child_environment({"MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"})
    quiet = subprocess.DEVNULL
    command = [TRAIN, "job.toml", "--every", f"{EVERY_S}s", "--lease", "2s"]

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet)

    processes = [start() for _ in range(SCHEDULERS)]
    choice, kills, deadline = random.Random(7), 0, time.monotonic() + PATIENCE_S  # noqa: S311 - no secret
    try:
        while (taken := len(agenda.list_occasions(SLOTS))) < SLOTS and time.monotonic() < deadline:
            time.sleep(2 * choice.random())
            if taken >= SLOTS_PER_KILL * (kills + 1):
                victim = choice.randrange(SCHEDULERS)
                processes[victim].kill()
                processes[victim].wait()
                processes[victim], kills = start(), kills + 1
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
    return kills


def report(occasions: list[Occasion], kills: int) -> int:
    """Prints what became of the slots; 1 if one was taken twice or is unaccounted for."""
    occasions.reverse()
    slots = [parse_time(one.claim.slot) for one in occasions]
    twice = [slot for slot, times in Counter(slots).items() if times > 1]
    step = timedelta(seconds=EVERY_S)
    gaps = [(later - earlier) // step - 1 for earlier, later in pairwise(slots)]
    left_out = missed = unaccounted = 0
    for earlier, gap, one in zip(occasions[:-1], gaps, occasions[1:], strict=True):
        busy_until = (
            parse_time(earlier.time) if earlier.outcome == "trained" else parse_time(earlier.claim.slot)
        )
        overlapped = max(0, (busy_until - parse_time(earlier.claim.slot)) // step)
        left_out += min(gap, overlapped)
        missed += one.claim.missed
        unaccounted += gap != min(gap, overlapped) + one.claim.missed
    outcomes = Counter(one.outcome for one in occasions)
    print(f"schedulers {SCHEDULERS}, killed {kills} times; slots taken {len(slots)}: {dict(outcomes)}")
    print(f"slots left out during a training {left_out}, missed {missed}; taken twice {len(twice)}; ", end="")
    print(f"unaccounted for {unaccounted}")
    return int(bool(twice) or unaccounted > 0 or len(slots) < SLOTS)


if __name__ == "__main__":
    sys.exit(main())
