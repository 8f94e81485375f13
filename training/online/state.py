"""What a stream is at a tick: all that it takes to go on exactly as if nothing had happened, as one file.

The file is a plain zip: the pipeline (skops, or a pickle where skops cannot), tables as Parquet, else JSON.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import DataError

from .events import plain_texts
from .learner import Learner
from .quality import Outcomes, Reading
from .source import Bookmark

__all__ = ["Pending", "Point", "StreamState", "read_state", "write_state"]

FORMAT: Final = 1
TRUSTED: Final = ("sklearn.", "numpy.", "scipy.")
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Equal states make equal files: a zip's smallest date."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Events that were scored and whose truth is awaited.

    Attributes:
        keys: Text, shape (k,).
        times: Their own time, nanoseconds, shape (k,).
        said: Their scores, shape (k, width); NaN: they came before the first model.
    """

    keys: NDArray[Any]
    times: NDArray[np.int64]
    said: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the curves: figures of the window when so many truths were known."""

    known: int
    moment: int
    figures: dict[str, Reading]


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream at the end of a tick.

    Attributes:
        number: Of the snapshot, from 1; 0 before the first.
        position: The last tick, nanoseconds.
        scored: Events scored.
        learned: Events learned from, the warm-up among them.
        known: Truths of scored events that arrived.
        counted: Of these, how many the newest point of the curves had seen.
        since: Events learned from since the snapshot before.
        due: The tick at which a snapshot by time is due.
        learner: The model.
        bookmark: What of the source came already.
        pending: What was scored and waits for its truth.
        window: The newest outcomes.
        recent: Rows learned from last, with ``TRUTH``, ``MOMENT`` and ``GROUP``.
        held: Held-out rows whose truth arrived, likewise.
        points: The curves so far.
        scores: Outcomes since the snapshot before: key, times, what was said, truth, whether held out.
    """

    number: int
    position: int
    scored: int
    learned: int
    known: int
    counted: int
    since: int
    due: int
    learner: Learner
    bookmark: Bookmark
    pending: Pending
    window: Outcomes
    recent: pd.DataFrame = field(repr=False)
    held: pd.DataFrame = field(repr=False)
    points: tuple[Point, ...] = field(repr=False)
    scores: pd.DataFrame = field(repr=False)


_NUMBERS: Final = ("number", "position", "scored", "learned", "known", "counted", "since", "due")


def write_state(state: StreamState) -> tuple[bytes, str]:
    """The state as a file, and its sha256."""
    name, pipeline = _write_pipeline(state.learner.pipeline)
    head = {key: getattr(state, key) for key in _NUMBERS}
    head |= {
        "format": FORMAT,
        "task": state.learner.task,
        "classes": list(state.learner.classes),
        "bookmark": {"cuts": list(state.bookmark.cuts), "digest": state.bookmark.digest},
        "points": [
            [one.known, one.moment, {key: [r.value, r.low, r.high] for key, r in one.figures.items()}]
            for one in state.points
        ],
    }
    files = {
        name: pipeline,
        "state.json": json.dumps(head, ensure_ascii=False).encode(),
        "seen.parquet": _to_parquet(pd.DataFrame({"key": state.bookmark.keys, "time": state.bookmark.times})),
        "pending.parquet": _to_parquet(_frame_pending(state.pending)),
        "window.parquet": _to_parquet(_frame_window(state.window)),
        "recent.parquet": _to_parquet(state.recent),
        "held.parquet": _to_parquet(state.held),
        "scores.parquet": _to_parquet(state.scores),
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, EPOCH), content)
    content = target.getvalue()
    return content, hashlib.sha256(content).hexdigest()


def read_state(content: bytes, sha256: str) -> StreamState:
    """Reads a state back.

    Raises:
        DataError: It is not the file that was kept.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            "The kept state of the stream is not the one that was written (its sha256 differs).",
            hint="To begin again: online.stream = a new name.",
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(files["state.json"])
    learner = Learner(_read_pipeline(files), head["task"], tuple(head["classes"]))
    seen = _from_parquet(files["seen.parquet"])
    pending, window = _from_parquet(files["pending.parquet"]), _from_parquet(files["window.parquet"])
    return StreamState(
        **{key: int(head[key]) for key in _NUMBERS},
        learner=learner,
        bookmark=Bookmark(
            cuts=tuple(head["bookmark"]["cuts"]),
            digest=head["bookmark"]["digest"],
            keys=_to_objects(seen["key"]),
            times=seen["time"].to_numpy(dtype=np.int64),
        ),
        pending=Pending(
            keys=_to_objects(pending.pop("key")),
            times=pending.pop("time").to_numpy(dtype=np.int64),
            said=pending.to_numpy(dtype=np.float64).reshape(len(pending), learner.width),
        ),
        window=Outcomes(
            groups=_to_objects(window.pop("group")),
            truth=window.pop("truth").to_numpy(dtype=np.float64),
            said=window.to_numpy(dtype=np.float64).reshape(len(window), learner.width),
        ),
        recent=_from_parquet(files["recent.parquet"]),
        held=_from_parquet(files["held.parquet"]),
        scores=_from_parquet(files["scores.parquet"]),
        points=tuple(
            Point(known, moment, {key: Reading(*values) for key, values in figures.items()})
            for known, moment, figures in head["points"]
        ),
    )


def _write_pipeline(pipeline: Any) -> tuple[str, bytes]:
    import skops.io  # noqa: PLC0415 - slow import
    from skops.io.exceptions import UnsupportedTypeException  # noqa: PLC0415

    try:
        content = skops.io.dumps(pipeline)
        if all(name.startswith(TRUSTED) for name in skops.io.get_untrusted_types(data=content)):
            return "pipeline.skops", content
    except (UnsupportedTypeException, TypeError, NotImplementedError):
        pass
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - rarely needed

    return "pipeline.pkl", cloudpickle.dumps(pipeline)


def _read_pipeline(files: dict[str, bytes]) -> Any:
    """The stream's own file, checked against the digest in its journal."""
    if "pipeline.pkl" in files:
        import cloudpickle  # noqa: PLC0415 - rarely needed

        return cloudpickle.loads(files["pipeline.pkl"])
    from skops.io import get_untrusted_types, loads  # noqa: PLC0415 - slow import

    types = get_untrusted_types(data=files["pipeline.skops"])
    if not all(name.startswith(TRUSTED) for name in types):
        raise DataError("The kept state holds types from outside scikit-learn, NumPy and SciPy.")
    return loads(files["pipeline.skops"], trusted=types)


def _frame_pending(pending: Pending) -> pd.DataFrame:
    frame = pd.DataFrame({"key": pending.keys, "time": pending.times})
    return frame.join(pd.DataFrame({str(place): column for place, column in enumerate(pending.said.T)}))


def _frame_window(window: Outcomes) -> pd.DataFrame:
    frame = pd.DataFrame({"group": window.groups, "truth": window.truth})
    return frame.join(pd.DataFrame({str(place): column for place, column in enumerate(window.said.T)}))


def _to_objects(column: "pd.Series[Any]") -> NDArray[Any]:
    return np.asarray(column.tolist(), dtype=object)


def _to_parquet(frame: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target, index=False)
    return target.getvalue()


def _from_parquet(content: bytes) -> pd.DataFrame:
    return plain_texts(pd.read_parquet(io.BytesIO(content)))
