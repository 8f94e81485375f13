"""Twins: one model behind ``mlflow models serve`` and behind ``serve-model``, and both asked the same."""

import http.client
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from registry.server import find_free_port
from tests.serving.compiled.layered import OBSERVED, WEATHER, make_artifact
from tests.serving.scoring_servers import (
    Reply,
    ask,
    copy_template,
    log_version,
    mlflow_models_serve,
    serve_model,
    set_alias,
)

__all__ = ["FOREIGN", "LAYERED", "MATRIX", "Caller", "Question", "Twin", "start_twins"]

LAYERED: Final = {
    "distance": "double",
    "night": "boolean",
    "carrier": "string",
    "origin": "string",
    "scheduled": "datetime",
}
"""Columns of a table whose boosting ``train-model`` made: every layer there is."""
LAYERS: Final[Mapping[str, Any]] = {
    "lookup": [WEATHER, {**OBSERVED, "prefix": "last_"}],
    "contract": {
        "mode": "refuse",
        "rules": ["origin != carrier"],
        "ranges": {"distance": {"low": -2900, "high": 1e6}},
        "categories": {"carrier": "any", "origin": "any"},
    },
    "guard": {"false_refusal": 0.02},
    "answer": {"labels": {"0": "on time", "1": "late"}, "calibrate": "isotonic", "cost": {"miss": 3}},
}
MATRIX: Final = 3
"""Columns without names."""
FOREIGN: Final = {
    "d": "double",
    "f": "float",
    "l": "long",
    "i": "integer",
    "t": "boolean",
    "s": "string",
    "m": "datetime",
    "o": "double",
}
"""Columns of a model of somebody's own, ``o`` optional: every type, and it answers what it was given."""
FAILED: Final = 500
IDLE_S: Final = 2.0
"""MLflow's server hangs up on a connection that is idle for 5 s."""
FOREIGN_CODE: Final = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Mirror(PythonModel):
    def predict(self, context, model_input, params=None):
        answer = model_input.assign(types=" ".join(map(str, model_input.dtypes)))
        if (params or {}).get("rows"):
            answer = answer.head(params["rows"])
        return answer.assign(scale=(params or {}).get("scale"))


set_model(Mirror())
"""


@dataclass(frozen=True)
class Question:
    """One request for a prediction; without a content type the header is not sent."""

    body: bytes
    content_type: str | None = "application/json"

    def __repr__(self) -> str:
        return f"Question({self.body[:1000]!r}, {self.content_type!r})"


@dataclass
class Caller:
    """Asks one server, on one connection as long as the server keeps it."""

    port: int
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)
    _asked_s: float = 0.0

    def ask(self, question: Question) -> Reply:
        if time.monotonic() - self._asked_s > IDLE_S:
            self.close()
        connection = self._connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._connection = connection
        connection.putrequest("POST", "/invocations", skip_accept_encoding=True)
        if question.content_type is not None:
            connection.putheader("content-type", question.content_type)
        connection.putheader("content-length", str(len(question.body)))
        connection.endheaders(question.body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        reply = Reply(answer.status, headers, answer.read())
        self._asked_s = time.monotonic()
        if answer.will_close or answer.status == FAILED:  # MLflow's then hangs up without a word
            self.close()
        return reply

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@dataclass(frozen=True)
class Twin:
    """The same model behind both servers.

    Attributes:
        theirs: Asks ``mlflow models serve``.
        ours: Asks ``serve-model``.
    """

    name: str
    theirs: Caller
    ours: Caller
    pool: ThreadPoolExecutor

    def ask(self, questions: Sequence[Question]) -> list[tuple[Reply, Reply]]:
        """Asks both at the same time; pairs of theirs and ours."""
        theirs = self.pool.submit(lambda: [self.theirs.ask(question) for question in questions])
        ours = [self.ours.ask(question) for question in questions]
        return list(zip(theirs.result(), ours, strict=True))


def register_layered(uri: str, folder: Path) -> str:
    """A boosting on a mixed table, as ``train-model`` makes it; returns the artifact's folder."""
    from mlflow import MlflowClient

    folder.mkdir()
    estimator = "ensemble.HistGradientBoostingClassifier"
    artifact = make_artifact(folder, estimator, params={"max_iter": 20}, **LAYERS)
    client = MlflowClient(uri)
    client.create_registered_model("layered")
    client.create_model_version("layered", str(artifact))
    return str(artifact)


def register_matrix(uri: str) -> None:
    """A linear model whose columns have no names."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(5).normal(size=(40, MATRIX))
    log_version(uri, "matrix", LinearRegression().fit(rows, rows @ [1.0, -2.0, 0.5] + 3), rows[:2])


def register_foreign(uri: str, folder: Path) -> None:
    """A model of somebody's own, with every type of column and with params: served by MLflow's own code."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    folder.mkdir()
    (folder / "mirror.py").write_text(FOREIGN_CODE)
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name, required=name != "o") for name, kind in FOREIGN.items()
    ]
    params = ParamSchema([ParamSpec("rows", "long", 0), ParamSpec("scale", "double", 1.5)])
    mlflow.set_tracking_uri(uri)
    with warnings.catch_warnings(), mlflow.start_run():
        warnings.simplefilter("ignore")  # MLflow's advice: type hints, an input example
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(folder / "mirror.py"),
            signature=ModelSignature(Schema(columns), params=params),
            pip_requirements=["mlflow"],
            registered_model_name="foreign",
        )


@contextmanager
def start_twins(template: Path, folder: Path) -> Iterator[Mapping[str, Twin]]:
    """Runs both servers for each of the three models until the block ends."""
    uri = copy_template(template, folder)
    register_layered(uri, folder / "layered")
    register_matrix(uri)
    register_foreign(uri, folder / "foreign")
    options: dict[str, Sequence[str]] = {"layered": (), "matrix": (), "foreign": ("--trust-author",)}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(8))

        def start(name: str) -> Twin:
            home = folder / f"{name}-servers"
            home.mkdir()
            theirs = mlflow_models_serve(uri, f"models:/{name}/1", home, find_free_port())
            waiting = pool.submit(stack.enter_context, theirs)
            ours = serve_model(name, uri, home, "--workers", "1", *options[name])
            port = stack.enter_context(ours).port
            return Twin(name, Caller(waiting.result()), Caller(port), pool)

        for name in options:
            set_alias(uri, name, "1")
        twins = dict(zip(options, pool.map(start, options), strict=True))
        for twin in twins.values():
            stack.callback(twin.theirs.close)
            stack.callback(twin.ours.close)
        yield twins


def find_engine(twin: Twin) -> Any:
    """``compiled`` or ``native``, and why."""
    info = json.loads(ask(twin.ours.port, "GET", "/info").body)
    return info["engine"], info["engine_reason"]
