"""Checks whole tables against a contract, column by column; says what the checker of single requests says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .columns import Column, Contract
from .rules import OPERATORS, Rule, Side
from .values import INFINITE, NOTHING, READERS, Strange
from .violation import AGAINST, Violation
from .wording import Words, word_column, word_strange

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["count_violations", "find_bad_rows", "find_violations"]


@dataclass(frozen=True, slots=True)
class _Finding:
    """Rows (positions, ascending) that break a contract in one and the same way."""

    order: int
    column: str
    words: Words
    rows: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True)
class _Values:
    """A column as it is compared.

    Attributes:
        compared: float64, int64 (microseconds), object (texts) or bool; anything where ``sound`` is False.
        sound: Where there is a value of the column's type.
        strange: What is in the other rows: where, and what.
    """

    compared: "NDArray[Any]"
    sound: "NDArray[np.bool_]"
    strange: "tuple[tuple[Strange, NDArray[np.bool_]], ...]"


def find_violations(
    contract: Contract, frame: "pd.DataFrame", *, limit: int | None = None
) -> list[Violation]:
    """Lists what breaks the contract, row after row.

    Args:
        contract: What rows must look like.
        frame: n rows; columns that the contract does not have are ignored, one that is not there is missing
            in every row.
        limit: At most that many, the first ones; None: all.
    """
    findings = list(_find(contract, frame))
    found = [(int(row), finding.order, finding) for finding in findings for row in finding.rows[:limit]]
    found.sort(key=lambda item: item[:2])
    return [Violation(row, finding.column, *finding.words) for row, _, finding in found[:limit]]


def find_bad_rows(contract: Contract, frame: "pd.DataFrame") -> "NDArray[np.bool_]":
    """Marks the rows that break the contract, shape (n,): what a batch puts into quarantine."""
    import numpy as np  # noqa: PLC0415 - heavy

    bad = np.zeros(len(frame), dtype=np.bool_)
    for finding in _find(contract, frame):
        bad[finding.rows] = True
    return bad


def count_violations(contract: Contract, frame: "pd.DataFrame") -> dict[tuple[str, str, str], int]:
    """In how many rows each violation is, most frequent first; keys are column, value class and rule."""
    counts = {(finding.column, *finding.words): len(finding.rows) for finding in _find(contract, frame)}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _find(contract: Contract, frame: "pd.DataFrame") -> Iterator[_Finding]:
    import numpy as np  # noqa: PLC0415 - heavy

    read: dict[str, _Values] = {}
    for order, (name, column) in enumerate(contract.columns.items()):
        read[name] = _read(frame, name, column)
        for words, marked in _judge(column, read[name], is_there=name in frame):
            if marked.any():
                yield _Finding(order, name, words, np.flatnonzero(marked))
    for order, rule in enumerate(contract.parsed, len(contract.columns)):
        broken = _break(rule, read)
        if broken.any():
            yield _Finding(order, ", ".join(rule.columns), (AGAINST, rule.text), np.flatnonzero(broken))


def _judge(column: Column, read: _Values, *, is_there: bool) -> "Iterator[tuple[Words, NDArray[np.bool_]]]":
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    for strange, marked in read.strange:
        if strange != NOTHING or not column.nullable or (column.required and not is_there):
            yield word_strange(strange, column.type), marked
    below, above, unknown = word_column(column)
    if column.categories is not None:
        yield unknown, read.sound & ~np.asarray(pd.Series(read.compared).isin(list(column.categories)))
    if column.range is not None and column.range.low is not None:
        yield below, read.sound & (read.compared < column.range.low)
    if column.range is not None and column.range.high is not None:
        yield above, read.sound & (read.compared > column.range.high)


def _break(rule: Rule, read: dict[str, _Values]) -> "NDArray[np.bool_]":
    import numpy as np  # noqa: PLC0415 - heavy

    length = len(read[rule.columns[0]].sound)
    (left, first), (right, second) = (_get_side(side, read, length) for side in (rule.left, rule.right))
    broken = np.zeros(length, dtype=np.bool_)
    both = first & second
    broken[both] = ~np.asarray(OPERATORS[rule.operator](left[both], right[both]), dtype=np.bool_)
    return broken


def _get_side(side: Side, read: dict[str, _Values], length: int) -> "tuple[NDArray[Any], NDArray[np.bool_]]":
    import numpy as np  # noqa: PLC0415 - heavy

    if side.column is not None:
        return read[side.column].compared, read[side.column].sound
    kind = object if isinstance(side.value, str) else None
    return np.full(length, side.value, dtype=kind), np.ones(length, dtype=np.bool_)


def _read(frame: "pd.DataFrame", name: str, column: Column) -> _Values:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    if name not in frame:
        nothing = np.zeros(len(frame), dtype=np.bool_)
        return _Values(np.zeros(len(frame), dtype=object), nothing, ((NOTHING, ~nothing),))
    series = frame[name]
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype if series.notna().all() else object)
    return _read_typed(series, column.type) or _read_each(series, column.type)


def _read_typed(series: "pd.Series[Any]", kind: str) -> _Values | None:
    """A table's column whose own type settles what each value is; None if it does not."""
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415 - heavy

    api, dtype = pd.api.types, series.dtype
    missing = np.asarray(series.isna(), dtype=np.bool_)
    if kind == "number" and api.is_numeric_dtype(dtype) and not api.is_bool_dtype(dtype):
        if api.is_complex_dtype(dtype):
            return None
        numbers = series.to_numpy(dtype="float64", na_value=np.nan)
        missing, infinite = np.isnan(numbers), np.isinf(numbers)
        return _Values(numbers, ~(missing | infinite), ((NOTHING, missing), (INFINITE, infinite)))
    if kind == "datetime" and api.is_datetime64_any_dtype(dtype):
        moments = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
        return _Values(moments.to_numpy("datetime64[us]").view("int64"), ~missing, ((NOTHING, missing),))
    if kind == "boolean" and api.is_bool_dtype(dtype):
        return _Values(series.fillna(False).to_numpy("bool"), ~missing, ((NOTHING, missing),))
    if kind in {"category", "text"} and api.infer_dtype(series, skipna=True) == "string":
        return _Values(series.to_numpy(dtype=object), ~missing, ((NOTHING, missing),))
    return None


def _read_each(series: "pd.Series[Any]", kind: str) -> _Values:
    """Value by value, as a single request is read."""
    import numpy as np  # noqa: PLC0415 - heavy

    found = [READERS[kind](value) for value in series]
    marks: dict[Strange, list[int]] = {}
    for place, value in enumerate(found):
        if type(value) is Strange:
            marks.setdefault(value, []).append(place)
            found[place] = ""
    sound = np.ones(len(found), dtype=np.bool_)
    strange = []
    for what, places in marks.items():
        marked = np.zeros(len(found), dtype=np.bool_)
        marked[places] = True
        sound &= ~marked
        strange.append((what, marked))
    values = np.empty(len(found), dtype=object)
    values[:] = found
    if kind in {"number", "datetime"}:
        values[~sound] = 0
        values = values.astype("float64" if kind == "number" else "int64")
    return _Values(values, sound, tuple(strange))
