"""Compares a plan with MLflow's own code, answer by answer."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from serving.errors import BrokenContractError
from serving.statuses import STATUSES
from serving.wording import explain_refusal

from .artifacts import Opened
from .errors import NotCompilableError
from .plan import MEDIA_TYPE, Plan

__all__ = ["TOLERANCE", "are_equal", "check_parity", "check_refusals", "find_example"]

TOLERANCE: Final = 1e-6
"""Of numbers: absolute up to 1, relative above. Everything else is identical. Source: DESIGN, section 5."""
MIN_ROWS: Final = 50
"""On fewer rows a comparison says little."""
_ROWS_PER_BODY: Final = 256
_ROWS_PER_FORM: Final = 64
_SINGLES: Final = 3
REFUSAL_CODE: Final = STATUSES[BrokenContractError][1]
_SINGLE_REFUSALS: Final = 60
_ROWS_PER_REFUSAL: Final = 7

Row = list[Any]


def check_parity(plan: Plan, opened: Opened, rows: Sequence[Row], *, forms: bool = True) -> int:
    """Compares every output on all rows that the plan reads; returns how many rows those were.

    Args:
        plan: The plan.
        opened: The model.
        rows: To compare on.
        forms: Also in every other form of request.

    Raises:
        NotCompilableError: An answer differs, MLflow refuses what the plan answers, or no row is read.
    """
    columns = _name_columns(opened)
    read = [row for row in rows if plan.parse(_write_split(columns, [row]), MEDIA_TYPE) is not None]
    if len(read) < MIN_ROWS:
        raise NotCompilableError(f"A plan reads only {len(read)} of the {len(rows)} rows made to compare it.")
    shuffled = [read[place] for place in np.random.default_rng(1).permutation(len(read))]
    parts = [*_divide(shuffled, opened), *([row] for row in shuffled[:_SINGLES])]
    for params in _list_params(plan, opened):
        for part in parts:
            _compare(plan, opened, _write_split(columns, part, params))
    for body in _write_forms(columns, shuffled, opened) if forms else ():
        _compare(plan, opened, body)
    return len(read)


def check_refusals(plan: Plan, opened: Opened, rows: Sequence[Row]) -> None:
    """Compares what is said about rows that break the model's contract, alone and among others.

    Args:
        plan: Refuses rows.
        opened: The model, which refuses them too.
        rows: Some that do and some that do not.

    Raises:
        NotCompilableError: One refuses what the other answers, or in other words.
    """
    columns = _name_columns(opened)
    shuffled = [rows[place] for place in np.random.default_rng(2).permutation(len(rows))]
    parts = [[row] for row in rows[:_SINGLE_REFUSALS]]
    parts += [shuffled[at : at + _ROWS_PER_REFUSAL] for at in range(0, len(rows), _ROWS_PER_REFUSAL)]
    for part in parts:
        body = _write_split(columns, part)
        ours = _read_refusal(plan, body)
        if ours is not None and ours != _hear_refusal(opened, body):
            raise NotCompilableError("A plan refuses other rows than MLflow does, or in other words.")


def find_example(plan: Plan, opened: Opened, rows: Sequence[Row]) -> Any:
    """The first request that the plan answers, as JSON.

    Raises:
        NotCompilableError: There is none.
    """
    columns = _name_columns(opened)
    for row in rows:
        body = _write_split(columns, [row])
        if _read_refusal(plan, body) == "":
            return orjson.loads(body)
    raise NotCompilableError("Its contract refuses every row made to compare it.")


def _read_refusal(plan: Plan, body: bytes) -> str | None:
    """What the plan says against a request; empty if it answers, None if it leaves it to MLflow."""
    try:
        return None if plan.parse(body, MEDIA_TYPE) is None else ""
    except BrokenContractError as error:
        return str(error)


def _hear_refusal(opened: Opened, body: bytes) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - loaded with the model

    try:
        _invoke(opened, body)
    except MlflowException as error:
        text = explain_refusal(error, columns=_name_columns(opened) or [])
        return text if error.error_code == REFUSAL_CODE else f"{error.error_code}: {text}"
    return ""


def _list_params(plan: Plan, opened: Opened) -> list[Mapping[str, Any]]:
    if opened.layers is None:
        return [{}]
    return [{"params": {"output": output}} for output in plan.outputs]


def _name_columns(opened: Opened) -> list[str] | None:
    if opened.input["kind"] == "table":
        return [column["name"] for column in opened.input["columns"]]
    return None


def _write_split(
    columns: list[str] | None, rows: Sequence[Row], params: Mapping[str, Any] | None = None
) -> bytes:
    data = {"inputs": rows} if columns is None else {"dataframe_split": {"columns": columns, "data": rows}}
    return orjson.dumps({**data, **(params or {})})


def _divide(rows: Sequence[Row], opened: Opened) -> Iterator[Sequence[Row]]:
    """All rows in a few parts; moments of two formats in one request are MLflow's to read: they are apart."""
    given = opened.input.get("columns", ())
    places = [place for place, column in enumerate(given) if column["type"] == "datetime"]
    alike: dict[tuple[tuple[int, str], ...], list[Row]] = {}
    for row in rows:
        texts = [row[place] or "" for place in places]
        alike.setdefault(tuple((len(text), text[10:11]) for text in texts), []).append(row)
    for group in alike.values():
        for at in range(0, len(group), _ROWS_PER_BODY):
            yield group[at : at + _ROWS_PER_BODY]


def _write_forms(columns: list[str] | None, rows: Sequence[Row], opened: Opened) -> Iterator[bytes]:
    """Some rows, and one alone, in every other form."""
    some = rows[:_ROWS_PER_FORM]
    if columns is None:
        yield orjson.dumps({"instances": some})
        if opened.input["frames"]:
            yield orjson.dumps({"dataframe_split": {"data": some}})
        return
    yield orjson.dumps({"dataframe_records": [dict(zip(columns, row, strict=True)) for row in some]})
    whole = [row for row in rows if None not in row][:_ROWS_PER_FORM]
    for part in filter(None, (whole, whole[:1])):
        records = [dict(zip(columns, row, strict=True)) for row in part]
        yield orjson.dumps({"inputs": dict(zip(columns, zip(*part, strict=True), strict=True))})
        yield orjson.dumps({"inputs": records})
        yield orjson.dumps({"instances": records})


def _compare(plan: Plan, opened: Opened, body: bytes) -> None:
    batch = plan.parse(body, MEDIA_TYPE)
    if batch is None:
        return  # several rows together may be doubtful where each one is not: moments of two formats
    (ours,) = plan.run([batch])
    theirs = _ask_mlflow(opened, body)
    if not are_equal(orjson.loads(ours), _drop_nonfinite(theirs)):
        raise NotCompilableError(f"A plan answers {batch.rows} of its rows otherwise than MLflow does.")


def _ask_mlflow(opened: Opened, body: bytes) -> Any:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - loaded with the model

    try:
        return _invoke(opened, body)
    except MlflowException as error:
        raise NotCompilableError("MLflow refuses rows that a plan answers.") from error


def _invoke(opened: Opened, body: bytes) -> Any:
    from mlflow.pyfunc.scoring_server import invocations  # noqa: PLC0415 - loaded with the model

    native = opened.native
    answer = invocations(body, MEDIA_TYPE, native, native.metadata.get_input_schema())  # type: ignore[no-untyped-call]
    return json.loads(answer.response)


def _drop_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_drop_nonfinite(item) for item in value]
    if isinstance(value, dict):
        return {key: _drop_nonfinite(item) for key, item in value.items()}
    return value


def are_equal(ours: Any, theirs: Any) -> bool:
    """Whether two JSON values are the same, numbers with a fraction within :data:`TOLERANCE`.

    >>> are_equal({"predictions": [1, 0.5]}, {"predictions": [1, 0.5000001]})
    True
    >>> are_equal([1], [1.0]), are_equal(["a"], ["b"]), are_equal([True], [1])
    (False, False, False)
    """
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, float):
        return bool(abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs)))
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(are_equal, ours, theirs))
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(map(are_equal, ours.values(), theirs.values()))
    return bool(ours == theirs)
