"""Fixtures of the scoring server's tests."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.server import find_free_port
from tests.serving.scoring_servers import (
    copy_template,
    log_version,
    mlflow_models_serve,
    serve_model,
    set_alias,
)


@dataclass(frozen=True)
class Pair:
    """The same model behind both servers."""

    mlflow: int
    ours: int
    uri: str
    pid: int
    """Of our server."""
    log: Path
    """Where it keeps what it answers, the column ``n`` left out."""


@pytest.fixture(scope="session")
def pair(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A table of numbers, text and integers behind ``mlflow models serve`` and behind ``serve-model``."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    folder = tmp_path_factory.mktemp("pair")
    uri = copy_template(sqlite_template, folder)
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "x", "y"], "n": [1, 2, 3, 4]})
    encode = ColumnTransformer(
        [("b", OneHotEncoder(handle_unknown="ignore"), ["b"])], remainder="passthrough"
    )
    model = make_pipeline(encode, LinearRegression()).fit(table, [1.5, 4.25, 7.0, 8.125])
    set_alias(uri, "pair", log_version(uri, "pair", model, table.head(2)))
    with ExitStack() as stack:
        theirs = stack.enter_context(
            mlflow_models_serve(uri, "models:/pair@production", folder, find_free_port())
        )
        keep = ("--log-predictions", "kept", "--log-redact", "n", "--log-flush-seconds", "0.5")
        ours = stack.enter_context(serve_model("pair", uri, folder, *keep))
        yield Pair(theirs, ours.port, uri, ours.process.pid, folder / "kept")
