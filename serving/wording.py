"""MLflow's refusals, worded without any of the caller's rows.

MLflow puts the rows it could not score, and Python's tracebacks, into its error messages. Here only facts
pass that are known to be safe: names out of the model's own signature, types, counts, positions. Everything
else is said in general words. Patterns are those of MLflow 3.17 (``mlflow.models.utils``,
``mlflow.utils.proto_json_utils``, ``mlflow.pyfunc.scoring_server``); where MLflow words something anew, the
general sentence remains.
"""

import json
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from registry import ArtifactError, GreenroomError

__all__ = ["REQUIRED_FORMAT", "explain_refusal", "locate_error", "word_load_failure"]

REQUIRED_FORMAT: Final = (
    "The body must be a JSON dictionary with exactly one of the input fields "
    "dataframe_split, dataframe_records, instances and inputs, and optionally params."
)
GENERAL: Final = "The input does not fit what the model expects."

_TYPE: Final = r"([A-Za-z]\w*(?:\.\w+)*(?:\[\w+\])?)"


def explain_refusal(error: Exception, *, columns: Sequence[str]) -> str:
    """Says what was wrong with a request.

    Args:
        error: What MLflow raised; its message may hold the caller's rows.
        columns: The model's input columns; no other column is ever named.
    """
    message = str(error)
    for pattern, explain in _RULES:
        if found := re.search(pattern, message, re.DOTALL):
            return explain(error, found, columns)
    return GENERAL


def locate_error(error: BaseException) -> str:
    """Type and place of an exception, for a log: its own words may hold the caller's rows.

    >>> try:
    ...     int("4111 1111 1111 1111")
    ... except ValueError as error:
    ...     "4111" in locate_error(error)
    False
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].name})" if frames else ""
    return f"{type(error).__name__}{place}"


@contextmanager
def word_load_failure() -> Iterator[None]:
    """A model's own code runs inside, and may raise anything; outside there is one thing to learn.

    Raises:
        ArtifactError: It does not load.
    """
    try:
        yield
    except GreenroomError:
        raise
    except (Exception, SystemExit) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise ArtifactError(f"The model does not load: {type(error).__name__}: {first_line}") from error


_Explain: TypeAlias = Callable[[Exception, re.Match[str], Sequence[str]], str]


def _fixed(sentence: str) -> _Explain:
    return lambda _error, _found, _columns: sentence


def _numbers(template: str) -> _Explain:
    """For patterns whose groups match nothing but numbers, brackets and type names."""
    return lambda _error, found, _columns: template.format(*found.groups())


def _explain_json(error: Exception, _found: re.Match[str], _columns: Sequence[str]) -> str:
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        return f"The body is not valid JSON (line {cause.lineno}, column {cause.colno})."
    if isinstance(cause, UnicodeDecodeError):
        return f"The body is not valid UTF-8 (byte {cause.start})."
    return "The body is not valid JSON."


def _explain_missing(_error: Exception, found: re.Match[str], columns: Sequence[str]) -> str:
    missing = [column for column in columns if repr(column) in found[1]]
    return f"Columns are missing that the model needs: {', '.join(missing)}." if missing else GENERAL


def _explain_conversion(_error: Exception, found: re.Match[str], columns: Sequence[str]) -> str:
    column, wanted = found[1], found[2]
    if column not in columns:
        return f"A value cannot be read as {wanted}."
    return f"Column {column}: a value cannot be read as {wanted}."


def _explain_incompatible(_error: Exception, found: re.Match[str], columns: Sequence[str]) -> str:
    column, have, wanted = found[1], found[2], found[3]
    where = f"Column {column}" if column in columns else "A column"
    return f"{where} holds {have}, which cannot safely be converted to {wanted}."


def _explain_contract(_error: Exception, found: re.Match[str], columns: Sequence[str]) -> str:
    """The sentence of a model's own data contract: it knows kinds of values, and none of them."""
    row, column, what, wanted, more = found.groups(default="")
    if not set(column.split(", ")) <= set(columns):
        return GENERAL
    return f"Row {row}, column {column!r}: {what}, where the contract asks for {wanted}.{more}"


_RULES: Final[Sequence[tuple[str, _Explain]]] = (
    (
        (
            r"(?:^|Error: )Row (\d+), column '([^\n]+?)': "
            r"((?:above|below) [-0-9T:.]{1,40}|[^\n':]{1,80}), where the contract asks for "
            r"([^\n]{1,200}?)\.( And \d+ more like it or of other kinds\.)?$"
        ),
        _explain_contract,
    ),
    (r"^Invalid input\. Ensure that input is a valid JSON formatted string", _explain_json),
    (r"^Invalid input\. Ensure that input is a valid UTF-8", _explain_json),
    (r"^The input must be a JSON dictionary with exactly one", _fixed(REQUIRED_FORMAT)),
    (r"^Invalid input\. The input must be a JSON dictionary", _fixed(REQUIRED_FORMAT)),
    (
        r"^Invalid input\. Dataframe split format must be a dictionary",
        _fixed("dataframe_split must be a dictionary."),
    ),
    (
        r"^Invalid input\. Dataframe split format must have",
        _fixed("dataframe_split must have the field data, and optionally columns and index, and no other."),
    ),
    (
        r"^Invalid input\. Dataframe records format must be",
        _fixed("dataframe_records must be a list of records."),
    ),
    (
        r"^Invalid input\. Provided dataframe_(split|records) field is not a valid",
        _numbers("dataframe_{0} is not a table: rows, columns or index do not fit each other."),
    ),
    (
        r"^Failed to parse input as a Pandas DataFrame.*valid (CSV|Parquet)",
        _numbers("The body is not a {0} table that fits the model's signature."),
    ),
    (
        rf"^Invalid input\. Data is not.* Failed to convert column (.+?) to type '(?:<class ')?{_TYPE}'",
        _explain_conversion,
    ),
    (r"Error: Model is missing inputs (\[.*?\])\.", _explain_missing),
    (
        rf"Error: Incompatible input types for column (.+?)\. Can not safely convert {_TYPE} to {_TYPE}",
        _explain_incompatible,
    ),
    (
        r"signature declares (\d+) inputs  but the provided value only has (\d+) inputs",
        _numbers("The model needs {0} columns, and the input has {1}."),
    ),
    (
        r"Error: Shape of input (\([\d, ]*\)) does not match expected shape (\([-\d, ]*\))",
        _numbers("The input has the shape {0}, and the model needs {1}."),
    ),
    (
        rf"Error: dtype of input {_TYPE} does not match expected dtype {_TYPE}",
        _numbers("The input holds {0}, and the model needs {1}."),
    ),
    (r"(?:^|Error: )Invalid parameters found", _fixed("The params do not fit the model's signature.")),
    (r"(?:^|Error: )Parameters must be a dictionary", _fixed("params must be a dictionary.")),
    (r"^Encountered an unexpected error while evaluating", _fixed("The model failed on this input.")),
)
