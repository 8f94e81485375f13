"""Artifacts that an MLflow server hands out itself (``mlflow-artifacts:``), over HTTP and without MLflow.

A cut connection leaves no partial file: a file is written beside its name, counted, then renamed.
"""

import posixpath
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from registry.errors import ArtifactError, NotFoundError, UnreachableError

from .files import check_path, list_folder, place_file
from .rest_http import ATTEMPTS, BACKOFF_S, Call, HttpDoor

__all__ = ["ProxiedFiles", "find_proxied_path"]

_ROUTE: Final = "/api/2.0/mlflow-artifacts/artifacts"

_PATIENCE_S: Final = 300.0
"""A server with S3 behind it first moves the whole file between S3 and its own disk, then answers."""


class ProxiedFiles:
    """The files below one path of a server's own artifact store."""

    def __init__(self, door: HttpDoor, root: str) -> None:
        self._door = door
        self._root = root

    def list_sizes(self) -> Mapping[str, int]:
        """See :class:`~registry.stores.files.Files`."""
        return dict(sorted(self._walk("")))

    def fetch_all(self, folder: Path) -> None:
        """See :class:`~registry.stores.files.Files`."""
        for path, size in self.list_sizes().items():
            self._fetch(path, size, place_file(folder, path))

    def fetch_one(self, path: str, folder: Path) -> Path:
        """See :class:`~registry.stores.files.Files`."""
        sizes = {name: size for name, size, is_folder in self._list(posixpath.dirname(path)) if not is_folder}
        if check_path(path) not in sizes:
            raise NotFoundError(f"There is no artifact file {path} in {self._root} at {self._door.uri}.")
        target = place_file(folder, path)
        self._fetch(path, sizes[path], target)
        return target

    def send_all(self, folder: Path) -> None:
        """See :class:`~registry.stores.files.Files`."""
        for path in list_folder(folder):
            route = f"{_ROUTE}/{quote(posixpath.join(self._root, path))}"
            self._door.read(Call("PUT", route, f"upload {path}", file=folder / path, patience_s=_PATIENCE_S))

    def _walk(self, path: str) -> Iterator[tuple[str, int]]:
        for name, size, is_folder in self._list(path):
            if is_folder:
                yield from self._walk(name)
            else:
                yield name, size

    def _list(self, path: str) -> Iterator[tuple[str, int, bool]]:
        where = posixpath.join(self._root, path) if path else self._root
        call = Call("GET", _ROUTE, f"list the artifacts in {where}", query={"path": where})
        for item in self._door.ask(call).get("files", ()):
            name = check_path(posixpath.join(path, item["path"]))
            yield name, int(item.get("file_size", 0)), bool(item.get("is_dir", False))

    def _fetch(self, path: str, size: int, target: Path) -> None:
        route = f"{_ROUTE}/{quote(posixpath.join(self._root, path))}"
        call = Call("GET", route, f"download {path}", patience_s=_PATIENCE_S)
        draft = target.with_name(f"{target.name}.part")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with draft.open("wb") as sink:
                    found = self._door.copy(call, sink)
                break
            except UnreachableError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(BACKOFF_S * 3 ** (attempt - 1))
            finally:
                if not _is_whole(draft, size):
                    draft.unlink(missing_ok=True)
        if found != size:
            raise ArtifactError(
                f"The artifact file {path} did not come whole ({found} of {size} bytes).", hint="Try again."
            )
        draft.rename(target)


def find_proxied_path(uri: str) -> str | None:
    """The path within the tracking server's own artifact store, or None if the address means another place.

    >>> find_proxied_path("mlflow-artifacts:/1/models/m-1/artifacts")
    '1/models/m-1/artifacts'
    >>> find_proxied_path("mlflow-artifacts://other:5000/1") is None
    True
    """
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts" or parts.netloc:
        return None
    return unquote(parts.path).strip("/")


def _is_whole(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size
