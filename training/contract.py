"""The data contract of a job: inferred from the rows to learn from, and tried on the rows held out."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from registry import (
    Contract,
    DataError,
    count_violations,
    declare_contract,
    find_bad_rows,
    find_violations,
    infer_contract,
)

from .features import FeaturePlan
from .job import JobSpec
from .split import Split

__all__ = ["ContractPlan", "plan_contract", "write_enforcement"]

QUIET_SHARE: Final = 0.01
"""Where rows are only warned about, a person need not read of fewer held-out rows than this: a new extreme
among thousands of rows is ordinary."""
MAX_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ContractPlan:
    """A job's contract.

    Attributes:
        contract: What rows must look like.
        broken: How many held-out rows break it.
        warning: What a person should know about these; may be empty.
    """

    contract: Contract
    broken: int
    warning: str


def plan_contract(
    spec: JobSpec, features: FeaturePlan, rows: pd.DataFrame, split: Split, text: str
) -> ContractPlan | None:
    """Infers the contract from the rows to learn from, with what the job declares; None if it wants none.

    Args:
        spec: The job; its section ``contract``.
        features: Which raw columns there are.
        rows: Typed; the index label of a row is its number in the source.
        split: Which rows are learned from and which are held out.
        text: What messages call the source.

    Raises:
        UsageError: The section declares what makes no sense.
        DataError: A row to learn from breaks what is declared, and the job refuses such rows.
    """
    section = spec.contract
    if section.mode == "off":
        return None
    learn = rows.iloc[split.train]
    inferred = infer_contract(
        learn,
        {column.name: column.type for column in features.raw},
        required={column.name for column in features.raw if column.required},
        tolerance=section.tolerance,
        max_categories=section.max_categories,
    )
    contract = declare_contract(
        inferred,
        ranges=section.ranges,
        categories=section.categories,
        rules=section.rules,
        mode=section.mode,
    )
    if section.mode == "refuse":
        _refuse(contract, learn, text)
    is_declared = bool(section.ranges or section.categories or section.rules)
    return _try(contract, learn if is_declared else learn.iloc[:0], rows.iloc[split.evaluate])


def _refuse(contract: Contract, learn: pd.DataFrame, text: str) -> None:
    found = find_violations(contract, learn, limit=1)
    if found:
        (first,) = found
        bad = int(find_bad_rows(contract, learn).sum())
        raise DataError(
            f"Column {first.column!r}, row {int(learn.index[first.row]) + 1} of {text}: {first.value_class}, "
            f"where the contract asks for {first.rule} ({bad:,} such rows to learn from).",
            hint='Correct the rows or the section [contract], or set contract.mode = "warn".',
        )


def _try(contract: Contract, learn: pd.DataFrame, held: pd.DataFrame) -> ContractPlan:
    """Rows to learn from can break only what was declared; ``learn`` is empty where nothing was."""
    sentences = []
    for rows, role, share in ((learn, "learned from", 0.0), (held, "held out", QUIET_SHARE)):
        bad = int(np.count_nonzero(find_bad_rows(contract, rows)))
        if bad and (contract.mode == "refuse" or bad > share * len(rows)):
            counts = list(count_violations(contract, rows).items())
            named = [f"{column} {what} ({count:,})" for (column, what, _), count in counts[:MAX_NAMED]]
            more = f", and {len(counts) - MAX_NAMED} more kinds" if len(counts) > MAX_NAMED else ""
            sentences.append(
                f"{bad:,} of {len(rows):,} rows {role} break the data contract: {', '.join(named)}{more}."
            )
    return ContractPlan(contract, bad, " ".join(sentences))


def write_enforcement(contract: Contract, file: str) -> dict[str, Any]:
    """What ``layers.json`` says about a contract that refuses rows."""
    return {
        "file": file,
        "mode": contract.mode,
        "rules": [
            {
                "text": rule.text,
                "type": rule.type,
                "left": _write_side(rule.left),
                "operator": rule.operator,
                "right": _write_side(rule.right),
            }
            for rule in contract.parsed
        ],
    }


def _write_side(side: Any) -> dict[str, Any]:
    return {"value": side.value} if side.column is None else {"column": side.column}
