"""Lets a model answer in a process of its own that has no credentials, and says whether it did."""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .errors import ArtifactError
from .nursery import ForkedProcess, fork_answer, prepare_nursery

__all__ = ["Answers", "find_misfits", "list_environment", "prepare_models", "run_model"]

PASSED_ON: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SYSTEMROOT",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
)
"""Environment variables a judged model gets; no secret is among them."""

DEFAULT_TIMEOUT_S: Final = 600.0
FIXED: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRACKING_URI": "sqlite://",
    "GREENROOM_CONTRACT": "off",
    "GREENROOM_GUARD": "off",
}
"""What it gets besides. Models are compared on all rows, also on ones that a contract or a guard would
refuse: the newest may be beyond what a holder's contract knows."""
POLL_S: Final = 0.02
MAX_OUTPUT: Final = 4_000
"""Bytes of what a model printed that are looked at for its last line."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model did.

    Attributes:
        load_s: Seconds to load.
        has_example: Whether it carries an input example (and answered it).
        rows: Parquet file of its answers to the rows, normalised; None if no rows were asked.
        rows_error: Why it has no answers to the rows, if it was asked and failed.
        predict_s: Seconds to answer the rows; None if none were asked.
    """

    load_s: float
    has_example: bool
    rows: Path | None = None
    rows_error: str | None = None
    predict_s: float | None = None


def run_model(
    model: Path,
    *,
    scratch: Path,
    rows: Path | None = None,
    features: Sequence[str] = (),
    task: str = "",
    classes: Sequence[Any] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    stop: threading.Event | None = None,
) -> Answers:
    """Loads a model in a subprocess, lets it answer its own input example and, if given, rows.

    Args:
        model: The artifact's folder.
        scratch: Folder for the exchange; the caller removes it.
        rows: Parquet file of rows.
        features: Its columns to ask with.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: The classes in order.
        timeout_s: Seconds until it is given up, together with every process it started.
        stop: When set, it is given up at once (Ctrl-C reaches only the thread that waits for this one).

    Raises:
        ArtifactError: It does not load, does not answer its example, or takes too long.
    """
    place = Path(tempfile.mkdtemp(dir=scratch))
    request = {
        "model": str(model),
        "rows": str(rows) if rows else None,
        "features": list(features),
        "task": task,
        "classes": list(classes),
        "answers": str(place / "answers.parquet"),
        "result": str(place / "result.json"),
    }
    (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
    result = _run(place, timeout_s, stop or threading.Event())
    if "error" in result:
        raise ArtifactError(f"The model does not answer: {result['error']}")
    return Answers(
        load_s=result["load_s"],
        has_example=result["example"],
        rows=place / "answers.parquet" if rows and "rows_error" not in result else None,
        rows_error=result.get("rows_error"),
        predict_s=result.get("predict_s"),
    )


def _run(place: Path, timeout_s: float, stop: threading.Event) -> dict[str, Any]:
    (place / "output").touch()
    process = fork_answer(place / "request.json", env=list_environment(), folder=place)
    try:
        exit_code = _wait(process, timeout_s, stop)
    finally:
        process.kill()
    result = place / "result.json"
    if not result.exists():
        text = (place / "output").read_bytes()[-MAX_OUTPUT:].decode(errors="replace")
        lines = text.strip().splitlines() or ["no message"]
        raise ArtifactError(f"The model's process ended with code {exit_code}: {lines[-1][:300]}")
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return answer


def prepare_models() -> None:
    """Lets the imports that every model needs begin now, on another core."""
    prepare_nursery(list_environment())


def list_environment() -> dict[str, str]:
    """What a judged model's process gets to see of the environment: no credentials."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed_on | FIXED


def _wait(process: ForkedProcess, timeout_s: float, stop: threading.Event) -> int:
    deadline = time.monotonic() + timeout_s
    while True:
        exit_code = process.poll()
        if exit_code is not None:
            return exit_code
        if stop.wait(POLL_S):
            raise ArtifactError("It was interrupted.")
        if time.monotonic() > deadline:
            raise ArtifactError(f"The model did not answer within {timeout_s:.0f} s.")


def find_misfits(description: Mapping[str, Any], requirements: str) -> tuple[str, ...]:
    """What an artifact recorded that this environment does not have (major.minor).

    Args:
        description: Its ``MLmodel``.
        requirements: Its ``requirements.txt``, pinned lines only count.

    Returns:
        Sentences; empty if it fits.
    """
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 20 ms, rarely needed

    misfits = []
    python = str(description["flavors"]["python_function"].get("python_version", ""))
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python and _major_minor(python) != here:
        misfits.append(f"it was made with Python {python}, this is {here}")
    for line in requirements.splitlines():
        name, _, wanted = line.split(";")[0].strip().partition("==")
        if not (name.strip() and wanted):
            continue
        try:
            found = version(name.split("[")[0].strip())
        except PackageNotFoundError:
            misfits.append(f"it needs {name}, which is not installed here")
            continue
        if _major_minor(found) != _major_minor(wanted.strip()):
            misfits.append(f"it was made with {name} {wanted.strip()}, here is {found}")
    return tuple(misfits)


def _major_minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
