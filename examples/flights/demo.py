"""The whole story on real flights: train, promote, serve, refuse, replace under traffic, roll back.

``make demo`` runs it. Everything it makes is in one folder; no process is left behind.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stage import Stage, headline, tell
from traffic import Traffic, take_flights

from registry import GreenroomError, find_free_port, start_server

HERE = Path(__file__).parent
JOB = str(HERE / "job.toml")
NAME = "flight-delay"
BETTER = ("--set", "split.train_until=2013-07-01", "--set", "split.evaluate_until=2013-08-01")
WORSE = ("--set", "model.params.max_iter=2")


def main() -> int:
    """Tells the story; returns 0 if it went as told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to keep everything (default: a new temporary one)")
    parser.add_argument("--backend-store-uri", help="MLflow's database (default: SQLite in the folder)")
    parser.add_argument(
        "--artifacts", help="MLflow's artifacts: a folder or s3:// URI (default: in the folder)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="greenroom-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    backend = arguments.backend_store_uri or f"sqlite:///{folder / 'mlflow.db'}"
    artifacts = arguments.artifacts or str(folder / "artifacts")
    start = time.monotonic()
    try:
        _tell_story(folder, backend, artifacts)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What was made until then is in {folder}", file=sys.stderr)
        return 130
    except (GreenroomError, RuntimeError, TimeoutError) as error:
        print(f"\nThe demo did not go as told: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - start:.0f} s; no process is left. Look at all of it:\n")
    print(f"   make up FOLDER={folder}")
    print(f"   http://127.0.0.1:5000/#/models/{NAME}        the model: versions, aliases, history")
    print("   http://127.0.0.1:5000/#/experiments          runs with plots, evidence, history")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _tell_story(folder: Path, backend: str, artifacts: str) -> None:
    print("Greenroom on real flights: will a plane from New York arrive more than 15 minutes late?")
    print(f"Everything is kept in {folder}")
    headline(1, "An MLflow tracking server starts (stock MLflow, settings that hold under load).")
    with start_server(
        backend_store_uri=backend, artifacts=artifacts, folder=folder, log=folder / "server.log"
    ) as server:
        tell(f"It answers at {server.uri}")
        stage = Stage(folder, {"MLFLOW_TRACKING_URI": server.uri})
        rows = _play(stage)
    _show_table(rows)


def _play(stage: Stage) -> list[tuple[str, ...]]:
    headline(2, "A job trains on the flights of January to March and is measured on April.")
    first = stage.run("train-model", JOB)
    _tell_metrics(first)
    headline(3, "The new version passes the integrity gates into staging, then production.")
    stage.run("promote-model", NAME, "--to", "staging")
    _tell_verdicts(stage.run("promote-model", NAME, "--to", "production", "--reason", "first version"))
    headline(4, "A scoring server follows production and answers for real April flights.")
    port = find_free_port()
    with stage.serving("serve-model", NAME, "--port", str(port), port=port):
        flights = take_flights("2013-04", 200)
        traffic = Traffic.of_flights(port, flights)
        _tell_answers(traffic, flights)
        headline(5, "A worse candidate (two trees instead of a hundred) is trained, and refused.")
        worse = stage.run("train-model", JOB, *WORSE)
        stage.run("promote-model", NAME, "--version", worse["version"], "--to", "staging")
        refused = stage.run("promote-model", NAME, "--to", "production", expect=3)
        _tell_verdicts(refused, only="metric")
        better, accepted = _replace_under_traffic(stage, traffic)
    return [
        _row(first, "January to March", "April", "yes (first)"),
        _row(worse, "January to March, two trees", "April", str(refused["verdict"])),
        _row(better, "January to June", "July", str(accepted["verdict"])),
    ]


def _replace_under_traffic(stage: Stage, traffic: Traffic) -> tuple[dict[str, Any], dict[str, Any]]:
    headline(6, "A better one (trained through June) replaces it while requests keep flowing.")
    better = stage.run("train-model", JOB, *BETTER)
    _tell_metrics(better)
    stage.run("promote-model", NAME, "--version", better["version"], "--to", "staging")
    traffic.start()
    try:
        accepted = stage.run("promote-model", NAME, "--to", "production", "--reason", "trained through June")
        seconds = traffic.wait_for_version(better["version"])
        _tell_verdicts(accepted, only="metric")
        tell(f"Its first answer came {seconds:.1f} s after promote-model was done.")
        headline(7, "Complaints? One command, and the old version is back.")
        traffic.versions.clear()
        back = stage.run("greenroom", "rollback", NAME, "--reason", "complaints since noon")
        seconds = traffic.wait_for_version(back["version"])
        tell(f"Version {back['version']} answers again, {seconds:.1f} s after the rollback.")
    finally:
        traffic.stop()
    failed = sum(count for status, count in traffic.statuses.items() if status != "200")
    tell(f"Requests meanwhile: {sum(traffic.statuses.values()):,}, failed: {failed}.")
    if failed:
        raise RuntimeError(f"requests failed during the swap: {dict(traffic.statuses)}")
    headline(8, "Who did what, when and why is on record, and cannot be rewritten quietly.")
    _tell_history(stage.run("greenroom", "history", NAME))
    checked = stage.run("greenroom", "verify", NAME)
    entries, versions = checked["entries"], checked["artifacts"]
    tell(f"{entries} entries and the files of {versions} versions are as they were written.")
    return better, accepted


def _tell_metrics(trained: dict[str, Any]) -> None:
    metrics = trained["metrics"]
    tell(
        f"Version {trained['version']}: ROC AUC {metrics['roc_auc']:.3f}, log loss {metrics['log_loss']:.3f} "
        f"(always predicting the mean: {metrics['log_loss_of_mean']:.3f})."
    )


def _tell_verdicts(promotion: dict[str, Any], only: str | None = None) -> None:
    for gate in promotion["gates"]:
        if only in {None, gate["name"]}:
            tell(f"{gate['name']}: {gate['verdict']}. {gate['reason']}")


def _tell_answers(traffic: Traffic, flights: Any) -> None:
    for place in (0, 80, 160):
        _, version, answer = traffic.ask(place)
        flight = flights.iloc[place]
        when = flight["scheduled"].strftime("%d %B %H:%M")
        truth = "late" if flight["late"] else "on time"
        tell(
            f"{flight['carrier']} {flight['origin']}-{flight['dest']}, {when}: version {version} answers "
            f"{answer['predictions']}; it was {truth}."
        )


def _tell_history(history: dict[str, Any]) -> None:
    for entry in history["entries"]:
        stage = f" to {entry['stage']}" if entry["stage"] else ""
        why = f": {entry['reason']}" if entry["reason"] else ""
        tell(
            f"{entry['seq']}  {entry['time'][11:19]}  {entry['actor']}  {entry['action']} version "
            f"{entry['version']}{stage}{why}"
        )


def _row(trained: dict[str, Any], learned: str, judged: str, verdict: str) -> tuple[str, ...]:
    metrics = trained["metrics"]
    return (
        str(trained["version"]),
        learned,
        judged,
        f"{metrics['roc_auc']:.3f}",
        f"{metrics['log_loss']:.3f}",
        f"{metrics['log_loss_of_mean']:.3f}",
        verdict,
    )


def _show_table(rows: list[tuple[str, ...]]) -> None:
    table = [
        ("version", "trained on", "judged on", "ROC AUC", "log loss", "of the mean", "production?"),
        *rows,
    ]
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    print()
    for row in table:
        print("   " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
