"""Rows that the candidate's guard would not answer, and how many of them a policy allows."""

import numpy as np
import pandas as pd
import pytest

from registry.gates.material import CANDIDATE, Material
from registry.gates.quality import judge_quality
from registry.gates.refusals import judge_refusals
from registry.policy import Policy


def make_material(refused: int | None) -> Material:
    """A hundred rows, of which the candidate refuses some; None: it has no guard."""
    answers = pd.DataFrame({"prediction": np.zeros(100)})
    if refused is not None:
        answers["nothing_found"] = np.arange(100) < refused
    return Material(
        rows=pd.DataFrame({"late": np.zeros(100)}),
        target="late",
        task="binary",
        classes=(0, 1),
        group=None,
        versions={CANDIDATE: "2"},
        answers={CANDIDATE: answers},
    )


@pytest.mark.parametrize(("refused", "verdict"), [(None, "yes"), (0, "yes"), (3, "yes"), (4, "no")])
def test_more_refusals_than_the_policy_allows_are_a_no(refused: int | None, verdict: str) -> None:
    said = judge_refusals(make_material(refused), 0.03)
    assert (said.verdict, said.numbers["refused"]) == (verdict, refused or 0)


def test_the_policy_asks_for_it_of_the_first_version_too() -> None:
    assert judge_quality(make_material(9), Policy(), attempt=1) == ()
    assert not Policy().asks_rows
    strict = Policy(max_refused=0.03)
    assert strict.asks_rows
    (said,) = judge_quality(make_material(9), strict, attempt=1)
    assert "refuses 9 of 100 rows (9.00%); 3.00% may be" in said.reason
