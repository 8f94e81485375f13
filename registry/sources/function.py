"""The door to the user's own code: a Python function that returns a frame."""

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from registry.errors import DataError, UsageError

from .location import Source

__all__ = ["call_function"]


def call_function(source: Source) -> pd.DataFrame:
    """Calls the function with the source's args and returns its frame.

    Raises:
        DataError: File, module or function is missing, or it returns no frame.
        UsageError: It does not take these arguments.
    """
    home, _, name = source.address.rpartition(":")
    module = _load_file(Path(home), source.text) if home.endswith(".py") else _load_module(home, source.text)
    function = getattr(module, name, None)
    if not callable(function):
        raise DataError(f"{source.text}: there is no function {name!r}.")
    _check_arguments(function, source)
    frame: Any = function(**source.args)
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{source.text} returned {type(frame).__name__}, not a pandas DataFrame.")
    return frame


def _load_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        raise DataError(f"{text}: the file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(f"job_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DataError(f"{text}: {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_module(name: str, text: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(f"{text}: the module {error.name!r} is not installed.") from error


def _check_arguments(function: Any, source: Source) -> None:
    try:
        inspect.signature(function).bind(**source.args)
    except TypeError as error:
        raise UsageError(f"{source.text} does not take these arguments: {error}.") from error
