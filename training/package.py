"""Writes a fitted model as an MLflow artifact that opens anywhere: layers file, pipeline, tables, signature.

Nothing in it names this machine, and nothing of Greenroom's is needed to open it.
"""

import json
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from registry import format_contract

from .composing import LAYERS_FILE, compose_layers
from .contract import write_enforcement
from .fitting import has_probability
from .guarding import GUARD_FILE
from .result import Fitted, GuardLayer, TrainingPlan

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

__all__ = ["CONTRACT_FILE", "Package", "write_package"]

CONTRACT_FILE: Final = "contract.json"
ROWS_FILE: Final = "evaluation/rows.parquet"
LABELS: Final = "greenroom.labels"
"""Key of the model's metadata in ``MLmodel``."""
EXAMPLE_ROWS: Final = 5
PARITY_ROWS: Final = 2_000
REQUIRED: Final = ("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "skops")
_TRUSTED: Final = ("sklearn.", "numpy.", "scipy.")


@dataclass(frozen=True, slots=True)
class Package:
    """A written artifact.

    Attributes:
        folder: Where it is.
        model: MLflow's description of it (``MLmodel``).
        serialization: ``skops``, or ``cloudpickle`` where skops cannot store the estimator.
        warning: What a person should know about it; may be empty.
    """

    folder: Path
    model: "Model"
    serialization: str
    warning: str


def write_package(folder: Path, plan: TrainingPlan, fitted: Fitted, *, model_id: str, run_id: str) -> Package:
    """Writes the artifact into a folder that does not exist yet; the ids are MLflow's, noted in it."""
    import mlflow.pyfunc  # noqa: PLC0415 - slow import
    from mlflow.models import Model  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        parts = Path(scratch) / "parts"
        parts.mkdir()
        code = Path(scratch) / LAYERS_FILE
        code.write_text(compose_layers(), "utf-8")
        serialization, warning = _write_pipeline(parts, fitted.pipeline)
        _write_layers(parts, plan, fitted, serialization)
        _write_guard(parts, fitted.guard)
        model = Model(model_uuid=model_id, model_id=model_id, run_id=run_id)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(code),
            artifacts={"parts": str(parts)},
            mlflow_model=model,
            signature=_make_signature(plan, fitted),
            input_example=_pick_example(plan),
            pip_requirements=_list_requirements(fitted.pipeline, serialization),
            metadata=_describe_labels(plan, fitted),
        )
    _clean(folder, model)
    _write_rows(folder, plan)
    return Package(folder, model, serialization, warning)


def _write_pipeline(parts: Path, pipeline: Any) -> tuple[str, str]:
    """As skops if scikit-learn, NumPy and SciPy types suffice, else as a pickle, with a warning."""
    import skops.io  # noqa: PLC0415 - slow import
    from skops.io.exceptions import UnsupportedTypeException  # noqa: PLC0415

    try:
        content = skops.io.dumps(pipeline)
        foreign = [
            name for name in skops.io.get_untrusted_types(data=content) if not name.startswith(_TRUSTED)
        ]
    except (UnsupportedTypeException, TypeError, NotImplementedError) as error:
        foreign = [str(error)]
    if not foreign:
        (parts / "pipeline.skops").write_bytes(content)
        return "skops", ""
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - rarely needed

    (parts / "pipeline.pkl").write_bytes(cloudpickle.dumps(pipeline))
    estimator = type(pipeline.named_steps["model"]).__name__
    return "cloudpickle", (
        f"{estimator} cannot be stored without a pickle ({foreign[0]}): the model runs its author's code "
        "when it is opened, so promoting it needs a person's approval."
    )


def _write_layers(parts: Path, plan: TrainingPlan, fitted: Fitted, serialization: str) -> None:
    layers: dict[str, Any] = {
        **plan.features.layers,
        "format": 1,
        "task": plan.target.task,
        "target": plan.target.name,
        "classes": list(plan.target.classes),
        "output": plan.job.spec.model.output,
        "has_probability": has_probability(fitted.pipeline) and plan.target.task != "regression",
        "serialization": serialization,
    }
    if plan.contract is not None:
        contract = plan.contract.contract
        (parts / CONTRACT_FILE).write_text(format_contract(contract), "utf-8")
        if contract.mode == "refuse":
            layers["contract"] = write_enforcement(contract, CONTRACT_FILE)
    if fitted.answers.plan:
        layers["answer"] = fitted.answers.plan
    if fitted.guard is not None:
        layers["guard"] = {"file": GUARD_FILE}
    (parts / "layers.json").write_text(json.dumps(layers, indent=1, ensure_ascii=False), "utf-8")
    for lookup, table in zip(layers["lookups"], plan.features.tables, strict=True):
        table.to_parquet(parts / lookup["file"], index=False)


def _write_guard(parts: Path, guard: GuardLayer | None) -> None:
    import numpy as np  # noqa: PLC0415 - slow import

    if guard is None:
        return
    (parts / GUARD_FILE).write_text(json.dumps(guard.plan, ensure_ascii=False), "utf-8")
    for name, array in guard.arrays.items():
        np.save(parts / guard.plan["arrays"][name], array, allow_pickle=False)


def _describe_labels(plan: TrainingPlan, fitted: Fitted) -> dict[str, Any] | None:
    """Which class each label means: gates compare with the truth, which knows classes only."""
    labels = fitted.answers.plan.get("labels")
    return {LABELS: dict(zip(labels, plan.target.classes, strict=True))} if labels else None


def _make_signature(plan: TrainingPlan, fitted: Fitted) -> "ModelSignature":
    from mlflow.models import ModelSignature  # noqa: PLC0415 - slow import
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema  # noqa: PLC0415

    kinds = {"number": "double", "category": "string", "datetime": "datetime", "boolean": "boolean"}
    inputs = Schema(
        [ColSpec(kinds[column.type], column.name, required=column.required) for column in plan.features.raw]
    )
    params = ParamSchema([ParamSpec("output", "string", plan.job.spec.model.output)])
    return ModelSignature(inputs=inputs, outputs=_make_outputs(plan, fitted), params=params)


def _make_outputs(plan: TrainingPlan, fitted: Fitted) -> Any:
    """With a guard every answer may be null; without names, MLflow cannot say so."""
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415 - slow import

    labels = fitted.answers.plan.get("labels", plan.target.classes)
    output, sure = plan.job.spec.model.output, fitted.guard is None
    kind = _name_kind(plan, fitted)
    if output == "answer" or (not plan.target.classes and sure):
        return Schema([ColSpec(kind)])
    prefix = "" if output == "probability" else "probability_"
    columns: list[Any] = [] if output == "probability" else [ColSpec(kind, "answer", required=sure)]
    if has_probability(fitted.pipeline):
        columns += [ColSpec("double", f"{prefix}{label}", required=sure) for label in labels]
    if output == "full" and not sure:
        columns += [ColSpec("boolean", "nothing_found"), ColSpec("double", "typicality")]
    return Schema(columns)


def _name_kind(plan: TrainingPlan, fitted: Fitted) -> str:
    """MLflow's type of an answer."""
    if not plan.target.classes:
        return "double"
    if "labels" in fitted.answers.plan:
        return "string"
    return {"i": "long", "b": "boolean"}.get(plan.target.truth.dtype.kind, "string")


def _pick_example(plan: TrainingPlan) -> pd.DataFrame:
    """The first training rows, complete ones if there are any."""
    rows = plan.rows.iloc[plan.split.train]
    complete = rows.dropna()
    return (complete if len(complete) >= EXAMPLE_ROWS else rows).head(EXAMPLE_ROWS).reset_index(drop=True)


def _write_rows(folder: Path, plan: TrainingPlan) -> None:
    """Held-out rows, evenly over all, without their truth: who compiles the model compares on these."""
    import numpy as np  # noqa: PLC0415 - slow import

    held_out = plan.rows.iloc[plan.split.evaluate]
    places = np.linspace(0, len(held_out) - 1, min(len(held_out), PARITY_ROWS)).astype(int)
    path = folder / ROWS_FILE
    path.parent.mkdir()
    held_out.iloc[places].reset_index(drop=True).to_parquet(path, index=False)


def _list_requirements(pipeline: Any, serialization: str) -> list[str]:
    """Exact versions of what the layers file imports, and of a third party's estimator."""
    names = set(REQUIRED)
    package = type(pipeline.named_steps["model"]).__module__.partition(".")[0]
    names.update(metadata.packages_distributions().get(package, [])[:1] if package != "sklearn" else [])
    if serialization == "cloudpickle":
        names.add("cloudpickle")
    return [f"{name}=={metadata.version(name)}" for name in sorted(names)]


def _clean(folder: Path, model: "Model") -> None:
    """Takes this machine's paths out of ``MLmodel``."""
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = LAYERS_FILE
    for name, artifact in flavor["artifacts"].items():
        artifact["uri"] = f"artifacts/{name}"
    model.artifact_path = None
    model.save(str(folder / "MLmodel"))
