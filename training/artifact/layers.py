"""The layers of this model: raw rows in, answers out.

This file travels inside the model (MLflow's models-from-code) and is also what training fits, so features
are written once. It needs mlflow, numpy, pandas, scikit-learn and skops, and nothing of Greenroom's.

``parts/layers.json`` says what the layers are::

    columns   [{"name", "type"}]         the raw columns; type: number, category, datetime or boolean
    datetime  {"column": ["hour", …]}    parts of a moment that become features
    lookups   [{"file", "prefix", "keys": [{"left", "right", "type", "floor"}],
                "as_of": {"left", "right", "max_age_s"}, "columns": [{"name", "type"}]}]    columns of a
              second table that become features; with as_of those of its latest row by then
    features  ["…"]                      what the pipeline gets, in this order
    task, classes, output, has_probability, serialization
    contract  {"file", "mode", "rules": [{"text", "type", "left", "operator", "right"}]}    only where rows
              that break the contract in ``file`` are refused; a side is {"column"} or {"value"}
    answer    {"labels": ["…"], "threshold", "calibration": {"method", "curves"}}    from probabilities to
              answers; each key only where it is wanted. Labels are in the order of the classes, the
              threshold is of the second class. A curve is [slope, intercept] for the method "sigmoid",
              [[x, …], [y, …]] for "isotonic"; of two classes only the second has one
    guard     {"file"}    only where a row that resembles none that was learned from is answered null

The guard's file::

    numbers   [{"feature", "center", "scale"}]    features as steps from the center; scale 0: it never changed
    marks     [{"feature", "known": ["…"], "missing"}] of categories, [{"feature"}] of numbers that may miss
    arrays    {"numbers", "marks", "projection"}    NumPy files: the reference rows' numbers in steps and
              codes of marks, (rows, …) each, and, only with it, an integer matrix that is applied to numbers
    divisor   of what comes out of the projection
    neighbours, scores, most, false_refusal    a row's score is the sum of squared distances to that many
              nearest reference rows; scores are those of calibration rows, ascending; refused is a row where
              1 + the calibration scores that are no lower <= most

With ``GREENROOM_CONTRACT=off`` in the environment no row is refused for breaking the contract. With
``GREENROOM_GUARD=off`` every row is answered; ``full`` still says which would not have been.
"""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from .answers import Answers
from .contract import RowContract, load_contract
from .guard import Guard, load_guard
from .rows import FLOORS, PARTS, RowFeatures, as_key, as_type

__all__ = ["FLOORS", "PARTS", "LayeredModel", "RowContract", "RowFeatures", "as_key", "as_type"]

OUTPUTS = ("answer", "probability", "full")
TRUSTED = ("sklearn.", "numpy.", "scipy.")
"""Only types from these packages are ever built from ``pipeline.skops``."""


class LayeredModel(PythonModel):
    """Data, features, scoring, evaluation: one after the other."""

    def load_context(self, context: Any) -> None:
        """Opens the parts."""
        folder = Path(context.artifacts["parts"])
        self.plan = json.loads((folder / "layers.json").read_text("utf-8"))
        tables = tuple(pd.read_parquet(folder / lookup["file"]) for lookup in self.plan["lookups"])
        self.rows = RowFeatures(self.plan, tables)
        self.pipeline = load_pipeline(folder, self.plan["serialization"])
        self.contract = load_contract(folder, self.plan)
        self.answers = Answers(self.plan.get("answer", {}), self.plan["classes"])
        self.guard = load_guard(folder, self.plan["guard"]["file"]) if "guard" in self.plan else None
        self.refuses = os.environ.get("GREENROOM_GUARD") != "off"

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow passes it
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Answers every row; with a guard, a row that resembles none that was learned from gets null.

        Args:
            context: Unused; MLflow passes it.
            model_input: Raw rows.
            params: ``output``: ``answer`` (one label or number per row), ``probability`` (one column per
                class) or ``full`` (both; with a guard also ``nothing_found`` and ``typicality``).
        """
        output = (params or {}).get("output") or self.plan["output"]
        if output not in OUTPUTS:
            raise MlflowException.invalid_parameter_value(
                f"output must be one of {', '.join(OUTPUTS)}, not {str(output)[:40]!r}."
            )
        if output == "probability" and not self.plan["has_probability"]:
            raise MlflowException.invalid_parameter_value("This model gives answers without probabilities.")
        if self.contract is not None:
            self.contract.check(model_input)
        features = self.rows.transform(model_input)
        answers = self._answer(features, output)
        if self.guard is not None:
            answers = self._guard(self.guard, features, answers, output)
        if output == "answer":
            return answers["answer"]
        index = model_input.index
        made = {name: pd.Series(values, index, values.dtype) for name, values in answers.items()}
        return pd.DataFrame(made, index=index)

    def _answer(self, features: pd.DataFrame, output: str) -> dict[str, Any]:
        """The columns of the output, by name."""
        columns, probabilities = {}, None
        if self.plan["has_probability"] and (output != "answer" or self.answers.decides):
            probabilities = self.answers.calibrate(self.pipeline.predict_proba(features))
        if output != "probability":
            decided = probabilities is not None and self.answers.decides
            said = self.answers.decide(probabilities) if decided else self.pipeline.predict(features)
            columns["answer"] = self.answers.label(said)
        if output != "answer" and probabilities is not None:
            prefix = "" if output == "probability" else "probability_"
            names = [f"{prefix}{label}" for label in self.answers.list_labels()]
            columns |= dict(zip(names, probabilities.T, strict=True))
        return columns

    def _guard(
        self, guard: Guard, features: pd.DataFrame, columns: dict[str, Any], output: str
    ) -> dict[str, Any]:
        """The same, and nothing of the rows that are refused; null is no float, so columns are of objects."""
        typicality, refused = guard.judge(features)
        if self.refuses:
            columns = {name: values.astype(object) for name, values in columns.items()}
            for values in columns.values():
                values[refused] = None
        return columns | ({"nothing_found": refused, "typicality": typicality} if output == "full" else {})


def load_pipeline(folder: Path, serialization: str) -> Any:
    """Opens the fitted columns and estimator."""
    if serialization == "cloudpickle":
        import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - only where skops could not store the estimator

        return cloudpickle.loads((folder / "pipeline.pkl").read_bytes())
    from skops.io import get_untrusted_types, load  # noqa: PLC0415 - not needed in training

    file = folder / "pipeline.skops"
    types = get_untrusted_types(file=file)
    refused = [name for name in types if not name.startswith(TRUSTED)]
    if refused:
        raise MlflowException.invalid_parameter_value(
            f"pipeline.skops holds types from outside scikit-learn, NumPy and SciPy: {', '.join(refused)}."
        )
    return load(file, trusted=types)


set_model(LayeredModel())
