"""Answers one batch after another: rows that may be asked are answered, the others are told apart."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from registry import (
    Contract,
    DataError,
    RowBatch,
    count_violations,
    find_bad_rows,
    find_violations,
    parse_contract,
)
from serving.wording import explain_refusal, word_load_failure

from .answers import FILE, ROW, fit_table, locate_rows, make_columns
from .conversion import Fault, convert_columns
from .order import PartReport, ScoreOrder
from .planned import PlannedModel

__all__ = ["BatchScorer", "ScoredBatch"]

MAX_FAILING: Final = 64
"""Rows of one batch on which the model itself may fail, before the model is to blame and not the rows."""
QUARANTINE: Final = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("found", pa.string()),
        ("rule", pa.string()),
        ("values", pa.string()),
    ]
)
"""One line per thing that is wrong with a row; ``values``: the row as JSON."""


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A batch's rows, all of them: answered, or told apart."""

    table: pa.Table
    bad: pa.Table
    report: PartReport


class BatchScorer:
    """A loaded version that answers batches.

    Args:
        order: How.
        folder: The artifact; its manifest and trust are settled.
        plan: Its compiled plan, if that is the way.
    """

    def __init__(self, order: ScoreOrder, folder: Path, plan: Path | None) -> None:
        self._order = order
        self._contract = _find_contract(folder) if order.refuse_contract else None
        self._planned = PlannedModel(plan, order.params) if plan else None
        self._native = _load(folder)

    def score(self, batch: RowBatch, file: str, schema: pa.Schema | None) -> ScoredBatch:
        """Answers one batch.

        Args:
            batch: Rows with the model's columns and those to keep.
            file: Where they are from.
            schema: Of the output; None while it is not known.

        Raises:
            DataError: The model fails, or answers otherwise than before.
        """
        frame, faults = convert_columns(batch.table, self._order.columns)
        bad = _mark(faults, len(frame))
        warnings: dict[str, int] = {}
        warned = 0
        if self._contract is not None:
            found, warned, warnings = self._check(self._contract, frame, bad)
            faults += found
        answers, failing, native = self._answer(frame, bad)
        if not answers:
            answers = self._leave_empty(schema)
        faults += failing
        kept = {**locate_rows(file, _pick(batch.rows, ~bad)), **self._keep(batch.table, bad)}
        table = fit_table(kept, answers, schema)
        told = _tell(batch, faults, file)
        reasons = warnings | _count(faults, batch)
        read = len(batch.rows) + len(batch.broken)
        return ScoredBatch(
            table, told, PartReport(read, len(table), read - len(table), warned, native, reasons)
        )

    def _keep(self, table: pa.Table, bad: NDArray[np.bool_]) -> dict[str, pa.Array]:
        kept = table.select(list(self._order.keep))
        if bad.any():
            kept = kept.filter(pa.array(~bad))
        return {name: kept[name] for name in kept.column_names}

    def _check(
        self, contract: Contract, frame: pd.DataFrame, bad: NDArray[np.bool_]
    ) -> tuple[list[Fault], int, dict[str, int]]:
        """Rows against the contract, those that are bad already left out; marks further ones as bad."""
        places = np.flatnonzero(~bad)
        sound = frame if len(places) == len(frame) else frame.iloc[places].reset_index(drop=True)
        broken = find_bad_rows(contract, sound)
        if not broken.any():
            return [], 0, {}
        if contract.mode == "warn":
            counts = count_violations(contract, sound)
            return [], int(broken.sum()), {_word(*kind): count for kind, count in counts.items()}
        where = places[broken]
        found = find_violations(contract, sound.iloc[np.flatnonzero(broken)].reset_index(drop=True))
        bad[where] = True
        return [Fault(where[[one.row]], one.column, one.value_class, one.rule) for one in found], 0, {}

    def _answer(
        self, frame: pd.DataFrame, bad: NDArray[np.bool_]
    ) -> tuple[Mapping[str, pa.Array], list[Fault], int]:
        """Asks for all rows that are not bad; marks those as bad on which the model fails."""
        places = np.flatnonzero(~bad)
        sound = frame if len(places) == len(frame) else frame.iloc[places].reset_index(drop=True)
        if self._planned is not None and len(sound):
            raw = self._planned.predict(sound)
            if raw is not None:
                return make_columns(raw, len(sound), self._order.answer), [], 0
        native = len(sound) if self._planned is not None else 0
        raw, error = self._ask(sound)
        if error is None:
            return self._read(raw, len(sound)), [], native
        failing = self._find_failing(sound, error)
        bad[places[list(failing)]] = True
        rest = sound.drop(index=list(failing)).reset_index(drop=True)
        faults = [
            Fault(places[[row]], "", why, "a row that the model can answer") for row, why in failing.items()
        ]
        raw, error = self._ask(rest)
        if error is not None:
            raise self._give_up(error) from error
        return self._read(raw, len(rest)), faults, native

    def _ask(self, frame: pd.DataFrame) -> tuple[Any, Exception | None]:
        """What the model says, or what it raises; no rows are no question."""
        if not len(frame):
            return None, None
        try:
            return self._native.predict(frame, params=dict(self._order.params) or None), None
        except Exception as error:  # noqa: BLE001 - the border of the model's own code
            return None, error

    def _read(self, raw: Any, rows: int) -> Mapping[str, pa.Array]:
        return make_columns(raw, rows, self._order.answer) if rows else {}

    def _leave_empty(self, schema: pa.Schema | None) -> Mapping[str, pa.Array]:
        """The answers' columns where there is nothing to answer."""
        own = {FILE, ROW, *self._order.keep}
        return {field.name: pa.array([], field.type) for field in schema or () if field.name not in own}

    def _find_failing(self, frame: pd.DataFrame, error: Exception) -> dict[int, str]:
        """Rows on which the model fails, found by halving; position → what it says, without any value.

        Raises:
            DataError: They are too many, or none fails alone.
        """
        failing: dict[int, str] = {}
        waiting: list[tuple[int, int]] = [(0, len(frame))]
        while waiting:
            start, stop = waiting.pop()
            _, found = self._ask(frame.iloc[start:stop])
            if found is not None and stop - start > 1:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
            elif found is not None:
                failing[start] = self._explain(found)
                if len(failing) > MAX_FAILING:
                    raise self._give_up(found) from found
        if not failing:
            raise self._give_up(error) from error
        return failing

    def _explain(self, error: Exception) -> str:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - loaded with the model

        if isinstance(error, MlflowException):
            told = explain_refusal(error, columns=[column.name for column in self._order.columns])
            return f"refused by the model ({told.rstrip('.')})"
        return f"the model fails on it ({type(error).__name__})"

    def _give_up(self, error: Exception) -> DataError:
        return DataError(
            f"The model cannot answer the input: {self._explain(error)}.",
            hint="Are these the columns and types it was trained on? Its signature says what it takes.",
        )


def _load(folder: Path) -> Any:
    """Opens the model as anybody's ``mlflow.pyfunc.load_model`` would; the cache's folder stays as it is."""
    from mlflow.pyfunc import load_model  # noqa: PLC0415 - heavy

    sys.dont_write_bytecode = True
    with word_load_failure():
        return load_model(str(folder), suppress_warnings=True)


def _find_contract(folder: Path) -> Contract | None:
    found = sorted(folder.glob("artifacts/*/contract.json"))
    return parse_contract(found[0].read_text("utf-8")) if found else None


def _mark(faults: Sequence[Fault], rows: int) -> NDArray[np.bool_]:
    bad = np.zeros(rows, dtype=np.bool_)
    for fault in faults:
        bad[fault.rows] = True
    return bad


def _pick(rows: Sequence[int], good: NDArray[np.bool_]) -> Sequence[int]:
    return rows if good.all() else np.asarray(rows)[good].tolist()


def _word(column: str, found: str, rule: str) -> str:
    """One sentence.

    >>> _word("distance", "above 99", "at most 99")
    "column 'distance': above 99, where at most 99 is asked for"
    """
    where = f"column {column!r}: " if column else ""
    return f"{where}{found}, where {rule} is asked for"


def _count(faults: Sequence[Fault], batch: RowBatch) -> dict[str, int]:
    counts: dict[str, int] = {}
    for fault in faults:
        text = _word(fault.column, fault.found, fault.rule)
        counts[text] = counts.get(text, 0) + len(fault.rows)
    if batch.broken:
        counts["a CSV row with too many or too few fields"] = len(batch.broken)
    return counts


def _tell(batch: RowBatch, faults: Sequence[Fault], file: str) -> pa.Table:
    """Lines for the quarantine, by row."""
    lines: list[dict[str, Any]] = []
    named = [(int(place), fault) for fault in faults for place in fault.rows]
    places = sorted({place for place, _ in named})
    values = batch.table.take(pa.array(places, pa.int64())).to_pylist() if places else []
    texts = {
        place: json.dumps(row, default=str, ensure_ascii=False)
        for place, row in zip(places, values, strict=True)
    }
    for place, fault in named:
        about = {"column": fault.column, "found": fault.found, "rule": fault.rule, "values": texts[place]}
        lines.append({"file": file, "row": batch.rows[place], **about})
    width = "as many fields as the header"
    for row, fields, text in batch.broken:
        about = {"column": "", "found": f"{fields} fields", "rule": width, "values": json.dumps(text)}
        lines.append({"file": file, "row": row, **about})
    lines.sort(key=lambda line: int(line["row"]))
    return pa.Table.from_pylist(lines, schema=QUARANTINE)
