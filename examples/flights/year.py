"""The flights of 2013 in the order of time, truth at landing: trained once, every month, and event by event.

One command: ``python examples/flights/year.py``. It leaves a figure, a table and MLflow runs in one folder.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import flights as data
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from year_figure import draw_year
from year_quality import compare, count_late, describe_months, measure_drift

from registry import GreenroomError, Settings, start_server
from training import read_job, train, train_online

HERE: Final = Path(__file__).parent
LEAKS: Final = ["dep_time", "dep_delay", "arr_time", "air_time", "arr_delay", "landed"]
MONTHS: Final = pd.date_range("2013-04-01", "2014-01-01", freq="MS")
TRAILING_MONTHS: Final = 3
WAYS: Final = {
    "once": "boosting, trained once (January to March)",
    "monthly": "boosting, trained anew every month (the last three months)",
    "online": "linear, learned flight by flight",
    "frozen": "linear, the same stream stopped on 1 April",
}


def main() -> int:
    """Replays the year; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to keep everything (default: a new temporary one)")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="greenroom-year-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    start = time.monotonic()
    try:
        _replay(folder)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What was made until then is in {folder}", file=sys.stderr)
        return 130
    except GreenroomError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    print(f"\nDone in {time.monotonic() - start:.0f} s; look at all of it: make up FOLDER={folder}")
    return 0


def _replay(folder: Path) -> None:
    print(f"Flights of 2013 in the order of time. Everything is kept in {folder}", flush=True)
    year = data.load_year()
    backend = f"sqlite:///{folder / 'mlflow.db'}"
    with start_server(
        backend_store_uri=backend,
        artifacts=str(folder / "artifacts"),
        folder=folder,
        log=folder / "server.log",
    ) as server:
        settings = Settings(tracking_uri=server.uri, registry_uri=server.uri)
        told = pd.DataFrame({"time": year["scheduled"], "late": year["late"]})
        told["online"] = _learn_online(settings, year)
        told["frozen"] = _freeze(settings, year)
        told["once"], told["monthly"] = _boost(settings, year)
        told = told[told["time"] >= MONTHS[0]].reset_index(drop=True)
        _conclude(folder, settings, year, told)


def _learn_online(settings: Settings, year: pd.DataFrame) -> "pd.Series[Any]":
    """What the stream said of each flight before it had learned it; missing in the warm-up."""
    _say("online: a linear model scores every flight, and learns it when it has landed")
    result = train_online(read_job(HERE / "online.toml"), settings=settings, progress=_say_step)
    client = MlflowClient(settings.tracking_uri)
    scores = pd.concat(
        [
            pd.read_parquet(client.download_artifacts(result.run_id, file.path))
            for file in _list(client, result.run_id)
        ]
    )
    said = scores.set_index(scores["key"].astype(int))["probability_1"]
    in_time = year["scheduled"].argsort(kind="stable").to_numpy()
    return pd.Series(said.reindex(range(len(year))).to_numpy(), index=year.index[in_time]).sort_index()


def _list(client: MlflowClient, run_id: str) -> Iterator[Any]:
    yield from client.list_artifacts(run_id, "scores")


def _freeze(settings: Settings, year: pd.DataFrame) -> Any:
    """The stream as it was on 1 April, asked about all flights."""
    import mlflow.pyfunc  # noqa: PLC0415 - slow import

    _say("frozen: the same stream, stopped on 1 April")
    until = f'data.args={{ until = "{MONTHS[0]:%Y-%m-%d}", only_landed = true }}'
    job = read_job(HERE / "online.toml", [until, "online.stream=frozen", "job.name=flight-delay-frozen"])
    result = train_online(job, settings=settings)
    version = result.snapshots[-1].version
    mlflow.set_tracking_uri(settings.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/flight-delay-frozen/{version}", suppress_warnings=True)
    names = model.metadata.get_input_schema().input_names()
    asked = year[names].astype({"distance": "float64"})  # as the signature says
    return model.predict(asked, params={"output": "probability"})["1"].to_numpy()


def _boost(settings: Settings, year: pd.DataFrame) -> tuple[Any, Any]:
    """What the boosting says: the one of 1 April about the whole rest, and each month's about its month."""
    once, monthly = np.full(len(year), np.nan), np.full(len(year), np.nan)
    for month in MONTHS[:-1]:
        first = month == MONTHS[0]
        _say(
            f"monthly: trained on the three months before {month:%d %B}" + (" (also: once)" if first else "")
        )
        result = train(read_job(HERE / "job.toml", _list_overrides(month)), settings=settings)
        asked = (year["scheduled"] >= month).to_numpy()
        if not first:
            asked = asked & (year["scheduled"] < month + pd.DateOffset(months=1)).to_numpy()
        said = result.pipeline.predict_proba(year[asked])[:, 1]
        if first:
            once[asked] = said
        monthly[asked] = said
    return once, monthly


def _list_overrides(month: pd.Timestamp) -> list[str]:
    """The job of one month: what had landed by its first day is learned."""
    begin, end = month - pd.DateOffset(months=TRAILING_MONTHS), month + pd.DateOffset(months=1)
    return [
        "job.name=flight-delay-monthly",
        "data.source=python:flights.py:load_year",
        f'data.args={{ until = "{month:%Y-%m-%d}" }}',
        f"features.leaks={json.dumps(LEAKS)}",
        f"split.train_from={begin:%Y-%m-%d}",
        f"split.train_until={month:%Y-%m-%d}",
        f"split.evaluate_until={end:%Y-%m-%d}",
        "evaluation={ plots = false, importance = { rows = 0 } }",
    ]


def _conclude(folder: Path, settings: Settings, year: pd.DataFrame, told: pd.DataFrame) -> None:
    table = describe_months(told, list(WAYS))
    table.to_csv(folder / "year.csv", index=False)
    weather = data.load_weather()
    figure = draw_year(table, count_late(year), measure_drift(year, weather), WAYS)
    figure.savefig(folder / "year.png", dpi=90)
    text = "\n".join([_write_table(table), "", *_write_summary(told)])
    (folder / "year.md").write_text(text + "\n", "utf-8")
    _record(settings, folder, table)
    print(f"\n{text}")


def _write_table(table: pd.DataFrame) -> str:
    """Markdown: a month per row; log loss and ROC AUC of each way, and half their 95 % intervals."""
    lines = [
        "| month | flights | late | "
        + " | ".join(f"log loss, {way}" for way in WAYS)
        + " | "
        + " | ".join(f"ROC AUC, {way}" for way in WAYS)
        + " |",
        "|---|---|---|" + "---|" * (2 * len(WAYS)),
    ]
    for month, rows in table.groupby("month", sort=False):
        by_way = rows.set_index("way")
        losses = [f"{by_way.loss[way]:.3f} ± {by_way.loss_reach[way]:.3f}" for way in WAYS]
        areas = [f"{by_way.auc[way]:.3f} ± {by_way.auc_reach[way]:.3f}" for way in WAYS]
        cells = [str(month), f"{by_way.flights.iloc[0]:,}", f"{by_way.late.iloc[0]:.1%}", *losses, *areas]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _write_summary(told: pd.DataFrame) -> list[str]:
    lines = [
        "Log loss, April to December, on the same flights; differences with 95 % intervals over days:",
        "",
    ]
    for better, worse in (
        ("monthly", "once"),
        ("online", "once"),
        ("online", "frozen"),
        ("online", "monthly"),
    ):
        gain, reach = compare(told, better, worse)
        word = "better" if gain > 0 else "worse"
        sure = "" if abs(gain) > reach else ", which may be chance"
        lines.append(f"- {better} is {abs(gain):.4f} ± {reach:.4f} {word} than {worse}{sure}")
    return lines


def _record(settings: Settings, folder: Path, table: pd.DataFrame) -> None:
    """The comparison as a run of its own: curves by month, figure and table."""
    client = MlflowClient(settings.tracking_uri)
    experiment = client.create_experiment("flight-delay-year")
    run = client.create_run(experiment, run_name="trained once, monthly and online")
    for line in table[table["month"] != "all"].to_dict("records"):
        step = pd.Timestamp(f"1 {line['month']} 2013").month
        client.log_metric(run.info.run_id, f"log_loss_{line['way']}", line["loss"], step=step)
        client.log_metric(run.info.run_id, f"roc_auc_{line['way']}", line["auc"], step=step)
    for name in ("year.png", "year.csv", "year.md"):
        client.log_artifact(run.info.run_id, str(folder / name))
    client.set_terminated(run.info.run_id)


_START: Final = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _START:5.0f} s  {text}", flush=True)


def _say_step(text: str) -> None:
    if text.startswith("snapshot"):
        _say(f"  {text}")


if __name__ == "__main__":
    sys.exit(main())
