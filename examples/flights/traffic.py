"""Passengers asking all the time: real flights sent to the scoring server, and what it answered."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pandas as pd
from flights import load_flights

__all__ = ["Traffic", "take_flights"]

COLUMNS = ["carrier", "origin", "dest", "distance", "scheduled"]
PAUSE_S = 0.02


def take_flights(month: str, count: int) -> pd.DataFrame:
    """The first flights of a month (``2013-04``) that are spread over its days, as the schedule knew them."""
    flights = load_flights()
    month_flights = flights[flights["scheduled"].dt.strftime("%Y-%m") == month]
    chosen: pd.DataFrame = month_flights.iloc[:: max(1, len(month_flights) // count)].head(count)
    return chosen.reset_index(drop=True)


@dataclass
class Traffic:
    """Asks in a thread of its own until stopped; counts answers by status and version.

    Attributes:
        port: Of the scoring server.
        bodies: Requests, sent in turn.
        statuses: HTTP status, or the error's name, → how often.
        versions: Version → how often, in the order of first appearance.
    """

    port: int
    bodies: list[bytes]
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @classmethod
    def of_flights(cls, port: int, flights: pd.DataFrame) -> "Traffic":
        """One request for each flight."""
        rows = flights[COLUMNS].assign(scheduled=flights["scheduled"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
        records = rows.to_dict("records")
        return cls(port, [json.dumps({"dataframe_records": [record]}).encode() for record in records])

    def start(self) -> None:
        """Begins to ask."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops after the answer under way."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=30)

    def wait_for_version(self, version: str, timeout_s: float = 30.0) -> float:
        """Waits until an answer names the version; returns the seconds that took."""
        start = time.monotonic()
        while self.versions[version] == 0:
            if time.monotonic() - start > timeout_s:
                raise TimeoutError(f"version {version} did not answer within {timeout_s:.0f} s")
            time.sleep(0.01)
        return time.monotonic() - start

    def ask(self, place: int) -> tuple[int, str, dict[str, object]]:
        """One request; returns status, version and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = self.bodies[place % len(self.bodies)]
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            return response.status, response.getheader("X-Model-Version") or "?", answer
        finally:
            connection.close()

    def _run(self) -> None:
        place = 0
        while not self._stop.is_set():
            try:
                status, version, _ = self.ask(place)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.statuses[type(error).__name__] += 1
            else:
                self.statuses[str(status)] += 1
                self.versions[version] += 1
            place += 1
            time.sleep(PAUSE_S)
