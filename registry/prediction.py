"""Opens one model in a process of its own, lets it answer, and writes the answers down.

:mod:`registry.nursery` runs ``main`` in a forked process for :mod:`registry.verification`, without the
caller's credentials: a model that is being judged already runs.
"""

import json
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["NOTHING_FOUND", "PREDICTION", "PROBABILITY", "conform", "normalise"]

PREDICTION: Final = "prediction"
PROBABILITY: Final = "probability."
NOTHING_FOUND: Final = "nothing_found"
LABELS: Final = "greenroom.labels"
"""Key of a model's metadata: which class each of its labels means."""
MAX_MESSAGE: Final = 300
"""Characters of a foreign model's error that are passed on."""

MAX_EXACT: Final = 2**53
"""Whole numbers up to which float64 holds every one."""

SUM_TOLERANCE: Final = 1e-3
"""How far a row of probabilities may be from 1: float32 models round."""


def main(argv: list[str]) -> int:
    """Answers a request file; the result file says what happened, also when the model failed."""
    request = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    result: dict[str, Any] = {}
    try:
        model = _open(request, result)
    except Exception as error:  # noqa: BLE001 - whatever a foreign model raises is the finding
        result["error"] = _word(error)
    else:
        if request["rows"]:
            _predict_rows(model, request, result)
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def _word(error: Exception) -> str:
    """The first line: further ones show the caller's rows. MLflow's own reason comes last."""
    text = str(error)
    if text.startswith("Failed to enforce schema") and "Error: " in text:
        text = text.rpartition("Error: ")[2]
    first = (text.splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:MAX_MESSAGE]}"


def _open(request: dict[str, Any], result: dict[str, Any]) -> Any:
    """Loads the model and lets it answer its own input example."""
    import mlflow.pyfunc  # noqa: PLC0415 - heavy, and this module is also imported for its names

    start = time.perf_counter()
    model = mlflow.pyfunc.load_model(request["model"], suppress_warnings=True)  # the gates have their own
    result["load_s"] = time.perf_counter() - start
    example = model.input_example
    result["example"] = example is not None
    if example is not None:
        model.predict(example)
    return model


def _predict_rows(model: Any, request: dict[str, Any], result: dict[str, Any]) -> None:
    import pandas as pd  # noqa: PLC0415 - heavy

    start = time.perf_counter()
    try:
        rows = pd.read_parquet(request["rows"], columns=_choose_columns(model, request))
        rows = conform(rows, model.metadata.get_input_schema())
        raw = model.predict(rows, params=_ask_for_everything(model))
        labels = (model.metadata.metadata or {}).get(LABELS)
        answers = normalise(raw, request["task"], request["classes"], labels)
        if len(answers) != len(rows):
            raise ValueError(f"{len(rows)} rows were asked, {len(answers)} answered")  # noqa: TRY301
        answers.to_parquet(request["answers"])
    except Exception as error:  # noqa: BLE001 - whatever a foreign model raises is the finding
        result["rows_error"] = _word(error)
    result["predict_s"] = time.perf_counter() - start


def conform(frame: Any, schema: Any) -> Any:
    """Brings a table's columns into the types that a model names, where no value changes by it.

    A file has whole numbers where the model takes any number, moments in other units, categories instead of
    texts; MLflow refuses all of these in a table, although it takes them in a request.

    Args:
        frame: n rows.
        schema: The model's input schema, or None.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        return frame
    for column in schema.inputs:
        if column.name not in frame:
            continue
        values, kind = frame[column.name], column.type.name
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.dtype.categories.dtype)
        if kind == "double" and pd.api.types.is_integer_dtype(values) and _is_exact(values):
            values = values.astype("float64")
        elif kind == "long" and pd.api.types.is_integer_dtype(values) and not values.isna().any():
            values = values.astype("int64")
        elif kind == "datetime" and pd.api.types.is_datetime64_dtype(values):
            values = values.astype("datetime64[ns]")
        frame = frame.assign(**{column.name: values})
    return frame


def _is_exact(values: Any) -> bool:
    """Whether every whole number is a float64 too."""
    known = values.dropna()
    return not len(known) or bool(known.abs().max() <= MAX_EXACT)


def _choose_columns(model: Any, request: dict[str, Any]) -> list[str]:
    """What the model itself says it takes, where it does: two models may look at different columns."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    schema = model.metadata.get_input_schema()
    named = schema.input_names() if schema is not None and schema.has_input_names() else []
    present = set(pq.read_schema(request["rows"]).names)
    missing = (
        [column.name for column in schema.inputs if column.required and column.name not in present]
        if named
        else []
    )
    if missing:
        raise ValueError(f"the rows lack the columns {', '.join(missing)}")
    return [name for name in named if name in present] or request["features"]


def _ask_for_everything(model: Any) -> dict[str, str] | None:
    """Greenroom's own layers say all they know on request; other models answer as they do."""
    params = getattr(model.metadata.signature, "params", None)
    names = {spec.name for spec in params.params} if params else set()
    return {"output": "full"} if "output" in names else None


def normalise(raw: Any, task: str, classes: list[Any], labels: dict[str, Any] | None = None) -> Any:
    """Brings what a pyfunc answered into one form.

    Args:
        raw: n rows: array, list, Series or DataFrame.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: The classes in order, for n × k answers without names.
        labels: What the model calls the classes, if otherwise than the truth does: label → class.

    Returns:
        DataFrame of n rows with ``probability.<class>`` columns (float64, rows sum to 1) where the answer
        is probabilities, else one column ``prediction``. What our own layers say in full has both, and
        ``nothing_found`` where they have a guard.

    Raises:
        ValueError: The shape fits neither.
    """
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    frame = raw if isinstance(raw, pd.DataFrame) else pd.DataFrame(np.asarray(raw))
    if _is_full(frame) and (frame.shape[1] > 1 or labels):
        return _normalise_full(frame, task, classes, labels or {})
    names = [str(value) for value in classes]
    width = frame.shape[1]
    if task != "regression" and width == len(names) and width > 1 and _are_probabilities(frame):
        given = [str(column) for column in frame.columns]
        order = frame if set(given) != set(names) else frame.set_axis(given, axis=1)[names]
        return order.astype("float64").set_axis([PROBABILITY + name for name in names], axis=1)
    if width != 1:
        raise ValueError(f"{width} columns were answered; expected 1, or one probability for each of {names}")
    answer = frame.iloc[:, 0]
    if task == "binary" and _are_scores(answer):
        high = answer.astype("float64")
        return pd.DataFrame({PROBABILITY + names[0]: 1 - high, PROBABILITY + names[1]: high})
    return pd.DataFrame({PREDICTION: answer.to_numpy()})


def _is_full(frame: Any) -> bool:
    rest = {str(name) for name in frame.columns if not str(name).startswith("probability_")}
    return "answer" in rest and rest <= {"answer", NOTHING_FOUND, "typicality"}


def _normalise_full(frame: Any, task: str, classes: list[Any], labels: dict[str, Any]) -> Any:
    """The probabilities as if they alone had been answered, and the answers, in classes, beside them."""
    import pandas as pd  # noqa: PLC0415 - heavy

    columns = [name for name in frame.columns if str(name).startswith("probability_")]
    made = normalise(frame[columns], task, classes) if columns else pd.DataFrame(index=frame.index)
    answers = frame["answer"]
    made[PREDICTION] = answers.map(labels).to_numpy() if labels else answers.to_numpy()
    if NOTHING_FOUND in frame:
        made[NOTHING_FOUND] = frame[NOTHING_FOUND].to_numpy(dtype=bool)
    return made


def _are_probabilities(frame: Any) -> bool:
    import numpy as np  # noqa: PLC0415 - heavy

    if not all(np.issubdtype(dtype, np.floating) for dtype in frame.dtypes if isinstance(dtype, np.dtype)):
        return False
    try:
        values = frame.to_numpy(dtype="float64")
    except (TypeError, ValueError):
        return False
    inside = bool(((values >= -SUM_TOLERANCE) & (values <= 1 + SUM_TOLERANCE)).all())
    return inside and bool((abs(values.sum(axis=1) - 1) < SUM_TOLERANCE).all())


def _are_scores(answer: Any) -> bool:
    """Whether a column is probabilities of the second class rather than labels."""
    import numpy as np  # noqa: PLC0415 - heavy

    if not isinstance(answer.dtype, np.dtype) or not np.issubdtype(answer.dtype, np.floating):
        return False
    return bool(answer.between(0, 1).all()) and not bool(answer.isin([0.0, 1.0]).all())
