"""What a job's parts depend on, and how it is recorded beside them: begun, and done.

``_greenroom.begun.json`` is written before the first part, ``_greenroom.json`` after the last: that is the
commit, an output without it is not whole. A later process goes on with what is missing if everything that
the parts depend on is as it was.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from registry import DataError, RefusedError
from serving.runtime import name_runtime

from .order import COMPILED, Part, ScoreOrder
from .storage import OutputStorage

__all__ = ["BEGUN", "DONE", "Begun", "describe_job", "digest_input", "find_begun", "read_done", "restart"]

BEGUN: Final = "_greenroom.begun.json"
DONE: Final = "_greenroom.json"
BEGUN_SCHEMA: Final = "greenroom/scoring-begun/1"
OWN: Final = ("part-", "_quarantine/part-", "_greenroom.")
"""Beginnings of the names that a job writes."""

LIBRARIES: Final = ("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")

WORDS: Final = {
    "model": "the model",
    "version": "the version",
    "manifest": "the version's files",
    "input": "the input files",
    "path": "--engine-path",
    "params": "--params",
    "columns": "the columns the model is given",
    "keep": "--keep",
    "bad_rows": "--bad-rows",
    "contract": "GREENROOM_CONTRACT",
    "batch_rows": "--batch-rows",
    "runtime": "Python and libraries",
}


@dataclass(frozen=True, slots=True)
class Begun:
    """A job as it was begun.

    Attributes:
        about: What its parts depend on, by the keys of :data:`WORDS`.
        schema: Of the output.
        run_id: Its run in MLflow; empty if there is none.
        time: When, RFC 3339 UTC.
    """

    about: Mapping[str, Any]
    schema: str
    run_id: str
    time: str

    @property
    def digest(self) -> str:
        """sha256 of what its parts depend on, and of the output's schema."""
        text = json.dumps([self.about, self.schema], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def dump(self) -> bytes:
        """As a file's content."""
        document = {
            "schema": BEGUN_SCHEMA,
            "about": dict(self.about),
            "output_schema": self.schema,
            "run_id": self.run_id,
            "time": self.time,
        }
        return json.dumps(document).encode()


def digest_input(parts: Sequence[Part]) -> str:
    """sha256 over the files' names, sizes and times of modification (or ETags), and how they are cut."""
    digest = hashlib.sha256()
    for part in parts:
        piece = part.piece
        about = (piece.file.name, piece.file.size, piece.file.stamp, piece.start, piece.stop)
        digest.update(json.dumps(about).encode() + b"\n")
    return digest.hexdigest()


def describe_job(order: ScoreOrder, input_digest: str) -> dict[str, Any]:
    """What a job's parts depend on: also this Python and these libraries, which answers may differ by."""
    return {
        "model": order.model,
        "version": order.target.version,
        "manifest": order.target.manifest,
        "input": input_digest,
        "path": order.path,
        "params": dict(order.params),
        "columns": [[column.name, column.kind] for column in order.columns],
        "keep": list(order.keep),
        "bad_rows": "refuse" if order.refuse_bad else "quarantine",
        "contract": "on" if order.refuse_contract else "off",
        "batch_rows": order.batch_rows,
        "runtime": _name_runtime(order.path),
    }


def _name_runtime(path: str) -> dict[str, str]:
    found = {name: metadata.version(name) for name in LIBRARIES}
    plans = {"plans": name_runtime()} if path == COMPILED else {}
    return {"python": platform.python_version(), "machine": platform.machine(), **found, **plans}


def find_begun(storage: OutputStorage, about: Mapping[str, Any]) -> Begun | None:
    """The job that was begun here, if it is this one; None if none was.

    Raises:
        RefusedError: Another job was begun here.
        DataError: There are files that no job wrote.
    """
    content = storage.read(BEGUN)
    if content is None:
        strange = [name for name in storage.list() if not name.startswith("_greenroom.lock.")]
        if strange:
            raise DataError(
                f"The output {storage.text} is not empty: there is {strange[0]}.", hint="Name a new folder."
            )
        return None
    begun = _parse(content, storage)
    different = [key for key in WORDS if begun.about.get(key) != about.get(key)]
    if different:
        raise RefusedError(
            f"Another job was begun in {storage.text}: {_name(different, begun.about, about)}.",
            hint="Name another output, or begin anew with --restart, which deletes what is there.",
        )
    return begun


def _parse(content: bytes, storage: OutputStorage) -> Begun:
    try:
        found = json.loads(content)
        begun = Begun(found["about"], found["output_schema"], found["run_id"], found["time"])
        known = found["schema"] == BEGUN_SCHEMA
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(f"{BEGUN} in {storage.text} cannot be read.", hint="Begin anew with --restart.")
    return begun


def _name(different: Sequence[str], then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, and how where a person can tell: digests say nothing."""
    told = []
    for key in different:
        one, other = then.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            changed = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
            one, other = ({name: side.get(name) for name in changed} for side in (one, other))
        plain = key not in {"manifest", "input", "columns"}
        told.append(f"{WORDS[key]} ({_say(one)} then, {_say(other)} now)" if plain else WORDS[key])
    return f"{', '.join(told)} {'differs' if len(told) == 1 else 'differ'}"


def _say(value: Any) -> str:
    """Plain words.

    >>> _say({"pandas": "3.1"}), _say(["a", "b"]), _say([])
    ('pandas 3.1', 'a,b', 'none')
    """
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return str(value)


def read_done(storage: OutputStorage) -> dict[str, Any] | None:
    """The record of a finished job; None if none is finished."""
    content = storage.read(DONE)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except ValueError as error:
        raise DataError(
            f"{DONE} in {storage.text} cannot be read.", hint="Begin anew with --restart."
        ) from error
    return found if isinstance(found, dict) else None


def restart(storage: OutputStorage) -> None:
    """Deletes what a job wrote, the commit first, and nothing else; the caller has the lock."""
    names = [name for name in storage.list() if name.startswith(OWN)]
    names = [name for name in names if not name.startswith("_greenroom.lock.")]
    for name in sorted(names, key=lambda name: (name != DONE, name == BEGUN, name)):
        storage.delete(name)
