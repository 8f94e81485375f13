"""The doors for what a batch writes: a folder or S3 objects; a file appears whole, or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from registry import (
    AccessDeniedError,
    DataError,
    GreenroomError,
    UsageError,
    connect_s3,
    translating_s3_errors,
)

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = ["BucketStorage", "FolderStorage", "OutputStorage", "open_output"]

INCOMING: Final = "_incoming"
"""Where files are written before they are renamed; readers of Parquet folders pass over it."""
TAIL_BYTES: Final = 1 << 18
"""Holds the footer of any part: schema, row groups, and the report."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class OutputStorage(Protocol):
    """Keeps files by name, with ``/`` between a name's parts. Every method raises GreenroomErrors only."""

    text: str
    """What messages call it."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""

    def read_metadata(self, name: str) -> Any:
        """A Parquet file's metadata; None if there is none, or it is none."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file that must not be there yet; of any number who try, one gets True."""

    def write(self, name: str, content: bytes) -> None:
        """Makes a file, or replaces it."""

    def drafting(self) -> AbstractContextManager[Path]:
        """A path for a draft while the block lasts; the folder around it is gone afterwards."""

    def publish(self, draft: Path, name: str) -> None:
        """Makes a draft a file, or puts it in the place of one."""

    def delete(self, name: str) -> None:
        """Idempotent."""

    def list(self, beginning: str = "") -> list[str]:
        """Every name that begins so, sorted, drafts aside; empty if nothing is there."""

    def sweep(self) -> None:
        """Removes drafts that writers who are gone left behind. Only for who has the lock."""


def open_output(text: str) -> OutputStorage:
    """Opens an output by its address: a folder or ``s3://bucket/prefix``. Touches nothing.

    Raises:
        UsageError: It is neither.
    """
    if text.startswith("s3://"):
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        if not bucket or not prefix.strip("/"):
            raise UsageError(f"{text!r} is no place for output.", hint="Write s3://BUCKET/PREFIX.")
        return BucketStorage(bucket, prefix.strip("/"), text=text)
    if text.startswith("file://"):
        return FolderStorage(Path(text.removeprefix("file://")), text=text)
    if "://" in text or not text.strip():
        raise UsageError(f"Output cannot go to {text!r}.", hint="Name a folder or s3://BUCKET/PREFIX.")
    return FolderStorage(Path(text).expanduser().absolute(), text=text)


class FolderStorage:
    """Files below a folder, written beside and renamed; on the disk when a method returns."""

    def __init__(self, root: Path, *, text: str) -> None:
        self._root = root
        self.text = text

    def read(self, name: str) -> bytes | None:
        """See :class:`OutputStorage`."""
        with self._translating():
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def read_metadata(self, name: str) -> Any:
        """See :class:`OutputStorage`."""
        import pyarrow as pa  # noqa: PLC0415 - heavy
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

        try:
            return pq.read_metadata(self._root / name)
        except (FileNotFoundError, pa.ArrowException):
            return None

    def create(self, name: str, content: bytes) -> bool:
        """See :class:`OutputStorage`: ``O_EXCL``."""
        with self._translating():
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                with (self._root / name).open("xb") as file:
                    _write(file, content)
            except FileExistsError:
                return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """See :class:`OutputStorage`."""
        with self.drafting() as draft, self._translating():
            draft.write_bytes(content)
            self.publish(draft, name)

    @contextmanager
    def drafting(self) -> Iterator[Path]:
        """See :class:`OutputStorage`: in a folder beside, on the same disk."""
        with self._translating():
            folder = self._make_folder()
            try:
                yield folder / "draft"
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):  # others write there
                    folder.parent.rmdir()

    def _make_folder(self) -> Path:
        """Another writer may just be removing the empty folder around it."""
        while True:
            (self._root / INCOMING).mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                return Path(tempfile.mkdtemp(dir=self._root / INCOMING))

    def publish(self, draft: Path, name: str) -> None:
        """See :class:`OutputStorage`: one rename, after the content is on the disk."""
        place = self._root / name
        with self._translating():
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(place)
            folder = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def delete(self, name: str) -> None:
        """See :class:`OutputStorage`."""
        with self._translating():
            (self._root / name).unlink(missing_ok=True)

    def list(self, beginning: str = "") -> list[str]:
        """See :class:`OutputStorage`."""
        with self._translating():
            if not self._root.exists():
                return []
            if not self._root.is_dir():
                raise DataError(f"{self.text} is a file.", hint="Name a folder for the output.")
            look = self._root.glob(f"{beginning}*") if beginning else self._root.rglob("*")
            found = [path for path in look if path.is_file()]
            names = [path.relative_to(self._root).as_posix() for path in found]
        return sorted(name for name in names if not name.startswith(f"{INCOMING}/"))

    def sweep(self) -> None:
        """See :class:`OutputStorage`."""
        shutil.rmtree(self._root / INCOMING, ignore_errors=True)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._word(error) from error

    def _word(self, error: OSError) -> GreenroomError:
        what = f"The output {self.text} cannot be written: {error.strerror or error}."
        if error.errno in DENIED:
            return AccessDeniedError(what, hint="Check who may write there.")
        if error.errno in FULL:
            return DataError(what, hint="Make room; the same command goes on with what is missing.")
        return DataError(what)


class BucketStorage:
    """Objects below a prefix; one PUT each, which S3 shows whole or not at all."""

    def __init__(self, bucket: str, prefix: str, *, text: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/"
        self._opened: S3Client | None = None
        self.text = text.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """See :class:`OutputStorage`."""
        try:
            with translating_s3_errors(f"{self.text}/{name}"):
                return self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        except DataError:
            return None

    def read_metadata(self, name: str) -> Any:
        """See :class:`OutputStorage`."""
        import pyarrow as pa  # noqa: PLC0415 - heavy
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

        try:
            with translating_s3_errors(f"{self.text}/{name}"):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes=-{TAIL_BYTES}"
                )
                return pq.read_metadata(pa.BufferReader(answer["Body"].read()))
        except (DataError, pa.ArrowException):
            return None

    def create(self, name: str, content: bytes) -> bool:
        """See :class:`OutputStorage`: a PUT with ``If-None-Match: *``."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - slow import

        with translating_s3_errors(self.text):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*"
                )
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code")) in TAKEN:
                    return False
                raise
        return True

    def write(self, name: str, content: bytes) -> None:
        """See :class:`OutputStorage`."""
        with translating_s3_errors(self.text):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    @contextmanager
    def drafting(self) -> Iterator[Path]:
        """See :class:`OutputStorage`: on this machine's disk."""
        with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
            try:
                yield Path(folder) / "draft"
            except OSError as error:
                raise DataError(
                    f"A part of {self.text} cannot be written on this machine: {error.strerror or error}.",
                    hint="Make room, or set TMPDIR; the same command goes on with what is missing.",
                ) from error

    def publish(self, draft: Path, name: str) -> None:
        """See :class:`OutputStorage`."""
        with translating_s3_errors(self.text), draft.open("rb") as file:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=file)

    def delete(self, name: str) -> None:
        """See :class:`OutputStorage`."""
        with translating_s3_errors(self.text):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def list(self, beginning: str = "") -> list[str]:
        """See :class:`OutputStorage`."""
        with translating_s3_errors(self.text):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + beginning
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def sweep(self) -> None:
        """S3 keeps no drafts."""

    @property
    def _client(self) -> "S3Client":
        if self._opened is None:
            self._opened = connect_s3()
        return self._opened


def _write(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
