"""The disk's and S3's doors for the prediction log: whole files appear, or none."""

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from registry.errors import AccessDeniedError, DataError, GreenroomError, UnreachableError
from registry.sources.s3 import connect_s3, translating_s3_errors

from .places import check_log

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["BucketStorage", "FolderStorage", "Storage", "open_storage"]

STALE_S: Final = 3600.0
"""A file that has been half-written for so long was left by a writer that is gone."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Storage(Protocol):
    """Keeps files by name, with ``/`` between a name's parts."""

    text: str
    """What messages call it."""

    def write(self, name: str, content: bytes) -> None:
        """Makes a file appear, whole; the same content again is fine.

        Raises:
            AccessDeniedError: No permission, or no such bucket.
            UnreachableError: No room or no answer; trying again may help.
        """

    def read(self, name: str) -> bytes | None:
        """A file's content; None if it is gone."""

    def list_folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, in order; none if there is no such folder."""

    def list_files(self, folder: str) -> list[str]:
        """Names of the files in a folder, in order; none if there is no such folder."""

    def delete(self, name: str) -> None:
        """Removes a file; one that is gone already is fine.

        Raises:
            AccessDeniedError: No permission.
            UnreachableError: No answer.
        """

    def sweep(self, folder: str) -> None:
        """Removes what writers that are gone left half-written."""


def open_storage(log: str) -> Storage:
    """Opens a log's storage by its address: a folder, or ``s3://bucket/prefix``. Touches nothing.

    Raises:
        UsageError: It is neither.
    """
    address = check_log(log)
    if not address.startswith("s3://"):
        return FolderStorage(Path(address), text=log)
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return BucketStorage(bucket, prefix, text=address)


class FolderStorage:
    """Files below a folder, written beside and renamed."""

    def __init__(self, root: Path, *, text: str) -> None:
        self._root = root
        self.text = text

    def write(self, name: str, content: bytes) -> None:
        """See :class:`Storage`; survives a power cut too."""
        path = self._root / name
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with self._translating(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with draft.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(path)
            except OSError:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
                raise

    def read(self, name: str) -> bytes | None:
        """See :class:`Storage`."""
        with self._translating(name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def list_folders(self, folder: str) -> list[str]:
        """See :class:`Storage`."""
        return [name for name, is_folder in self._scan(folder) if is_folder]

    def list_files(self, folder: str) -> list[str]:
        """See :class:`Storage`."""
        return [name for name, is_folder in self._scan(folder) if not is_folder]

    def delete(self, name: str) -> None:
        """See :class:`Storage`."""
        with self._translating(name):
            (self._root / name).unlink(missing_ok=True)

    def sweep(self, folder: str) -> None:
        """See :class:`Storage`."""
        for path in (self._root / folder).rglob(".part-*.tmp"):
            with suppress(OSError):  # another one swept it
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink()

    def _scan(self, folder: str) -> list[tuple[str, bool]]:
        with self._translating(folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    return sorted((entry.name, entry.is_dir()) for entry in entries)
            except FileNotFoundError:
                return []

    @contextmanager
    def _translating(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._word(error, name) from error

    def _word(self, error: OSError, name: str) -> GreenroomError:
        what = f"The prediction log {self.text}: {error.strerror} ({name})."
        if error.errno in DENIED:
            return AccessDeniedError(what, hint="Check who may write and read there.")
        if error.errno in {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
            return DataError(what, hint="Name a folder.")
        return UnreachableError(what)


class BucketStorage:
    """Objects below a prefix; one PUT each."""

    def __init__(self, bucket: str, prefix: str, *, text: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: S3Client | None = None
        self.text = text

    def write(self, name: str, content: bytes) -> None:
        """See :class:`Storage`."""
        with translating_s3_errors(self.text):
            self._connect().put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def read(self, name: str) -> bytes | None:
        """See :class:`Storage`."""
        try:
            with translating_s3_errors(f"{self.text}/{name}"):
                body = self._connect().get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"]
                return body.read()
        except DataError:
            return None

    def list_folders(self, folder: str) -> list[str]:
        """See :class:`Storage`."""
        return sorted(name.rstrip("/") for name in self._list(folder, "CommonPrefixes", "Prefix"))

    def list_files(self, folder: str) -> list[str]:
        """See :class:`Storage`."""
        return sorted(self._list(folder, "Contents", "Key"))

    def delete(self, name: str) -> None:
        """See :class:`Storage`."""
        with translating_s3_errors(self.text):
            self._connect().delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def _list(self, folder: str, kind: str, key: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        with translating_s3_errors(self.text):
            pages: Iterable[Mapping[str, Any]] = (
                self._connect()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
            )
            return [item[key].removeprefix(prefix) for page in pages for item in page.get(kind, [])]

    def sweep(self, folder: str) -> None:
        """S3 shows whole objects only."""

    def _connect(self) -> "S3Client":
        if self._client is None:
            self._client = connect_s3()
        return self._client
