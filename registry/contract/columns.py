"""The contract's parts: columns with types, ranges and known categories, and rules between columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from registry.errors import UsageError

from .rules import Rule, parse_rule
from .values import READERS, ColumnType, Strange, read_moment

if TYPE_CHECKING:
    from .checker import RowChecker
    from .typed import TypedChecker

__all__ = ["Column", "Contract", "Mode", "Range"]

Mode = Literal["refuse", "warn"]


@dataclass(frozen=True, slots=True)
class Range:
    """What a number or moment may be, both ends included; None: no end.

    Attributes:
        low: Smallest allowed: float, or microseconds since 1970 (UTC).
        high: Largest allowed.
        seen: Smallest and largest value of the training rows; None where the range was declared.
        tolerance: Share of the width between them that is allowed beyond either.
    """

    low: float | None = None
    high: float | None = None
    seen: tuple[float, float] | None = None
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """What one column may hold.

    Attributes:
        type: ``number``, ``category``, ``text``, ``datetime`` or ``boolean``.
        nullable: Whether a value may be missing.
        required: Whether the column must be there at all.
        range: Of a number or moment; None: any.
        categories: All known ones, sorted; None: any text.
    """

    type: ColumnType
    nullable: bool = False
    required: bool = True
    range: Range | None = None
    categories: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.type not in READERS:
            raise UsageError(f"A column has the type {self.type!r}.", hint=f"Known: {', '.join(READERS)}.")
        if self.range is not None and self.type not in {"number", "datetime"}:
            raise UsageError(f"A column of type {self.type} has no range.")
        if self.categories is not None and self.type not in {"category", "text"}:
            raise UsageError(f"A column of type {self.type} has no categories.")


@dataclass(frozen=True, slots=True)
class Contract:
    """What rows must look like.

    Attributes:
        columns: By name, in the order in which violations of one row are named.
        rules: Between columns: comparisons such as ``dep_time <= arr_time``; one does not apply where a
            value of it is missing or of another type.
        mode: What becomes of a row that breaks it: ``refuse``, or ``warn``.

    Raises:
        UsageError: A rule cannot be read, or names a column that is not there.
    """

    columns: Mapping[str, Column]
    rules: tuple[str, ...] = ()
    mode: Mode = "warn"
    parsed: tuple[Rule, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        types = {name: column.type for name, column in self.columns.items()}
        object.__setattr__(self, "parsed", tuple(parse_rule(text, types) for text in self.rules))

    def compile(self) -> "RowChecker":
        """Makes a checker for single requests: plain Python, microseconds per row."""
        from .checker import RowChecker  # noqa: PLC0415 - the checker knows contracts

        return RowChecker(self)

    def compile_typed(self, names: Sequence[str]) -> "TypedChecker":
        """Makes a checker for rows whose values are typed and come in the order of these names."""
        from .typed import TypedChecker  # noqa: PLC0415 - as above

        return TypedChecker(self, names)


def read_bound(value: object, kind: ColumnType) -> float:
    """A range's end as it is compared.

    Raises:
        UsageError: It is no number or moment.
    """
    found = read_moment(value) if kind == "datetime" else READERS["number"](value)
    if isinstance(found, Strange):
        raise UsageError(f"A range of a {kind} column ends with {found.value_class}.")
    return float(found) if kind == "number" else int(found)
