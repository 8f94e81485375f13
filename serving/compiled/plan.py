"""Answers requests from a plan's files, with NumPy and, for trees, ONNX Runtime on one thread.

Imports neither MLflow nor pandas nor scikit-learn. Safe to call from several threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from registry import Finding, read_settings

from .answers import make_answer
from .bodies import MatrixReader, TableReader
from .contracts import make_check
from .errors import PlanError
from .estimators import ALONE, make_score
from .features import FeatureMatrix, make_maker
from .files import PlanFiles, read_plan
from .guards import Verdict, make_guard
from .values import Column, Doubt, Sent, Value

__all__ = ["MEDIA_TYPE", "Batch", "Plan", "PlanError", "open_plan"]

MEDIA_TYPE: Final = "application/json"
"""Of every answer."""
_JSON: Final = frozenset(
    {None, "", MEDIA_TYPE}
    | {f"{MEDIA_TYPE};{space}charset={name}" for space in ("", " ") for name in ("utf-8", "UTF-8")}
)
_FORMS: Final = frozenset({"dataframe_split", "dataframe_records", "inputs", "instances"})


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one request, read.

    Attributes:
        rows: How many.
        output: Which of the model's outputs was asked for.
        slots: One row as a list of numbers, or several as an array of shape (rows, slots).
        violations: What breaks the model's data contract in rows that are answered all the same.
        sent: The same rows as they were sent, where that is known without looking again.
    """

    rows: int
    output: str
    slots: list[float] | NDArray[np.float64]
    violations: Sequence[Finding] = ()
    sent: Sent | None = None


def open_plan(folder: Path) -> "Plan":
    """Opens a plan.

    Raises:
        PlanError: Its files are not as they were written, or ONNX Runtime is needed and missing.
    """
    settings = read_settings()
    return Plan(
        read_plan(folder), refuses_rows=settings.refuses_rows, refuses_strangers=settings.refuses_strangers
    )


class Plan:
    """A compiled model.

    Args:
        files: What it consists of.
        refuses_rows: Whether a row may be refused because it breaks the model's data contract.
        refuses_strangers: Whether a row that the model's guard refuses is answered null.
    """

    def __init__(
        self, files: PlanFiles, *, refuses_rows: bool = True, refuses_strangers: bool = True
    ) -> None:
        document, arrays = files.document, files.arrays
        self._example: bytes = orjson.dumps(document["example"])
        self._width: int = document["slots"]
        self._default: str = document["default"]
        self._has_params: bool = document["params"]
        self._makers = [make_maker(maker, arrays) for maker in document["makers"]]
        self._features = FeatureMatrix(document["features"], document["width"], self._width, arrays)
        self._score = make_score(document["estimator"], arrays, files.graph)
        self._alone = document["estimator"]["kind"] in ALONE
        self._outputs: dict[str, Any] = document["outputs"]
        self._answers = {
            name: make_answer(document["head"], output, document["answer"])
            for name, output in self._outputs.items()
        }
        self._guard = make_guard(document, arrays, refuses=refuses_strangers)
        self._table, self._matrix, self._contract = None, None, None
        if document["input"]["kind"] == "table":
            self._contract, columns = make_check(document, refuses_rows=refuses_rows)
            self._table = TableReader(columns, document["limit"])
        else:
            self._matrix = MatrixReader(document["input"], document["limit"])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that it gives."""
        return tuple(self._answers)

    def parse(self, body: bytes, content_type: str | None) -> Batch | None:
        """Reads a request; None where only MLflow's own code knows what to answer.

        Raises:
            BrokenContractError: A row breaks the model's data contract, and such rows are refused.
        """
        if content_type not in _JSON:
            return None
        try:
            document = orjson.loads(body)
            if type(document) is not dict:
                return None
            output = self._default if len(document) == 1 else self._read_params(document)
            ((form, data),) = document.items()
            if form not in _FORMS:
                return None
            return self._read(form, data, output)
        except (orjson.JSONDecodeError, Doubt):
            return None

    def _read_params(self, document: dict[str, Any]) -> str:
        """Takes the parameters out of a request that holds nothing else but its rows."""
        if len(document) != 2 or "params" not in document:  # noqa: PLR2004 - rows and parameters
            raise Doubt
        params = document.pop("params")
        if params is None or params == {}:
            return self._default
        if type(params) is not dict or not self._has_params or params.keys() != {"output"}:
            raise Doubt
        output = params["output"]
        if type(output) is not str or output not in self._answers:
            raise Doubt
        return output

    def _read(self, form: str, data: Any, output: str) -> Batch:
        if self._table is None:
            assert self._matrix is not None
            numbers, sent = self._matrix.read(form, data)
            return Batch(len(numbers), output, numbers, sent=sent)
        values, columns, sent = self._table.read(form, data)
        contract = self._contract
        if values is not None:
            found = contract.check_row(values) if contract else ()
            return Batch(1, output, self._fill(values), found, sent)
        assert columns is not None
        found = contract.check_columns(columns) if contract else ()
        return Batch(len(columns[0]), output, self._fill_many(columns), found, sent)

    def _fill(self, values: Sequence[Value]) -> list[float]:
        row = [0.0] * self._width
        for maker in self._makers:
            maker.fill(values, row)
        return row

    def _fill_many(self, columns: Sequence[Column]) -> NDArray[np.float64]:
        slots = np.empty((len(columns[0]), self._width))
        for maker in self._makers:
            maker.fill_many(columns, slots)
        return slots

    def run(self, batches: Sequence[Batch]) -> list[bytes]:
        """Answers several requests at once; returns their bodies in the same order."""
        slots = _stack(batches)
        features = self._features.make(slots)
        if self._alone and len(batches) > 1:
            bounds = list(accumulate((batch.rows for batch in batches), initial=0))
            parts = [self._score(features[start:end]) for start, end in pairwise(bounds)]
            scores = np.concatenate(parts)
        else:
            scores = self._score(features)
        outputs = {batch.output for batch in batches}
        verdict = self._judge(slots, outputs)
        if len(outputs) == 1:
            predictions = self._answer(outputs.pop(), scores, verdict)
            return [_write(predictions)] if len(batches) == 1 else _split(predictions, batches)
        bodies, at = [], 0
        for batch in batches:
            rows = slice(at, at + batch.rows)
            said = self._answer(batch.output, scores[rows], verdict and verdict.take(rows))
            bodies.append(_write(said))
            at += batch.rows
        return bodies

    def _judge(self, slots: NDArray[np.float64], outputs: set[str]) -> Verdict | None:
        guard = self._guard
        if guard is None or not any(guard.is_asked(self._outputs[output]) for output in outputs):
            return None
        return guard.judge(slots)

    def _answer(self, output: str, scores: NDArray[np.float64], verdict: Verdict | None) -> list[Any]:
        predictions = self._answers[output](scores)
        if self._guard is None or verdict is None:
            return predictions
        return self._guard.apply(predictions, verdict, self._outputs[output])

    def warm(self) -> None:
        """Answers a row that compilation answered too, by every output.

        Raises:
            PlanError: It does not.
        """
        batch = self.parse(self._example, MEDIA_TYPE)
        if batch is None:
            raise PlanError("The plan does not read its own example.")
        for output in self._answers:
            self.run([Batch(batch.rows, output, batch.slots)])


def _stack(batches: Sequence[Batch]) -> NDArray[np.float64]:
    """All rows of all requests, shape (rows, slots)."""
    if len(batches) == 1:
        slots = batches[0].slots
        return slots if isinstance(slots, np.ndarray) else np.array([slots])
    if all(type(batch.slots) is list for batch in batches):
        return np.array([batch.slots for batch in batches])
    return np.concatenate([np.atleast_2d(np.asarray(batch.slots)) for batch in batches])


def _split(predictions: list[Any], batches: Sequence[Batch]) -> list[bytes]:
    bodies, at = [], 0
    for batch in batches:
        bodies.append(_write(predictions[at : at + batch.rows]))
        at += batch.rows
    return bodies


def _write(predictions: list[Any]) -> bytes:
    return orjson.dumps({"predictions": predictions})
