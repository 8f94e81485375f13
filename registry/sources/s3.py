"""S3's door for tables: one object, or all tables under a prefix, through boto3.

Honours ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or else ``MLFLOW_S3_ENDPOINT_URL``; credentials are
those boto3 always takes.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from registry.environment import read_settings
from registry.errors import AccessDeniedError, DataError, GreenroomError, UnreachableError

from .location import Source

if TYPE_CHECKING:
    import pandas as pd
    from types_boto3_s3.client import S3Client

__all__ = ["connect_s3", "read_s3", "translating_s3_errors"]

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60


def read_s3(source: Source) -> "pd.DataFrame":
    """Reads the object, or all tables under the prefix in the order of their keys.

    Raises:
        AccessDeniedError: Wrong or no secret, no permission, or no such bucket.
        DataError: No such object, no table under the prefix, or one that cannot be read.
        UnreachableError: No answer.
    """
    from .files import join_parts, read_part  # noqa: PLC0415 - pandas

    bucket, _, key = source.address.removeprefix("s3://").partition("/")
    with translating_s3_errors(source.text):
        client = connect_s3()
        keys = _list_tables(client, bucket, key, source.text)
        parts = []
        for name in keys:
            text = f"s3://{bucket}/{name}"
            body = client.get_object(Bucket=bucket, Key=name)["Body"].read()
            parts.append((text, read_part(io.BytesIO(body), name, text)))
    return join_parts(parts, source.text)


@contextmanager
def translating_s3_errors(text: str) -> Iterator[None]:
    """Turns what boto3 raises inside the block into Greenroom's errors, worded for ``text``."""
    from boto3.exceptions import Boto3Error  # noqa: PLC0415 - slow import
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise _word(error, text) from error


def _word(error: Exception, text: str) -> GreenroomError:
    from botocore import exceptions  # noqa: PLC0415 - slow import

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return AccessDeniedError(
            f"{text}: no S3 credentials were found.",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.",
        )
    if isinstance(error, exceptions.ClientError):
        return _word_answer(error, text)
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return UnreachableError(f"{text}: the S3 server gives no answer.", hint="Check AWS_ENDPOINT_URL.")
    inner = error.__cause__ or error.__context__
    if isinstance(inner, exceptions.ClientError):  # boto3's transfer errors wrap the answer
        return _word_answer(inner, text)
    return AccessDeniedError(f"{text}: {str(error).rstrip('.')}.")


def _word_answer(error: Any, text: str) -> GreenroomError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    server_error = 500
    if code == "NoSuchBucket":
        return AccessDeniedError(
            f"{text}: the bucket does not exist.", hint="Check its name and the endpoint."
        )
    if code in {"NoSuchKey", "404"}:
        return DataError(f"{text} does not exist.")
    if code in {"SlowDown", "RequestTimeout", "Throttling", "429"} or status >= server_error:
        return UnreachableError(f"{text}: the S3 server is overloaded or failing ({code or status}).")
    return AccessDeniedError(
        f"{text}: S3 refused ({code or status}).",
        hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and rights.",
    )


def connect_s3() -> "S3Client":
    """A client by the environment; gives up after two more tries."""
    import boto3  # noqa: PLC0415 - slow import
    from botocore.config import Config  # noqa: PLC0415

    settings = read_settings()
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"max_attempts": 2, "mode": "standard"},
    )
    return boto3.session.Session().client("s3", endpoint_url=settings.s3_endpoint_url, config=config)


def _list_tables(client: "S3Client", bucket: str, key: str, text: str) -> list[str]:
    from .files import is_table  # noqa: PLC0415 - pandas

    if key and not key.endswith("/") and is_table(key.rpartition("/")[2]):
        return [key]
    prefix = f"{key.rstrip('/')}/" if key else ""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    tables = sorted(name for name in keys if is_table(name.rpartition("/")[2]))
    if not tables:
        raise DataError(
            f"{text} holds no CSV or Parquet object.", hint="A single object must end in .csv or .parquet."
        )
    return tables
