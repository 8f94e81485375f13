"""What survives when an online trainer is killed, and whether the gate keeps wrong labels out.

First, KILLS times (200; KILLS=20 for a quick look): a trainer (every fourth asks the gates, too) is killed
(SIGKILL) at a random moment, and started again. After each kill, what it left is compared with a stream that
nobody disturbed: the kept state is one of that stream's and not older than the last one it told of, each
snapshot has at most one version, and production's holder has the files of its promotion, passes the trust
check, opens and answers.

Then, RUNS times (200; RUNS=20): a stream whose labels are wrong (20 % flipped) from a random moment on. The
first four snapshots after it are proposed against the last sound one; registry's own metric gate decides, at
the level of a first attempt, by the stream's held-out rows (their labels are as wrong as any) and by the same
rows with trusted labels. Beside it a world that turns, with sound labels: a gate that lets nothing in is no
help.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from registry import Settings, check_trust, fetch_artifact, open_ledger, open_store
from registry.gates.budget import level_of_attempt
from registry.gates.material import CANDIDATE, HOLDER, Material
from registry.gates.metric import judge_metric
from registry.policy import MetricPolicy
from tests.fixtures.mlflow_stores import create_tables
from training import Job, train_online
from training.fitting import make_row_layer
from training.online.engine import Engine
from training.online.keeping import Keeper
from training.online.run import MOMENT, TRUTH
from training.online.snapshot import SNAPSHOT_TAG
from training.online.source import Bookmark, TableSource
from training.online.state import StreamState, read_state, write_state

KILLS = int(os.environ.get("KILLS", "200"))
RUNS = int(os.environ.get("RUNS", "200"))
SNAPSHOTS = 4
PROMOTING = 4
"""Every so manieth trainer asks the gates, too: that takes most of the time."""
INTERVAL = 250
FLIPPED = 0.2
ALPHA = 0.05
ROWS = 800
WORTH = 0.005
"""Log loss by which a snapshot is worse or better than production; between these it hardly matters."""
NAME = "bench-online"


def main() -> int:
    """Prints both parts; 1 if something was lost or harmed."""
    warnings.simplefilter("ignore")
    print(f"Online trainers killed at random moments, {KILLS} times", flush=True)
    harm = kill_many()
    print(f"\n{FLIPPED:.0%} of the labels flipped from a random moment on, {RUNS} streams", flush=True)
    flip_many()
    return 1 if harm else 0


def make_rows(count: int, seed: int, turn: float = 1.2) -> pd.DataFrame:
    """Rows whose rule turns slowly, with truths that arrive up to ten hours later."""
    generator = np.random.default_rng(seed)
    one, two = generator.normal(size=count), generator.normal(size=count)
    color = generator.choice(["red", "green", "blue"], count)
    angle = np.linspace(0, turn, count)
    score = 2 * (np.cos(angle) * one + np.sin(angle) * two) + (color == "red") - 0.3
    moment = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(count) * 20, unit="min")
    return pd.DataFrame(
        {
            "one": one,
            "two": two,
            "color": color,
            "moment": moment,
            "known": moment + pd.to_timedelta(generator.integers(0, 600, count), unit="min"),
            "late": (generator.random(count) < 1 / (1 + np.exp(-score))).astype("int64"),
        }
    )


def make_job(rows: pd.DataFrame, **online: Any) -> Job:
    """A small linear stream over them."""
    section = {"available": "known", "warmup": "200 events", "step": "4 hours", "window": 200, **online}
    return Job.from_frame(
        rows,
        name=NAME,
        target="late",
        estimator="sklearn.linear_model.SGDClassifier",
        params={"loss": "log_loss", "learning_rate": "constant", "eta0": 0.02, "shuffle": False},
        data={"time": "moment"},
        features={"numeric": ["one", "two"], "categorical": ["color"], "leaks": ["known"]},
        evaluation={"plots": False, "importance": {"rows": 0}},
        contract={"mode": "off"},
        online=section,
    )


def kill_many() -> int:
    """Returns how many things were lost or harmed."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    os.chdir(folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    settings = Settings(tracking_uri=uri, registry_uri=uri)
    rows = make_rows(200 + SNAPSHOTS * INTERVAL * 10 // 9, seed=1)
    generator, faults, seen = np.random.default_rng(7), Counter[str](), Counter[str]()
    context = multiprocessing.get_context("fork")
    try:
        create_tables(uri, str(folder / "artifacts"))
        expected = list_states(make_job(rows, snapshot=f"{INTERVAL} events"))
        run_child(context, rows, settings, "warm-up", promoting=True)
        start = time.monotonic()
        run_child(context, rows, settings, "undisturbed")
        whole_s, stream, told_before = time.monotonic() - start, 1, 0
        for number in range(KILLS):
            delay = float(generator.uniform(0, 2 * whole_s / len(expected)))
            promoting = number % PROMOTING == 0
            done, told = run_child(
                context,
                rows,
                settings,
                f"stream {stream}",
                promoting=promoting,
                delay_s=delay * (1 + promoting),
            )
            with context.Pool(1) as pool:
                found = pool.apply(inspect, (settings, f"stream {stream}", expected, max(told, told_before)))
            faults.update(found)
            seen["finished before the kill" if done else f"killed after {told} snapshots of its own"] += 1
            told_before = max(told, told_before)
            if done:
                stream, told_before = stream + 1, 0
            if (number + 1) % 20 == 0:
                print(f"  {number + 1} kills, {stream} streams, {sum(faults.values())} faults", flush=True)
        if not run_child(context, rows, settings, f"stream {stream}", promoting=True)[0]:
            faults["a stream that did not end"] += 1
        with context.Pool(1) as pool:
            faults.update(pool.apply(inspect, (settings, f"stream {stream}", expected, len(expected))))
        versions, promoted = count_versions(settings)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"  {KILLS} kills, {stream} streams of {len(expected)} snapshots; undisturbed: {whole_s:.1f} s each"
    )
    print(f"  {versions} versions, {promoted} of them were promoted to production")
    print(f"  lost, doubled or harmed: {dict(faults) or 'nothing'}")
    return sum(faults.values())


def list_states(job: Job) -> list[str]:
    """Digest of each snapshot of a stream that nobody disturbs."""
    source = TableSource(job, is_classifier=True)
    engine = Engine(job, source, None)
    found = [describe(state) for state in engine.feed(source.read(Bookmark(), (), -1))]
    last = engine.finish()
    return [*found, describe(last)] if last else found


def describe(state: StreamState) -> str:
    """A digest over the model, the position, the counts and the curves."""
    model = state.learner.pipeline.named_steps["model"]
    digest = hashlib.sha256(model.coef_.tobytes() + model.intercept_.tobytes())
    numbers = [
        state.number,
        state.position,
        state.scored,
        state.learned,
        state.known,
        len(state.pending.keys),
    ]
    digest.update(json.dumps([numbers, repr(state.points), state.bookmark.digest]).encode())
    digest.update(state.pending.said.tobytes() + state.window.said.tobytes())
    return digest.hexdigest()


def run_child(
    context: Any,
    rows: pd.DataFrame,
    settings: Settings,
    stream: str,
    *,
    promoting: bool = False,
    delay_s: float | None = None,
) -> tuple[bool, int]:
    """Drives the stream in a process that may be killed: whether it ended by itself, and what it told of."""
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=drive, args=(rows, settings, stream, writer, promoting))
    process.start()
    writer.close()
    process.join(delay_s)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    told = 0
    try:
        while reader.poll():
            told = int(reader.recv())
    except EOFError:
        pass
    return process.exitcode == 0, told


def drive(rows: pd.DataFrame, settings: Settings, stream: str, writer: Any, promoting: bool) -> None:
    """The trainer; tells of each snapshot once it is committed."""
    os.environ["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    job = make_job(rows, snapshot=f"{INTERVAL} events", stream=stream)

    def tell(text: str) -> None:
        if text.startswith("snapshot "):
            writer.send(text.split()[1].rstrip(":"))

    with Path(os.devnull).open("w") as silence:
        os.dup2(silence.fileno(), 2)
        train_online(job, settings=settings, promote_to="production" if promoting else None, progress=tell)


def inspect(settings: Settings, stream: str, expected: list[str], told: int) -> list[str]:
    """What is wrong after a kill; nothing, if all is well."""
    store, faults = open_store(settings), []
    keeper = Keeper(store, settings, model=NAME, stream=stream)
    if keeper.kept.number < told:
        faults.append("a committed snapshot is gone")
    if keeper.kept.number:
        path = store.download_run_file(keeper.kept.run_id, keeper.kept.file, tempfile.mkdtemp())
        state = read_state(Path(path).read_bytes(), keeper.kept.sha256)
        if describe(state) != expected[keeper.kept.number - 1]:
            faults.append("a state is not the undisturbed one's")
    versions = list(store.list_versions(NAME)) if any(one.name == NAME for one in store.list_models()) else []
    marks = [one.tags[SNAPSHOT_TAG] for one in versions]
    if len(set(marks)) != len(marks):
        faults.append("a snapshot has two versions")
    mine = [int(mark.rpartition("/")[2]) for mark in marks if mark.startswith(f"{keeper.kept.run_id}/")]
    if keeper.kept.run_id and max(mine, default=0) > keeper.kept.number:
        faults.append("a version of a state that was not kept")
    if versions and store.get_run(str(versions[0].run_id)).status != "FINISHED":
        faults.append("a version of an unfinished run")
    return faults + (check_production(settings, versions) if versions else [])


def check_production(settings: Settings, versions: list[Any]) -> list[str]:
    """The holder is the one in the history, has its files, may be opened, and answers."""
    import mlflow.pyfunc  # noqa: PLC0415 - slow import

    ledger = open_ledger(NAME, settings=settings)
    reading = ledger.find()
    holder = reading.state.holder("production") if reading else None
    if holder is None:
        return []
    version = next(one for one in versions if one.version == holder.version)
    folder = Path(tempfile.mkdtemp()) / "model"
    try:
        fetch_artifact(ledger.store, version, folder, manifest=holder.manifest)
        check_trust(folder)
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
        answers = model.predict(make_rows(10, seed=2)[["one", "two", "color"]])
    except Exception as error:  # noqa: BLE001 - whatever it is, production is harmed
        return [f"production is harmed: {type(error).__name__}"]
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    return [] if len(answers) == 10 else ["production does not answer"]


def count_versions(settings: Settings) -> tuple[int, int]:
    """Versions, and those that were ever promoted to production."""
    store = open_store(settings)
    ledger = open_ledger(NAME, settings=settings, store=store)
    reading = ledger.find()
    records = reading.state.records if reading else {}
    return len(store.list_versions(NAME)), sum(record.produced is not None for record in records.values())


@dataclass(frozen=True)
class Look:
    """One question to the gate.

    Attributes:
        rows: By which rows.
        metric: By which metric.
        age: How many snapshots after the labels went wrong.
        gain: By how much the candidate's log loss is lower than production's on the true labels of the next
            interval, which nobody has learned yet.
        is_in: Whether the gate let it in.
    """

    rows: str
    metric: str
    age: int
    gain: float
    is_in: bool


def flip_many() -> None:
    """Prints how often a harmful snapshot was kept out, and a useful one let in."""
    wrong, sound = [], []
    for number in range(RUNS):
        wrong += play_flipped(number, share=FLIPPED, turn=0.0)
        sound += play_flipped(number, share=0.0, turn=3.0)
        if (number + 1) % 20 == 0 or number + 1 == RUNS:
            print(f"  after {number + 1} streams of each kind:", flush=True)
            show_looks(wrong, sound)


def show_looks(wrong: list[Look], sound: list[Look]) -> None:
    """The table so far."""
    print("  wrong labels, a world that stands still: snapshots worse than production that were kept out")
    print("  sound labels, a world that turns: snapshots better than production that were let in")
    print(f"  {'judged by':<30}{'metric':<10}{'snapshot':<10}{'worse, kept out':<22}{'better, let in':<22}")
    for rows, metric, age in dict.fromkeys((look.rows, look.metric, look.age) for look in wrong):
        out = [not one.is_in for one in _select(wrong, rows, metric, age) if one.gain < -WORTH]
        let = [one.is_in for one in _select(sound, rows, metric, age) if one.gain > WORTH]
        print(f"  {rows:<30}{metric:<10}{age:<10}{_share(out):<22}{_share(let):<22}")


def _select(looks: list[Look], rows: str, metric: str, age: int) -> list[Look]:
    return [one for one in looks if (one.rows, one.metric, one.age) == (rows, metric, age)]


def _share(hits: list[bool]) -> str:
    return f"{np.mean(hits):.1%} of {len(hits)}" if hits else "none"


def play_flipped(seed: int, *, share: float, turn: float) -> list[Look]:
    """A stream of eleven intervals; in the sixth the labels go wrong, and stay so."""
    generator = np.random.default_rng(seed)
    rows = make_rows(11 * ROWS, seed=1000 + seed, turn=turn)
    moment = int((5 + generator.random()) * ROWS)
    wrong = (np.arange(len(rows)) >= moment) & (generator.random(len(rows)) < share)
    labels = np.where(wrong, 1 - rows["late"], rows["late"])
    job = make_job(rows.assign(late=labels), snapshot=f"{ROWS * 8 // 10} events", step="1 day", holdout=0.2)
    source = TableSource(job, is_classifier=True)
    events = source.read(Bookmark(), (), -1)
    states = [read_state(*write_state(state)) for state in Engine(job, source, None).feed(events)]
    begun = pd.Timestamp(rows["moment"].iloc[moment]).value
    first = next(place for place, state in enumerate(states) if state.position >= begun)
    looks = []
    for age, candidate in enumerate(states[first : first + 4], 1):
        looks += look_at(rows, source, states[first - 1], candidate, age)
    return looks


def look_at(
    rows: pd.DataFrame, source: TableSource, holder: StreamState, candidate: StreamState, age: int
) -> list[Look]:
    """All questions about one candidate."""
    layer = make_row_layer(source.features)
    truth = pd.Series(rows["late"].to_numpy(), index=pd.DatetimeIndex(rows["moment"]))
    held = candidate.held.reset_index(drop=True)
    sound = truth.loc[pd.DatetimeIndex(held[MOMENT].to_numpy().view("datetime64[ns]"))].to_numpy()
    later = rows[rows["moment"] > pd.Timestamp(candidate.position)].head(ROWS)
    losses = [measure_loss(state, layer, later) for state in (holder, candidate)]
    found, features = [], pd.DataFrame(layer.transform(held))
    for name, labels in (("held-out rows", held[TRUTH]), ("the same, trusted labels", sound)):
        for metric in ("log_loss", "roc_auc"):
            verdict = judge(features, np.asarray(labels), metric, holder=holder, candidate=candidate)
            found.append(Look(name, metric, age, losses[0] - losses[1], verdict == "yes"))
    return found


def measure_loss(state: StreamState, layer: Any, rows: pd.DataFrame) -> float:
    """Mean log loss on true labels."""
    said = state.learner.pipeline.predict_proba(pd.DataFrame(layer.transform(rows)))
    return float(-np.log(np.clip(said[np.arange(len(rows)), rows["late"]], 1e-15, 1)).mean())


def judge(
    features: pd.DataFrame, truth: Any, metric: Any, *, holder: StreamState, candidate: StreamState
) -> str:
    """Registry's gate on these rows, at the level of a first attempt."""
    answers = {}
    for who, state in ((HOLDER, holder), (CANDIDATE, candidate)):
        said = state.learner.pipeline.predict_proba(features)
        answers[who] = pd.DataFrame({"probability.0": said[:, 0], "probability.1": said[:, 1]})
    material = Material(
        rows=pd.DataFrame({TRUTH: truth}),
        target=TRUTH,
        task="binary",
        classes=(0, 1),
        group=None,
        versions={HOLDER: "1", CANDIDATE: "2"},
        answers=answers,
    )
    level, following = level_of_attempt(ALPHA, 1), level_of_attempt(ALPHA, 2)
    said, _ = judge_metric(material, MetricPolicy(name=metric), level=level, next_level=following)
    return said.verdict


if __name__ == "__main__":
    sys.exit(main())
