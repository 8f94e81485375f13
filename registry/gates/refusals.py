"""How many of the evaluation rows the candidate's guard would have answered with *nothing found*.

The rows are real ones, so each is a false refusal. Quality is compared without the guard, on all rows.
"""

from registry.prediction import NOTHING_FOUND

from .material import CANDIDATE, Material
from .verdict import GateResult

__all__ = ["judge_refusals"]


def judge_refusals(material: Material, most: float) -> GateResult:
    """The share of rows refused, against the largest allowed; a model without a guard refuses none."""
    answers = material.answers[CANDIDATE]
    refused = int(answers[NOTHING_FOUND].sum()) if NOTHING_FOUND in answers else 0
    share = refused / len(answers) if len(answers) else 0.0
    said = f"It refuses {refused:,} of {len(answers):,} rows ({share:.2%}); {most:.2%} may be."
    numbers = {"refused": refused, "rows": len(answers), "max_refused": most}
    return GateResult("refusals", "no" if share > most else "yes", said, numbers=numbers)
