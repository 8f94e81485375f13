"""Artifacts and their plans on this machine's disk, so that a restart does not need MLflow.

::

    <root>/                           0700, owned by the user that serves
        models/<manifest>/            an artifact, hashed again at every load
        prepared/<manifest and runtime>/       record.json, and plan/ if there is one, hashed again too
        current/<server, model, stage>.json    what was served last, and what must stay
        incoming/                     downloads on their way; renamed once they are whole
        lock                          held by the one server that clears up

Two servers may share it: everything appears by one rename, and who comes second uses what is there.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from registry import ArtifactError, UsageError, compute_manifest

from .target import Target

__all__ = ["ModelCache", "Pointer", "Record"]

ABANDONED_S: Final = 24 * 3600.0
"""A download older than this belongs to a server that died."""
FRESH_S: Final = 600.0
"""What was used so recently is not thrown away: another server may be about to load it."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What was served last: the version, the manifest of its files, and those of all that was loaded."""

    target: Target
    manifest: str
    pinned: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What trying a version out has shown.

    Attributes:
        reason: Why it has a plan, or has none.
        is_warm: It has answered its own input example.
        is_trusted: It runs no code that nobody vouched for.
        plan: Folder of its plan, or None.
    """

    reason: str
    is_warm: bool
    is_trusted: bool
    plan: Path | None = None


class ModelCache:
    """The cache below one folder, which is made if need be.

    Raises:
        UsageError: The folder cannot be made, or belongs to somebody else.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models = root / "models"
        self._prepared = root / "prepared"
        self._current = root / "current"
        self._incoming = root / "incoming"
        try:
            for folder in (root, self._models, self._prepared, self._current, self._incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _claim(root)
        except OSError as error:
            raise UsageError(
                f"The cache folder {root} cannot be used: {error.strerror}.",
                hint="Set GREENROOM_CACHE_DIR to a folder of your own.",
            ) from error
        self._drop_abandoned()

    def find(self, manifest: str) -> Path | None:
        """The artifact with this manifest, hashed just now; a damaged one is removed and not found."""
        folder = self._models / manifest
        if not folder.is_dir():
            return None
        if _has_digest(folder, manifest):
            return folder
        self._remove(folder)
        return None

    def find_record(self, manifest: str, runtime: str) -> Record | None:
        """What trying it out under this runtime has shown; None if unknown, or if the plan is damaged."""
        folder = self._prepared / _name_record(manifest, runtime)
        try:
            document = json.loads((folder / "record.json").read_text("utf-8"))
            digest = document.pop("plan")
            record = Record(**document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._remove(folder)
            return None
        if digest is None:
            return record
        if _has_digest(folder / "plan", digest):
            return replace(record, plan=folder / "plan")
        self._remove(folder)
        return None

    def keep_record(self, manifest: str, runtime: str, record: Record, plan: Path | None) -> Record:
        """Keeps a record, and moves the plan to its place; uses what is there already.

        Raises:
            ArtifactError: The place is taken by something damaged that comes back.
        """
        with self.incoming() as folder:
            folder.mkdir()
            digest = None
            if plan is not None:
                digest = compute_manifest(plan).digest
                plan.rename(folder / "plan")
            document = {**asdict(record), "plan": digest}
            (folder / "record.json").write_text(json.dumps(document), "utf-8")
            place = self._prepared / _name_record(manifest, runtime)
            for _ in range(2):
                with suppress(OSError):  # taken: another server, or an earlier time
                    folder.rename(place)
                if found := self.find_record(manifest, runtime):
                    return found
        raise ArtifactError(f"{place} cannot be replaced.", hint="Remove it by hand.")

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A path for a download; what is still there afterwards is removed."""
        with tempfile.TemporaryDirectory(dir=self._incoming, ignore_cleanup_errors=True) as scratch:
            yield Path(scratch) / "model"

    def keep(self, folder: Path, manifest: str) -> Path:
        """Moves a whole, hashed download to its place; uses the one that is there already.

        Raises:
            ArtifactError: The place is taken by something damaged that comes back.
        """
        place = self._models / manifest
        for _ in range(2):
            try:
                folder.rename(place)
            except OSError:  # taken: another server, or an earlier time
                if found := self.find(manifest):
                    return found
            else:
                return place
        raise ArtifactError(f"{place} cannot be replaced.", hint="Remove it by hand.")

    def read_pointer(self, server: str, model: str, stage: str) -> Pointer | None:
        """What was served last for this server, model and stage; None if unknown or unreadable."""
        try:
            document = json.loads(self._pointer_path(server, model, stage).read_text("utf-8"))
            pinned = tuple(document.get("pinned", ()))
            return Pointer(Target(**document["target"]), document["manifest"], pinned)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write_pointer(self, server: str, model: str, stage: str, pointer: Pointer) -> None:
        """Remembers what is served now, in one step."""
        path = self._pointer_path(server, model, stage)
        with tempfile.NamedTemporaryFile("w", dir=self._incoming, delete=False, encoding="utf-8") as file:
            json.dump({"model": model, "stage": stage, **asdict(pointer)}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)

    def clear_up(self, limit_bytes: int, *, fresh_s: float = FRESH_S) -> int:
        """Throws out what was not used for longest until the rest fits; returns the bytes thrown out.

        What a pointer of any server pins stays, and what was used in the last minutes. Does nothing while
        another server clears up.
        """
        with (self.root / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return 0
            return self._clear_up(limit_bytes, fresh_s)

    def _clear_up(self, limit_bytes: int, fresh_s: float) -> int:
        entries = sorted(
            (path.stat().st_mtime, _measure(path), path)
            for folder in (self._models, self._prepared)
            for path in folder.iterdir()
        )
        excess = sum(size for _, size, _ in entries) - limit_bytes
        pinned, thrown_out = self._list_pinned(), 0
        for used_s, size, path in entries:
            if excess <= thrown_out:
                break
            if path.name.partition(".")[0] in pinned or time.time() - used_s < fresh_s:
                continue
            self._remove(path)
            thrown_out += size
        return thrown_out

    def _list_pinned(self) -> set[str]:
        pinned: set[str] = set()
        for path in self._current.iterdir():
            with suppress(OSError, ValueError, KeyError, TypeError):
                document = json.loads(path.read_text("utf-8"))
                pinned |= {document["manifest"], *document.get("pinned", ())}
        return pinned

    def _pointer_path(self, server: str, model: str, stage: str) -> Path:
        key = hashlib.sha256(f"{server}\0{model}\0{stage}".encode()).hexdigest()
        return self._current / f"{key[:32]}.json"

    def _remove(self, folder: Path) -> None:
        """Out of sight by one rename, so that nobody sees half of it."""
        with (
            tempfile.TemporaryDirectory(dir=self._incoming, ignore_cleanup_errors=True) as scratch,
            suppress(OSError),
        ):
            folder.rename(Path(scratch) / "damaged")

    def _drop_abandoned(self) -> None:
        for path in self._incoming.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _claim(root: Path) -> None:
    """What lies in there is loaded, and loading runs code: nobody else may write there."""
    owner = root.stat().st_uid
    if owner != os.getuid():
        raise UsageError(
            f"The cache folder {root} belongs to another user (id {owner}).",
            hint="Set GREENROOM_CACHE_DIR to a folder of your own.",
        )
    root.chmod(0o700)


def _name_record(manifest: str, runtime: str) -> str:
    return f"{manifest}.{runtime[:32]}"


def _has_digest(folder: Path, digest: str) -> bool:
    """Hashes it, and notes that it was used."""
    try:
        if compute_manifest(folder).digest != digest:
            return False
        os.utime(folder if folder.name != "plan" else folder.parent)
    except (ArtifactError, OSError):
        return False
    return True


def _measure(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total
