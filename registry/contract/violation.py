"""One thing about one row that a contract does not allow, in words that hold none of the row's values."""

from dataclasses import dataclass
from typing import Final

__all__ = ["AGAINST", "MISSING", "Violation"]

MISSING: Final = "missing"
AGAINST: Final = "against the rule"


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a row.

    Attributes:
        row: Position of the row, from 0.
        column: The column; for a rule about several, their names with a comma between.
        value_class: What stands there, never the value itself: ``missing``, ``a text``, ``above 99``.
        rule: What the contract asks for: ``a number``, ``at most 99``, ``dep_time <= arr_time``.
    """

    row: int
    column: str
    value_class: str
    rule: str

    @property
    def text(self) -> str:
        """The sentence; rows are counted from 1 in it.

        >>> Violation(0, "distance", "above 99", "at most 99").text
        "Row 1, column 'distance': above 99, where the contract asks for at most 99."
        """
        return (
            f"Row {self.row + 1}, column {self.column!r}: {self.value_class}, "
            f"where the contract asks for {self.rule}."
        )
