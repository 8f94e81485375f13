"""Artifacts on this machine's disk, so that a restart does not need MLflow.

::

    <root>/                           0700, owned by the user that serves
        models/<manifest>/            an artifact, hashed again at every load
        current/<server, model, stage>.json    what was served last
        incoming/                     downloads on their way; renamed once they are whole

Two servers may share it: an artifact appears by one rename, and who comes second uses what is there.
Nothing is thrown away yet but abandoned downloads.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from registry import ArtifactError, UsageError, compute_manifest

from .holding import Target

__all__ = ["ModelCache", "Pointer"]

ABANDONED_S: Final = 24 * 3600.0
"""A download older than this belongs to a server that died."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What was served last: the version, and the manifest its files have in the cache."""

    target: Target
    manifest: str


class ModelCache:
    """The cache below one folder, which is made if need be.

    Raises:
        UsageError: The folder cannot be made, or belongs to somebody else.
    """

    def __init__(self, root: Path) -> None:
        self._models = root / "models"
        self._current = root / "current"
        self._incoming = root / "incoming"
        try:
            for folder in (root, self._models, self._current, self._incoming):
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
        with suppress(ArtifactError, OSError):
            if compute_manifest(folder).digest == manifest:
                return folder
        self._remove(folder)
        return None

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
            return Pointer(Target(**document["target"]), document["manifest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_pointer(self, server: str, model: str, stage: str, pointer: Pointer) -> None:
        """Remembers what is served now, in one step."""
        path = self._pointer_path(server, model, stage)
        with tempfile.NamedTemporaryFile("w", dir=self._incoming, delete=False, encoding="utf-8") as file:
            json.dump({"model": model, "stage": stage, **asdict(pointer)}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)

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
