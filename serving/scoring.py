"""Native scoring: a model answers through MLflow's own scoring code, so it cannot disagree with it.

Knows bodies and media types, and no HTTP. Source: ``mlflow.pyfunc.scoring_server`` of MLflow 3.17, which
is what ``mlflow models serve`` runs.
"""

import json
import logging
import math
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from registry import ArtifactError

from .errors import ModelRefusedError, TooManyRowsError, UnsupportedMediaError
from .scorer import JSON, NATIVE, Scored
from .wording import explain_refusal, locate_error

__all__ = ["NativeScorer", "normalize_content_type", "to_strict_json"]

STATUS_OK: Final = 200
PARQUET: Final = "application/vnd.apache.parquet"
MAX_PARQUET_ROWS: Final = 1_000_000
"""More than fit into the largest JSON body; a small Parquet file may unpack to any number of rows."""
PARSING_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What Python and pandas raise on a body that MLflow's parser did not foresee; it answers these with 500."""

_log = logging.getLogger("greenroom.serving")


class NativeScorer:
    """A pyfunc model behind MLflow's scoring function. Safe to call from several threads."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._schema = model.metadata.get_input_schema()
        self._columns = self._schema.input_names() if self._schema and self._schema.has_input_names() else []

    @classmethod
    def load(cls, folder: Path) -> "NativeScorer":
        """Loads a model from its local artifact folder, as ``mlflow models serve`` does.

        Loading runs the artifact's code: manifest and trust must be settled before. The folder is not
        written to (Python's bytecode would change its manifest). What the model's code raises, this raises.
        """
        from mlflow.environment_variables import (  # noqa: PLC0415 - heavy
            _MLFLOW_IS_IN_SERVING_ENVIRONMENT,
        )
        from mlflow.pyfunc import load_model  # noqa: PLC0415 - heavy
        from mlflow.pyfunc.scoring_server import SERVING_MODEL_CONFIG  # noqa: PLC0415 - heavy

        sys.dont_write_bytecode = True
        os.environ[_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name] = "true"  # MLflow's scoring server says so too
        config = os.environ.get(SERVING_MODEL_CONFIG)
        model = load_model(  # without the scan of all installed packages, which takes a second
            str(folder), suppress_warnings=True, model_config=json.loads(config) if config else None
        )
        return cls(model, folder)

    def score(self, body: bytes, content_type: str | None) -> Scored:
        """Predicts.

        Raises:
            ModelRefusedError: MLflow or the model refused the input.
            UnsupportedMediaError: The body is in no format of the protocol.
            TooManyRowsError: A Parquet file holds more rows than can be answered in reasonable time.
        """
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy, loaded with the model
        from mlflow.pyfunc.scoring_server import invocations  # noqa: PLC0415 - heavy, loaded with the model

        if (content_type or "").partition(";")[0].strip() == PARQUET and count_rows(body) > MAX_PARQUET_ROWS:
            raise TooManyRowsError(MAX_PARQUET_ROWS)
        try:
            answer = invocations(  # type: ignore[no-untyped-call]
                body, normalize_content_type(content_type), self._model, self._schema
            )
        except MlflowException as error:
            _log_place(error)
            what = explain_refusal(error, columns=self._columns)
            raise ModelRefusedError(what, error_code=error.error_code) from None
        except PARSING_ERRORS as error:
            if _is_answering(error):
                raise
            raise ModelRefusedError("The body cannot be read.", error_code="BAD_REQUEST") from None
        if answer.status != STATUS_OK:
            raise UnsupportedMediaError
        return Scored(to_strict_json(answer.response).encode(), answer.mimetype, NATIVE)

    def warm_up(self) -> bool:
        """Answers the model's own input example; returns False if it carries none.

        Raises:
            ArtifactError: It cannot.
        """
        example = self._read_example()
        if example is None:
            return False
        try:
            self.score(example, JSON)
        except ModelRefusedError as error:
            raise ArtifactError(
                f"The model does not answer its own input example: {error}",
                hint="Log it with an input_example that fits its signature.",
            ) from None
        return True

    def _read_example(self) -> bytes | None:
        """The example as a request body; MLflow stores it so since 2.16 (``serving_input_example.json``)."""
        info = self._model.metadata.saved_input_example_info or {}
        path = info.get("serving_input_path")
        return (self._folder / path).read_bytes() if path else None


def count_rows(body: bytes) -> int:
    """Rows that a Parquet file says it holds; 0 if it is none (MLflow's code says so in its own words)."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, loaded with the model
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, loaded with the model

    try:
        return int(pq.read_metadata(pa.BufferReader(body)).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return 0


def normalize_content_type(content_type: str | None) -> str:
    """What MLflow's parser needs: none means JSON, and a quoted charset loses its quotes.

    >>> normalize_content_type(None)
    'application/json'
    >>> normalize_content_type('text/csv; charset="UTF-8"')
    'text/csv; charset=UTF-8'
    """
    if not content_type:
        return JSON
    return re.sub(r'(;\s*charset=)"([^"]*)"', r"\1\2", content_type, flags=re.IGNORECASE)


def to_strict_json(text: str) -> str:
    """Replaces NaN and infinities, which JSON does not have, by null (RFC 8259, section 6).

    >>> to_strict_json('{"predictions": [1.5, NaN, -Infinity, "NaN"]}')
    '{"predictions": [1.5, null, null, "NaN"]}'
    """
    if "NaN" not in text and "Infinity" not in text:
        return text
    return json.dumps(_drop_nonfinite(json.loads(text)), allow_nan=False)


def _drop_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_drop_nonfinite(item) for item in value]
    if isinstance(value, dict):
        return {key: _drop_nonfinite(item) for key, item in value.items()}
    return value


def _log_place(error: Exception) -> None:
    """Logs where a model failed on an input; the exception's own words may hold the caller's rows."""
    if not str(error).startswith("Encountered an unexpected error") or error.__context__ is None:
        return
    _log.warning("The model failed on an input: %s", locate_error(error.__context__))


def _is_answering(error: Exception) -> bool:
    """Whether the body had been read and answered, and only the answer could not be written as JSON."""
    names = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    return not names.isdisjoint({"predictions_to_json", "unwrapped_predictions_to_json", "to_strict_json"})
