"""The model's data contract in a plan: rows are checked as they are read, and refused in MLflow's own words.

What a contract asks for is the ground floor's to know; here is when it is asked, and what is said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from registry import Finding, TypedChecker, parse_contract, word_findings
from serving.errors import BrokenContractError
from serving.wording import explain_refusal

from .values import Column, Value

__all__ = ["ContractCheck", "make_check"]


class ContractCheck:
    """Checks the rows of a request.

    Args:
        checker: Finds what breaks the contract.
        names: The model's columns.
        refuses: A row that breaks it ends its request; else it is told and answered.
    """

    def __init__(self, checker: TypedChecker, names: Sequence[str], *, refuses: bool) -> None:
        self._checker = checker
        self._names = names
        self._refuses = refuses

    def check_row(self, values: Sequence[Value]) -> Sequence[Finding]:
        """What is wrong with one row.

        Raises:
            BrokenContractError: Something is, and such rows are refused.
        """
        found = self._checker.check_row(values)
        return self._refuse(found) if found and self._refuses else found

    def check_columns(self, columns: Sequence[Column]) -> Sequence[Finding]:
        """What is wrong with several rows; like :meth:`check_row`."""
        found = self._checker.check_columns(columns)
        return self._refuse(found) if found and self._refuses else found

    def _refuse(self, found: Sequence[Finding]) -> Sequence[Finding]:
        words = explain_refusal(ValueError(word_findings(found)), columns=self._names)
        raise BrokenContractError(words, found)


def make_check(document: Mapping[str, Any], *, refuses_rows: bool) -> tuple[ContractCheck | None, list[Any]]:
    """Builds the check of a plan, and the columns as they are to be read.

    Args:
        document: The plan's, with ``input`` and ``contract``.
        refuses_rows: Whether rows may be refused in this process at all.

    Returns:
        None where there is no contract; and ``input``'s columns. A column in which the contract refuses
        missing values is read with them even if the model refuses them too: the contract is asked first.
    """
    columns: list[Any] = document["input"]["columns"]
    given = document["contract"]
    if given is None:
        return None, columns
    contract = parse_contract(given["text"])
    names = [column["name"] for column in columns]
    refuses = given["refuses"] and refuses_rows
    if refuses:
        asked = {name for name, column in contract.columns.items() if not column.nullable}
        columns = [{**one, "missing": one["missing"] or one["name"] in asked} for one in columns]
    return ContractCheck(contract.compile_typed(names), names, refuses=refuses), columns
