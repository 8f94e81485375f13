"""Where a model comes from: the code's commit, the machine's libraries, the time and memory it took."""

import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = ["Commit", "Stopwatch", "list_versions", "measure_peak_memory_mb", "read_commit"]

GIT_TIMEOUT_S: Final = 10
_LIBRARIES: Final = ("mlflow", "scikit-learn", "pandas", "numpy", "scipy", "pyarrow", "skops", "greenroom")


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of a folder, and whether files had been changed since."""

    sha: str
    dirty: bool
    branch: str = ""


@dataclass(slots=True)
class Stopwatch:
    """Collects seconds per step."""

    durations_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Adds what the block takes to the step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.durations_s[step] = self.durations_s.get(step, 0.0) + time.perf_counter() - start


def read_commit(folder: Path) -> Commit | None:
    """The commit of the folder's git tree; None without git, tree or commit."""
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    if status is None:
        return None
    heads = dict(line[2:].split(" ", 1) for line in status.splitlines() if line.startswith("# branch."))
    sha = heads.get("branch.oid", "(initial)")
    if sha == "(initial)":
        return None
    dirty = any(not line.startswith("#") for line in status.splitlines())
    return Commit(sha, dirty, heads.get("branch.head", ""))


def list_versions() -> dict[str, str]:
    """Versions of Python and the libraries that decide what a model computes."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def measure_peak_memory_mb() -> float:
    """The most memory this process ever held, in MB (10**6 bytes); 0.0 where the system does not say."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ModuleNotFoundError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024) / 1e6


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where the user has it
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
