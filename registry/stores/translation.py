"""What MLflow's library raises, as Greenroom's errors: MLflow's own, its database's, its network's, S3's.

An exception class is looked for only in modules that are loaded: what is not loaded cannot have raised.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from registry.errors import AccessDeniedError, GreenroomError, StoreError, UnreachableError

from .mapping import classify

__all__ = ["translating"]

_FOREIGN: Final = (
    ("mlflow.exceptions", "MlflowException"),
    ("sqlalchemy.exc", "SQLAlchemyError"),
    ("requests.exceptions", "RequestException"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
)


@contextmanager
def translating(deed: str, otherwise: type[GreenroomError] = StoreError) -> Iterator[None]:
    """Turns what MLflow's library raises inside the block into Greenroom's errors.

    Args:
        deed: What the block does, to complete "MLflow refused to …".
        otherwise: The class of a refusal that says nothing more exact.
    """
    try:
        yield
    except _find_classes((*_FOREIGN, ("builtins", "OSError"), ("builtins", "ImportError"))) as error:
        raise _word(error, deed, otherwise) from error


def _find_classes(names: tuple[tuple[str, str], ...]) -> tuple[type[Exception], ...]:
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _word(error: BaseException, deed: str, otherwise: type[GreenroomError]) -> GreenroomError:
    chain = list(_walk(error))
    for link in chain:
        if isinstance(link, _find_classes(_FOREIGN[3:])):
            return _word_s3(link, deed)
    for link in chain:
        if isinstance(link, _find_classes(_FOREIGN[2:3])) or _is_database_silence(link):
            return UnreachableError(f"No answer when asked to {deed}: {_shorten(link)}", hint="Try again.")
    if isinstance(error, ImportError):
        return StoreError(f"To {deed} needs a package that is missing: {error}.", hint="Install it.")
    if isinstance(error, _find_classes(_FOREIGN[:1])):
        return _word_mlflow(error, deed, otherwise)
    return otherwise(f"Cannot {deed}: {_shorten(error)}")


def _word_mlflow(error: Any, deed: str, otherwise: type[GreenroomError]) -> GreenroomError:
    code, text = str(error.error_code), _shorten(error)
    text = text.removeprefix(f"{code}: ")
    is_remote = (
        hasattr(error, "json") or "API request to" in text
    )  # RestException keeps the server's document
    if code == "INTERNAL_ERROR" and not is_remote:  # MLflow's default, when it says nothing more exact
        return otherwise(f"MLflow cannot {deed}: {text}")
    kind = classify(code, None, text)
    if issubclass(kind, UnreachableError):
        return kind(f"MLflow failed to {deed}: {text}", hint="Try again.")
    if issubclass(kind, AccessDeniedError):
        return kind(f"MLflow does not allow you to {deed}: {text}", hint="Check the credentials and rights.")
    return kind(f"MLflow refused to {deed}: {text}")


def _word_s3(error: BaseException, deed: str) -> GreenroomError:
    from registry.sources.s3 import translating_s3_errors  # noqa: PLC0415 - one wording for S3, loaded when it failed

    try:
        with translating_s3_errors(f"Cannot {deed}"):
            raise error
    except GreenroomError as worded:
        return worded


def _is_database_silence(error: BaseException) -> bool:
    return isinstance(error, _find_classes((("sqlalchemy.exc", "OperationalError"),)))


def _walk(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _shorten(error: BaseException) -> str:
    """The first line says it; SQLAlchemy appends the statement with its values."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:300] + "." if lines else f"{type(error).__name__}."
