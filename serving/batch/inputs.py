"""What a version says it takes: columns and parameters, out of its ``MLmodel`` file; nothing of it runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from registry import ArtifactError, DataError, Piece, UsageError

from .order import Column

__all__ = ["ModelInputs", "choose_columns", "read_inputs", "read_params"]

LAYERED: Final = "mlflow.pyfunc.loaders.code_model"
DOUBLE: Final = "double"
_READERS: Final[Mapping[str, Any]] = {
    "string": str,
    "double": float,
    "float": float,
    "long": int,
    "integer": int,
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
}


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What a version takes.

    Attributes:
        columns: By name, as its signature has them; empty: it names none.
        width: How many unnamed columns of numbers it takes; None: it does not say.
        params: Parameter → MLflow's type name.
        answer: What its one output per row is called.
    """

    columns: tuple[Column, ...]
    width: int | None
    params: Mapping[str, str]
    answer: str


def read_inputs(folder: Path) -> ModelInputs:
    """Reads an artifact's signature.

    Raises:
        ArtifactError: It has none that can be read.
    """
    import yaml  # noqa: PLC0415 - not on the way to --help

    try:
        document = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))
        signature = document.get("signature") or {}
        inputs = json.loads(signature.get("inputs") or "[]")
        params = json.loads(signature.get("params") or "[]")
        loader = document["flavors"]["python_function"]["loader_module"]
        kinds = {param["name"]: _name_kind(param) for param in params}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ArtifactError(f"The version's MLmodel file cannot be read ({type(error).__name__}).") from error
    answer = "answer" if loader == LAYERED and "output" in kinds else "prediction"
    columns, width = _read_columns(inputs)
    return ModelInputs(columns, width, kinds, answer)


def _read_columns(inputs: Sequence[Mapping[str, Any]]) -> tuple[tuple[Column, ...], int | None]:
    if any("tensor-spec" in one for one in inputs):
        if len(inputs) != 1 or inputs[0].get("name"):
            raise ArtifactError(
                "The version takes named tensors.",
                hint="Batches are tables: log it with a table's signature.",
            )
        shape = inputs[0]["tensor-spec"]["shape"]
        return (), int(shape[1]) if len(shape) == 2 else None  # noqa: PLR2004 - rows and columns
    if not inputs or any("name" not in one for one in inputs):
        return (), len(inputs) or None
    return tuple(
        Column(one["name"], str(one["type"]), bool(one.get("required", True))) for one in inputs
    ), None


def _name_kind(param: Mapping[str, Any]) -> str:
    return str(param.get("type", param.get("dtype", "")))


def choose_columns(inputs: ModelInputs, pieces: Sequence[Piece], keep: Sequence[str]) -> tuple[Column, ...]:
    """What the model is given of these files.

    Raises:
        DataError: A column is missing, or a CSV's columns would have no type.
        UsageError: A column to keep is not there.
    """
    present = pieces[0].file.columns
    for name in keep:
        if name not in present:
            raise UsageError(f"--keep {name}: the input has no such column.", hint=_list(present))
    missing = [column.name for column in inputs.columns if column.required and column.name not in present]
    if missing:
        raise DataError(
            f"The input lacks {_count(missing)} that the model needs: {', '.join(missing[:12])}.",
            hint=_list(present),
        )
    if inputs.columns:
        return tuple(column for column in inputs.columns if column.name in present)
    if inputs.width is not None:
        if inputs.width != len(present):
            raise DataError(f"The model takes {inputs.width} columns, and the input has {len(present)}.")
        return tuple(Column(name, DOUBLE) for name in present)
    if not all(piece.file.is_parquet for piece in pieces):
        raise DataError(
            "The model does not say what its columns are, so those of a CSV have no types.",
            hint="Give it Parquet, or log the model with a signature.",
        )
    return tuple(Column(name) for name in present)


def read_params(inputs: ModelInputs, given: Sequence[str]) -> dict[str, Any]:
    """Reads ``KEY=VALUE`` as the model's parameters.

    Raises:
        UsageError: The model has no such parameter, or the value is none of its type.
    """
    params: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in inputs.params:
            known = ", ".join(inputs.params) or "none"
            raise UsageError(f"--params {text}: the model has no such parameter.", hint=f"It has {known}.")
        kind = inputs.params[name]
        try:
            params[name] = _READERS[kind](value)
        except (KeyError, ValueError) as error:
            raise UsageError(f"--params {text}: {name} is of type {kind}.") from error
    return params


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""  # noqa: PLR2004 - a line's worth
    return f"It has {', '.join(names[:12])}{more}."


def _count(names: Sequence[str]) -> str:
    return "a column" if len(names) == 1 else f"{len(names)} columns"
