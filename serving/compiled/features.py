"""From typed values to the numbers that the estimator takes: categories, parts of moments, lookups, scaling.

A *slot* is one number per row on the way: a number as it was sent, a category's code, the hour of a moment.
*Makers* fill slots; *steps* turn slots into features with the arithmetic of scikit-learn, in its order.
"""

import datetime as dt
import math
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .values import Column, Doubt, Value

__all__ = ["PARTS", "FeatureMatrix", "Maker", "floor_moment", "make_maker"]

Numbers = NDArray[np.float64]

PARTS: Final[Mapping[str, Callable[[dt.datetime], float]]] = {
    "year": lambda moment: moment.year,
    "quarter": lambda moment: (moment.month + 2) // 3,
    "month": lambda moment: moment.month,
    "week": lambda moment: moment.isocalendar()[1],
    "day": lambda moment: moment.day,
    "dayofyear": lambda moment: moment.timetuple().tm_yday,
    "weekday": lambda moment: moment.weekday(),
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "minute_of_day": lambda moment: moment.hour * 60 + moment.minute,
}
_NAN: Final = float("nan")
MAX_GAPS: Final = 8
"""Places per key that a lookup may waste to be found by number alone, at 4 bytes each."""


def floor_moment(moment: dt.datetime, floor: str | None) -> int:
    """A moment as a whole number of days, hours, minutes or microseconds, for comparing."""
    if floor == "hour":
        return moment.toordinal() * 24 + moment.hour
    if floor == "day":
        return moment.toordinal()
    minutes = moment.toordinal() * 1440 + moment.hour * 60 + moment.minute
    return (
        minutes
        if floor == "minute"
        else minutes * 60_000_000 + moment.second * 1_000_000 + moment.microsecond
    )


class Maker(ABC):
    """Fills slots from typed values; each kind says how for one row, and for many."""

    @abstractmethod
    def fill(self, values: Sequence[Value], row: list[float]) -> None:
        """Fills one row's slots.

        Raises:
            Doubt: The model would not answer, or nobody knows what.
        """

    @abstractmethod
    def fill_many(self, columns: Sequence[Column], slots: Numbers) -> None:
        """Fills the slots of several rows, shape (rows, slots); like :meth:`fill`."""


class NumberMaker(Maker):
    """A number as it is."""

    def __init__(self, column: int, slot: int) -> None:
        self._column, self._slot = column, slot

    def fill(self, values: Sequence[Value], row: list[float]) -> None:
        row[self._slot] = values[self._column]  # type: ignore[assignment]  # the reader made it a number

    def fill_many(self, columns: Sequence[Column], slots: Numbers) -> None:
        slots[:, self._slot] = columns[self._column]


class CodeMaker(Maker):
    """A category as a number. ``missing`` and ``unknown`` are None where the model would refuse."""

    def __init__(self, column: int, slot: int, table: Mapping[str, Any]) -> None:
        self._column, self._slot = column, slot
        codes = [_number(code) for code in table["codes"]]
        self._codes: dict[Any, float | None] = dict(zip(table["keys"], codes, strict=True))
        self._codes[None] = _number(table["missing"])
        self._unknown = _number(table["unknown"])

    def fill(self, values: Sequence[Value], row: list[float]) -> None:
        value = values[self._column]
        code = self._codes.get(value if value == value else None, self._unknown)  # noqa: PLR0124 - NaN
        if code is None:
            raise Doubt
        row[self._slot] = code

    def fill_many(self, columns: Sequence[Column], slots: Numbers) -> None:
        values = columns[self._column]
        if isinstance(values, np.ndarray):
            values = [value if value == value else None for value in values.tolist()]  # noqa: PLR0124
        find, unknown = self._codes.get, self._unknown
        codes = [find(value, unknown) for value in values]
        if None in codes:
            raise Doubt
        slots[:, self._slot] = codes


class PartMaker(Maker):
    """One part of a moment; NaN where it is missing."""

    def __init__(self, column: int, slot: int, part: str) -> None:
        self._column, self._slot = column, slot
        self._take = PARTS[part]

    def fill(self, values: Sequence[Value], row: list[float]) -> None:
        moment = values[self._column]
        row[self._slot] = _NAN if moment is None else self._take(moment)  # type: ignore[arg-type]

    def fill_many(self, columns: Sequence[Column], slots: Numbers) -> None:
        take = self._take
        moments = columns[self._column]
        slots[:, self._slot] = [_NAN if moment is None else take(moment) for moment in moments]


class _Keys:
    """Finds the number that stands for several keys together; ``nothing`` if nothing does.

    Every key value has a number; the numbers of a row's keys together make one, which is looked up.
    """

    def __init__(self, keys: Sequence[Mapping[str, Any]], places: NDArray[Any], nothing: int) -> None:
        self._floors: list[tuple[bool, str | None]] = [(key["moment"], key["floor"]) for key in keys]
        self._numbers = [{value: at for at, value in enumerate(key["values"])} for key in keys]
        self._nothing = nothing
        self._find: Callable[[int], int]
        size = math.prod(len(numbers) for numbers in self._numbers)
        if size <= MAX_GAPS * len(places):
            dense = np.full(size, nothing, dtype=np.int32)
            dense[places[:, 0]] = places[:, 1]
            self._find = dense.item
        else:
            known = dict(places[:, :2].tolist())
            self._find = lambda key: known.get(key, nothing)

    def find(self, values: Sequence[Any]) -> int:
        key = 0
        for value, (is_moment, floor), numbers in zip(values, self._floors, self._numbers, strict=True):
            if is_moment and value is not None:
                value = floor_moment(value, floor)  # noqa: PLW2901 - the same key, as it is compared
            number = numbers.get(value)
            if number is None:
                return self._nothing
            key = key * len(numbers) + number
        return self._find(key)


class LookupMaker(Maker):
    """Slots from the row of a second table that has the same keys."""

    def __init__(self, maker: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._columns: list[int] = [key["column"] for key in maker["keys"]]
        self._slots: list[int] = maker["slots"]
        self._rows = arrays[maker["rows"]]
        self._keys = _Keys(maker["keys"], arrays[maker["places"]], maker["nothing"])

    def _locate(self, values: Sequence[Any]) -> int:
        """The row's place in the table, or what stands for none.

        Raises:
            Doubt: The model would not answer.
        """
        place = self._keys.find(values)
        if place < 0:
            raise Doubt
        return place

    def fill(self, values: Sequence[Value], row: list[float]) -> None:
        found = self._rows[self._locate([values[column] for column in self._columns])].tolist()
        for slot, value in zip(self._slots, found, strict=True):
            row[slot] = value

    def fill_many(self, columns: Sequence[Column], slots: Numbers) -> None:
        keys = zip(*(columns[column] for column in self._columns), strict=True)
        slots[:, self._slots] = self._rows[[self._locate(key) for key in keys]]


class AsOfMaker(LookupMaker):
    """Slots from the latest row of a second table, among those with the same keys, by a moment."""

    def __init__(self, maker: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(maker, arrays)
        self._columns.append(maker["as_of"]["column"])
        self._max_age: int | None = maker["as_of"]["max_age_us"]
        self._nothing: int = maker["nothing"]
        places, times = arrays[maker["places"]], arrays[maker["times"]]
        self._keys = _Keys(maker["keys"], places, -1)
        self._spans: list[list[int]] = places[:, 2:].tolist()
        self._times = array("q", times[:, 0].tobytes())
        self._places = array("q", times[:, 1].tobytes())

    def _locate(self, values: Sequence[Any]) -> int:
        *keys, moment = values
        place = self._nothing
        group = -1 if moment is None else self._keys.find(keys)
        if group >= 0:
            first, end = self._spans[group]
            time = floor_moment(moment, None)
            at = bisect_right(self._times, time, first, end) - 1
            if at >= first and (self._max_age is None or time - self._times[at] <= self._max_age):
                place = self._places[at]
        if place < 0:
            raise Doubt
        return place


def make_maker(maker: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Maker:
    """Builds a maker from the plan's document."""
    kind = maker["make"]
    if kind == "number":
        return NumberMaker(maker["column"], maker["slot"])
    if kind == "code":
        return CodeMaker(maker["column"], maker["slot"], maker["table"])
    if kind == "part":
        return PartMaker(maker["column"], maker["slot"], maker["part"])
    return AsOfMaker(maker, arrays) if "as_of" in maker else LookupMaker(maker, arrays)


class FeatureMatrix:
    """Turns slots into features.

    Args:
        groups: Of the plan's document: which slots become which features, and by which steps.
        width: How many features.
        slots: How many slots; some may become no feature.
        arrays: The plan's arrays.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], width: int, slots: int, arrays: Mapping[str, Any]
    ) -> None:
        self._width = width
        self._groups = [_Group(group, arrays) for group in groups]
        self._is_plain = len(self._groups) == 1 and slots == width and self._groups[0].is_whole(width)

    def make(self, slots: Numbers) -> Numbers:
        """Returns the features, shape (rows, width), C order; may be ``slots`` itself."""
        if self._is_plain:
            return self._groups[0].apply(slots)
        made = np.empty((len(slots), self._width))
        for group in self._groups:
            made[:, group.to] = group.apply(slots[:, group.source])
        return made


class _Group:
    """Features that are made in the same way."""

    def __init__(self, group: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self.source = _narrow(group["from"])
        self.to = _narrow(group["to"])
        self._table = arrays[group["table"]] if "table" in group else None
        self._steps = [(_STEPS[name], arrays[array]) for name, array in group.get("steps", ())]

    def is_whole(self, width: int) -> bool:
        """Whether these are all slots and all features, in order."""
        return self._table is None and self.source == self.to == slice(0, width)

    def apply(self, slots: Numbers) -> Numbers:
        if self._table is not None:
            return self._table[slots[:, 0].astype(np.intp)]  # type: ignore[no-any-return]
        for step, values in self._steps:
            slots = step(slots, values)
        return slots


def _number(code: float | str | None) -> float | None:
    """JSON has no NaN; it stands as text."""
    return None if code is None else float(code)


def _fill(slots: Numbers, values: Numbers) -> Numbers:
    filled: Numbers = np.where(np.isnan(slots), values, slots)
    return filled


def _clip(slots: Numbers, limits: Numbers) -> Numbers:
    clipped: Numbers = np.minimum(np.maximum(slots, limits[0]), limits[1])
    return clipped


_STEPS: Final[Mapping[str, Callable[[Numbers, Numbers], Numbers]]] = {
    "fill": _fill,
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
    "clip": _clip,
}


def _narrow(places: list[int]) -> Any:
    """A slice where there are no gaps, which numpy copies faster."""
    first = places[0]
    return slice(first, first + len(places)) if places == [*range(first, first + len(places))] else places
