"""Reads job files and ``--set`` overrides, and words every mistake: file, key, what is wrong."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from registry import SystemClock, UsageError

from .job import Job, JobSpec
from .window import resolve_window

__all__ = ["apply_overrides", "check_spec", "guess", "read_job"]


def read_job(path: str | Path, overrides: Sequence[str] = (), *, now: datetime | None = None) -> Job:
    """Reads a job file.

    Args:
        path: The TOML file.
        overrides: ``key.sub=value`` each; the value is TOML, a bare word is text.
        now: What relative moments of ``[split]`` are relative to; the present time if None.

    Raises:
        UsageError: No such file, not TOML, an unknown or missing key, a value of the wrong kind.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"The job file {path} does not exist.", hint="train-model takes a TOML file."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The job file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    spec = check_spec(apply_overrides(content, overrides), str(path), now=now)
    return Job(spec, file.absolute().parent, path=file)


def apply_overrides(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the content with each ``key.sub=value`` put in its place.

    Raises:
        UsageError: No ``=``, or a key that leads through something that is no section.

    >>> apply_overrides({"job": {"seed": 0}}, ["job.seed=7", "job.name=flights"])
    {'job': {'seed': 7, 'name': 'flights'}}
    """
    result = _copy(content)
    for override in overrides:
        key, equals, value = override.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise UsageError(
                f"--set {override}: write it as key.sub=value.", hint="For example: --set job.seed=7."
            )
        section = result
        for part in parts[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UsageError(f"--set {override}: {part!r} is a value, not a section.")
        section[parts[-1]] = _parse_value(value)
    return result


def check_spec(content: Mapping[str, Any], where: str, *, now: datetime | None = None) -> JobSpec:
    """Checks a job's content.

    Args:
        content: The sections.
        where: What messages call it: the file's name.
        now: What relative moments of ``[split]`` are relative to; the present time if None.

    Raises:
        UsageError: The first mistake, worded.
    """
    content = resolve_window(content, now or SystemClock().now())
    try:
        return JobSpec.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {_word(error.errors()[0], content)}") from error


def guess(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?``, or nothing where no known word is close.

    >>> guess("train_untill", ["train_until", "group"])
    "Did you mean 'train_until'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def _copy(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in content.items()}


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _word(error: ErrorDetails, content: Mapping[str, Any]) -> str:
    path = [str(part) for part in error["loc"]]
    key = ".".join(_shown(error["loc"], content))
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        section = ".".join(path[:-1])
        place = f"[{section}] has no key {path[-1]!r}." if section else f"There is no section [{path[-1]}]."
        return f"{place} {guess(path[-1], known) or 'Known: ' + ', '.join(known) + '.'}"
    if error["type"] == "missing":
        kind = "section" if len(path) == 1 else "key"
        return f"The {kind} {key} is missing."
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:
        return f"{message[:1].upper()}{message[1:]}."
    return f"{key}: {message[:1].lower()}{message[1:]} (got {_short(error['input'])})."


def _shown(loc: Sequence[int | str], content: Mapping[str, Any]) -> list[str]:
    """The part of a location that the user wrote; pydantic adds the branch of a union that it tried."""
    shown: list[str] = []
    value: Any = content
    for part in loc:
        if shown and not isinstance(value, Mapping | list):
            break
        shown.append(str(part))
        if isinstance(value, Mapping):
            value = value.get(str(part), {})
        elif isinstance(part, int) and part < len(value):
            value = value[part]
    return shown


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = JobSpec
    for part in path:
        inner = _find_model(model.model_fields[part].annotation) if part in model.model_fields else model
        model = inner or model
    return sorted(model.model_fields)


def _find_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType, list}:
        return next((found for inner in get_args(annotation) if (found := _find_model(inner))), None)
    return None


def _short(value: object) -> str:
    limit = 60
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
