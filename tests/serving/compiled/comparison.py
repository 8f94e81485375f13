"""A compiled model beside the same model behind MLflow's own scoring code."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd

from serving.compiled.compiler import compile_artifact
from serving.compiled.parity import are_equal
from serving.compiled.plan import MEDIA_TYPE, Plan, open_plan
from serving.errors import RequestError
from serving.scoring import NativeScorer


@dataclass(frozen=True)
class Pair:
    """The same model twice."""

    plan: Plan
    native: NativeScorer

    def ask_plan(self, body: bytes, content_type: str | None = MEDIA_TYPE) -> Any:
        """The plan's answer; None where it leaves the request to MLflow."""
        batch = self.plan.parse(body, content_type)
        return None if batch is None else json.loads(self.plan.run([batch])[0])

    def ask_native(self, body: bytes, content_type: str | None = MEDIA_TYPE) -> Any:
        """MLflow's answer, or its refusal in words."""
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return json.loads(self.native.score(body, content_type).body)
            except RequestError as error:
                return f"refused: {error}"

    def check(self, body: bytes) -> bool:
        """Whether the plan answers; if it does, exactly as MLflow does."""
        ours = self.ask_plan(body)
        if ours is None:
            return False
        theirs = self.ask_native(body)
        assert are_equal(ours, theirs), (body, ours, theirs)
        return True


def fit(model: Any, rows: Any, truth: Any) -> Any:
    """Fits a model; it need not be a good one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations, on purpose
        return model.fit(rows, truth)


def save(model: Any, folder: Path, example: Any, **options: Any) -> Path:
    """Saves a fitted model as anyone does, with an input example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's hints about integers and pickles
        mlflow.sklearn.save_model(
            model,
            folder,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
            input_example=example,
            **options,
        )
    return folder


def compile_pair(artifact: Path, out: Path) -> Pair:
    """Compiles an artifact, and opens it in both ways."""
    compile_artifact(artifact, out)
    plan = open_plan(out)
    plan.warm()
    return Pair(plan, NativeScorer.load(artifact))


def write(form: str, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> bytes:
    """A request of some form of the protocol; ``inputs`` as columns, ``records`` as a list of inputs."""
    table = frame.to_dict(orient="split", index=False)
    data: dict[str, Any] = {
        "dataframe_split": {"columns": table["columns"], "data": table["data"]},
        "dataframe_records": frame.to_dict(orient="records"),
        "inputs": frame.to_dict(orient="list"),
        "instances": frame.to_dict(orient="records"),
    }
    body = {form: data[form], **({} if params is None else {"params": params})}
    return json.dumps(body, default=str).encode()
