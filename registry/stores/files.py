"""An artifact as files with sizes, wherever it lies: what every place offers, and the local place."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from registry.errors import AccessDeniedError, ArtifactError, NotFoundError

__all__ = [
    "Files",
    "LocalFiles",
    "check_path",
    "check_sizes",
    "find_local_folder",
    "list_folder",
    "place_file",
]


class Files(Protocol):
    """The files below one artifact address."""

    def list_sizes(self) -> Mapping[str, int]:
        """Relative POSIX path → size in bytes, recursively; empty if there is nothing."""

    def fetch_all(self, folder: Path) -> None:
        """Downloads everything into an existing folder.

        Raises:
            ArtifactError: A file could not be had whole.
        """

    def fetch_one(self, path: str, folder: Path) -> Path:
        """Downloads one file to the same relative path below an existing folder; returns where it is.

        Raises:
            NotFoundError: There is no such file.
        """

    def send_all(self, folder: Path) -> None:
        """Uploads a folder's files to the same relative paths; files of these names are replaced.

        Raises:
            AccessDeniedError: The place does not let us write.
            UnreachableError: No answer.
        """


class LocalFiles:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list_sizes(self) -> Mapping[str, int]:
        """See :class:`Files`."""
        return list_folder(self._root)

    def fetch_all(self, folder: Path) -> None:
        """See :class:`Files`."""
        for path in self.list_sizes():
            self.fetch_one(path, folder)

    def fetch_one(self, path: str, folder: Path) -> Path:
        """See :class:`Files`."""
        source = self._root / check_path(path)
        if not source.is_file():
            raise NotFoundError(f"There is no artifact file {path} in {self._root}.")
        target = place_file(folder, path)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise ArtifactError(f"Cannot copy {source}: {error.strerror or error}.") from error
        return target

    def send_all(self, folder: Path) -> None:
        """See :class:`Files`."""
        try:
            shutil.copytree(folder, self._root, dirs_exist_ok=True, copy_function=shutil.copyfile)
        except (OSError, shutil.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise AccessDeniedError(f"Cannot write artifacts to {self._root}: {reason}.") from error


def list_folder(folder: Path) -> dict[str, int]:
    """A folder's files: relative POSIX path → size in bytes; empty if there is no such folder."""
    sizes = {}
    for here, _, names in os.walk(folder):
        for name in names:
            file = Path(here) / name
            sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    return dict(sorted(sizes.items()))


def find_local_folder(uri: str) -> Path | None:
    """The folder that an artifact address means, or None if it is not one of this machine's.

    >>> find_local_folder("file:///models/a%20b").as_posix()
    '/models/a b'
    >>> find_local_folder("s3://bucket/a") is None
    True
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def check_path(path: str) -> str:
    """Returns a relative path as the server gave it, unless it would lead out of the folder.

    Raises:
        ArtifactError: It is absolute, empty or climbs.

    >>> check_path("data/model.skops")
    'data/model.skops'
    """
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or "\x00" in path:
        raise ArtifactError(
            f"The artifact holds a file with the unsafe path {path!r}.", hint="Do not use it."
        )
    return path


def place_file(folder: Path, path: str) -> Path:
    """Where a file goes below a folder; makes the folders between."""
    target = folder / check_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Raises unless a folder holds the files that were listed, whole.

    Raises:
        ArtifactError: A file is missing, or is shorter or longer than listed.
    """
    for path, size in sizes.items():
        file = folder / path
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            raise ArtifactError(
                f"The artifact file {path} did not come whole ({found or 0} of {size} bytes).",
                hint="Try again.",
            )
