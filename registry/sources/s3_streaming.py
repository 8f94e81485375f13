"""S3's door for tables that are read piece by piece: objects listed, and read by ranges."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from registry.errors import DataError

from .files import is_table
from .location import Source
from .pieces import SourceFile
from .s3 import connect_s3, translating_s3_errors

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = ["list_objects", "open_object"]

BUFFER_BYTES: Final = 4 << 20
PRECONDITION_FAILED: Final = "PreconditionFailed"


def list_objects(source: Source) -> list[SourceFile]:
    """The tables under a prefix, or the one object, in the order of their keys.

    Raises:
        AccessDeniedError: Wrong or no secret, no permission, or no such bucket.
        DataError: No such object, or no table under the prefix.
        UnreachableError: No answer.
    """
    bucket, _, key = source.address.removeprefix("s3://").partition("/")
    with translating_s3_errors(source.text):
        client = connect_s3()
        if is_table(key.rpartition("/")[2]):
            head = client.head_object(Bucket=bucket, Key=key)
            return [_describe(bucket, key, key.rpartition("/")[2], head["ContentLength"], head["ETag"])]
        prefix = f"{key.rstrip('/')}/" if key else ""
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [
            _describe(bucket, item["Key"], item["Key"].removeprefix(prefix), item["Size"], item["ETag"])
            for page in pages
            for item in page.get("Contents", [])
            if is_table(item["Key"].rpartition("/")[2])
        ]
    if not found:
        raise DataError(
            f"{source.text} holds no CSV or Parquet object.",
            hint="A single object must end in .csv or .parquet.",
        )
    return sorted(found, key=lambda file: file.name)


def _describe(bucket: str, key: str, name: str, size: int, tag: str) -> SourceFile:
    return SourceFile(name, f"s3://{bucket}/{key}", size, tag.strip('"'))


@contextmanager
def open_object(file: SourceFile) -> Iterator[BinaryIO]:
    """Opens an object as a file that can be read anywhere.

    Raises:
        DataError: It is gone, or another one than was listed.
        AccessDeniedError: S3 refused.
        UnreachableError: S3 gives no answer.
    """
    with translating_s3_errors(file.address):
        raw = _ObjectReader(connect_s3(), file)
        yield cast("BinaryIO", io.BufferedReader(raw, BUFFER_BYTES))


class _ObjectReader(io.RawIOBase):
    """Reads ranges of one object, and of none that replaced it."""

    def __init__(self, client: "S3Client", file: SourceFile) -> None:
        super().__init__()
        self._client = client
        self._file = file
        self._bucket, _, self._key = file.address.removeprefix("s3://").partition("/")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._file.size)
        if stop <= self._at:
            return 0
        content = self._get(self._at, stop)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _get(self, start: int, stop: int) -> bytes:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - slow import

        try:
            answer = self._client.get_object(
                Bucket=self._bucket,
                Key=self._key,
                Range=f"bytes={start}-{stop - 1}",
                IfMatch=f'"{self._file.stamp}"',
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {PRECONDITION_FAILED, "412"}:
                raise DataError(
                    f"{self._file.name} has changed since the job began.", hint="Begin again with --restart."
                ) from error
            raise
        return answer["Body"].read()
