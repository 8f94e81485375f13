"""Opens a model's artifact for compilation: its signature, its layers, its fitted pipeline.

Opening runs the artifact's code; manifest and trust are settled before.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from registry import parse_contract

from .errors import NotCompilableError

__all__ = ["Opened", "OpenedContract", "make_strict", "open_artifact"]

_TABLE_TYPES: Final = frozenset({"double", "float", "long", "integer", "boolean", "string"})
_TENSORS: Final = {"float64": "double", "float32": "float", "int64": "long"}
CONTRACT_FILE: Final = "contract.json"
_LAYER_TYPES: Final = _TABLE_TYPES | {"datetime"}
_LAYER_KEYS: Final = frozenset(
    {
        *("columns", "datetime", "lookups", "features", "format", "task", "target", "classes"),
        *("output", "has_probability", "serialization", "contract", "answer", "guard"),
    }
)


@dataclass(frozen=True, slots=True)
class OpenedContract:
    """A model's data contract.

    Attributes:
        text: ``contract.json``.
        refuses: Whether the model refuses rows that break it.
        switch: Lets MLflow's model refuse such rows, or not, whatever the environment says.
    """

    text: str
    refuses: bool
    switch: Callable[[bool], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model.

    Attributes:
        native: MLflow's pyfunc model, which answers as ``mlflow models serve`` does.
        pipeline: The fitted scikit-learn estimator inside.
        input: How requests bring rows: the plan document's ``input``, ``missing`` not yet decided.
        layers: ``layers.json`` of a model that ``train-model`` made, else None.
        tables: Its lookup tables.
        function: What MLflow calls: ``predict`` or ``predict_proba``.
        default: The output that is given when none is asked for; empty without layers.
        contract: The data contract, if it has one.
        guard: The model's own guard, if it has one.
    """

    native: Any
    pipeline: Any
    input: dict[str, Any]
    layers: Mapping[str, Any] | None = None
    tables: Sequence[Any] = field(default=(), repr=False)
    function: str = "predict"
    default: str = ""
    contract: OpenedContract | None = None
    guard: Any = field(default=None, repr=False)


def make_strict(opened: Opened, *, contract: bool, guard: bool) -> None:
    """Lets MLflow's model refuse rows by its contract and guard, or not, whatever the environment says."""
    if opened.contract is not None:
        opened.contract.switch(contract)
    if opened.guard is not None:
        opened.native.unwrap_python_model().refuses = guard


def open_artifact(folder: Path) -> Opened:
    """Loads a model.

    Raises:
        NotCompilableError: It is of a kind, or has a signature, that is not known.
    """
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT  # noqa: PLC0415 - heavy
    from mlflow.pyfunc import load_model  # noqa: PLC0415 - heavy

    sys.dont_write_bytecode = True
    _MLFLOW_IS_IN_SERVING_ENVIRONMENT.set(True)  # type: ignore[no-untyped-call]  # as MLflow's scoring server does
    native = load_model(str(folder), suppress_warnings=True)  # comparing versions of packages takes a second
    flavor = native.metadata.flavors["python_function"]
    loader = flavor["loader_module"]
    if loader == "mlflow.sklearn":
        return _open_sklearn(native, flavor)
    if loader == "mlflow.pyfunc.loaders.code_model":
        parts = folder / str(flavor.get("artifacts", {}).get("parts", {}).get("path"))
        return _open_layers(native, folder / str(flavor.get("model_code_path")), parts)
    raise NotCompilableError(f"Models loaded by {loader} are not known.")


def _open_sklearn(native: Any, flavor: Mapping[str, Any]) -> Opened:
    if native.metadata.get_params_schema() is not None:
        raise NotCompilableError("A scikit-learn model with params in its signature is not known.")
    function = flavor.get("predict_fn", "predict")
    if function not in {"predict", "predict_proba"}:
        raise NotCompilableError(f"It answers by {function}.")
    return Opened(native, native.get_raw_model(), _read_signature(native), function=function)


def _open_layers(native: Any, code: Path, parts: Path) -> Opened:
    known = resources.files("registry").joinpath("trusted_layers.txt").read_text(encoding="ascii")
    if hashlib.sha256(code.read_bytes()).hexdigest() not in known.split():
        raise NotCompilableError(f"Its code {code.name} is not the layers file that train-model writes.")
    model = native.unwrap_python_model()
    layers = model.plan
    if layers.get("format") != 1 or not layers.keys() <= _LAYER_KEYS:
        raise NotCompilableError("Its layers are of another format.")
    params = native.metadata.get_params_schema()
    if params is None or [param.name for param in params.params] != ["output"]:
        raise NotCompilableError("Its signature has other params than output.")
    (output,) = params.params
    if output.dtype.name != "string" or output.shape is not None:
        raise NotCompilableError("Its param output is not a text.")
    columns = _read_columns(native.metadata.get_input_schema(), _LAYER_TYPES)
    if [column["name"] for column in columns] != [column["name"] for column in layers["columns"]]:
        raise NotCompilableError("Its signature and its layers name different columns.")
    made: dict[str, Any] = {"kind": "table", "columns": columns}
    default = output.default or layers["output"]
    given = Opened(native, model.pipeline, made, layers, model.rows.tables, default=default)
    return replace(given, contract=_open_contract(model, parts), guard=getattr(model, "guard", None))


def _open_contract(model: Any, parts: Path) -> OpenedContract | None:
    """The contract that the model refuses rows by, or else the one that it carries for others to ask."""
    enforced = model.plan.get("contract")
    path = parts / (enforced["file"] if enforced else CONTRACT_FILE)
    if not path.is_file():
        return None
    text = path.read_text("utf-8")
    contract = parse_contract(text)
    if enforced is None:
        return OpenedContract(text, refuses=False, switch=lambda _on: None)
    if [rule["text"] for rule in enforced["rules"]] != list(contract.rules):
        raise NotCompilableError("Its layers and its contract name different rules.")
    make = type(model).load_context.__globals__["RowContract"]
    strict = make(json.loads(text)["columns"], enforced["rules"])

    def switch(on: bool) -> None:
        model.contract = strict if on else None

    return OpenedContract(text, refuses=enforced["mode"] == "refuse", switch=switch)


def _read_signature(native: Any) -> dict[str, Any]:
    schema = native.metadata.get_input_schema()
    if schema is None:
        raise NotCompilableError("It has no signature.")
    if schema.is_tensor_spec():
        return _read_tensor(schema)
    if schema.has_input_names():
        columns = _read_columns(schema, _TABLE_TYPES)
        return {"kind": "table", "columns": [{**column, "required": True} for column in columns]}
    kinds = {_name_type(column) for column in schema.inputs}
    if kinds != {"double"}:
        raise NotCompilableError("Its unnamed columns are not all of type double.")
    return {"kind": "matrix", "width": len(schema.inputs), "type": "double", "frames": False}


def _read_tensor(schema: Any) -> dict[str, Any]:
    if schema.has_input_names() or len(schema.inputs) != 1:
        raise NotCompilableError("Its signature has named tensors.")
    shape, kind = tuple(schema.inputs[0].shape), schema.inputs[0].type.name
    if len(shape) != 2 or shape[0] != -1 or shape[1] < 1 or kind not in _TENSORS:  # noqa: PLR2004
        raise NotCompilableError(f"Its signature is a tensor of type {kind} and shape {shape}.")
    width = int(shape[1])
    return {
        "kind": "matrix",
        "width": width,
        "type": _TENSORS[kind],
        "frames": width > 1 and kind == "float64",
    }


def _read_columns(schema: Any, known: frozenset[str]) -> list[dict[str, Any]]:
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        raise NotCompilableError("Its signature does not name columns.")
    columns = []
    for column in schema.inputs:
        kind = _name_type(column)
        if kind not in known:
            raise NotCompilableError(f"The column {column.name!r} is of type {kind}.")
        columns.append({"name": column.name, "type": kind, "required": column.required})
    if len({column["name"] for column in columns}) != len(columns):
        raise NotCompilableError("Its signature names a column twice.")
    return columns


def _name_type(column: Any) -> str:
    """``double``, ``long`` …; the class's name for arrays, objects and maps."""
    return str(getattr(column.type, "name", type(column.type).__name__))
