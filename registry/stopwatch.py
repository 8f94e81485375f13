"""Opens one model and predicts when told to, saying how long each call took.

Run as ``python -m registry.stopwatch REQUEST.json`` by :mod:`registry.timing`, without the caller's
credentials. Over the socket that the request names come lines, ``one``, ``batch`` or ``memory``; each is
answered by a number (milliseconds, milliseconds, MB).
"""

import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from .prediction import conform

__all__ = ["main"]

KINDS: Final = 50
"""Different rows that one-row calls go through in turn."""

WARM_UP: Final = 3
KB_PER_MB: Final = 1024


def main(argv: list[str]) -> int:
    """Serves one connection, then ends."""
    import mlflow.pyfunc  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    request = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    model = mlflow.pyfunc.load_model(request["model"], suppress_warnings=True)
    frame = pd.read_parquet(request["rows"])
    schema = model.metadata.get_input_schema()
    named = schema.input_names() if schema is not None and schema.has_input_names() else []
    frame = conform(frame[[name for name in named if name in frame] or request["features"]], schema)
    _serve(model, _fill(frame, request["batch_rows"]), frame, request["socket"])
    return 0


def _fill(frame: Any, count: int) -> Any:
    """As many rows as a batch has, the first ones again where there are too few."""
    places = [place % len(frame) for place in range(count)]
    return frame.iloc[places].reset_index(drop=True)


def _serve(model: Any, batch: Any, frame: Any, path: str) -> None:
    ones = cycle([frame.iloc[[place]].reset_index(drop=True) for place in range(min(KINDS, len(frame)))])
    for _ in range(WARM_UP):
        model.predict(next(ones))
        model.predict(batch)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        for word in _read_words(line):
            line.sendall(f"{_measure(word, model, batch, ones)}\n".encode())


def _read_words(line: socket.socket) -> Iterator[str]:
    with line.makefile("r", encoding="ascii") as file:
        for text in file:
            yield text.strip()


def _measure(word: str, model: Any, batch: Any, ones: Iterator[Any]) -> float:
    if word == "memory":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KB_PER_MB
    frame = next(ones) if word == "one" else batch
    start = time.perf_counter()
    model.predict(frame)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
