"""Checks, before a server starts, that the place where it shall keep artifacts takes them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .environment import read_server_settings
from .errors import AccessDeniedError
from .stores.files import find_local_folder

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = ["check_artifact_root"]

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 20


def check_artifact_root(uri: str) -> None:
    """Returns if artifacts can be kept there; other places than folders and S3 are not looked at.

    Args:
        uri: A folder, ``file://…`` or ``s3://bucket/prefix``.

    Raises:
        AccessDeniedError: The bucket does not exist, the secret is wrong or missing, or the folder cannot be
            written to.
        UnreachableError: S3 does not answer.
    """
    folder = find_local_folder(uri)
    if folder is not None:
        _check_folder(folder)
    elif uri.startswith("s3://"):
        _check_bucket(uri)


def _check_folder(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise AccessDeniedError(
            f"Artifacts cannot be kept in {folder}: {place} is a file.", hint="Name a folder."
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise AccessDeniedError(
            f"Artifacts cannot be kept in {folder}: you may not write to {place}.",
            hint="Name another folder.",
        )


def _check_bucket(uri: str) -> None:
    from .sources.s3 import translating_s3_errors  # noqa: PLC0415 - only for S3

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    with translating_s3_errors(uri):
        _connect().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def _connect() -> "S3Client":
    """As MLflow's server connects: ``MLFLOW_S3_ENDPOINT_URL`` first, else what boto3 finds."""
    import boto3  # noqa: PLC0415 - slow import
    from botocore.config import Config  # noqa: PLC0415 - slow import

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"max_attempts": 2, "mode": "standard"},
    )
    endpoint = read_server_settings().s3_endpoint_url
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
