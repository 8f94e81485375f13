from dataclasses import replace

import pytest

from registry.gates.bootstrap import Comparison
from registry.gates.verdict import GateResult, Verdict, combine, judge_improvement

BETTER = Comparison(0.067, 0.03, 0.1, 0.02, 0.95, 29_000, 31, 4)


def test_a_candidate_that_is_surely_better_passes_with_its_numbers_in_words() -> None:
    said = judge_improvement(BETTER, "log_loss", blocks="days")
    assert said.verdict == "yes"
    assert (
        "log loss is lower by 0.0670, at least 0.0300 with 95% confidence (29,000 rows in 31 days)"
        in said.reason
    )


def test_a_candidate_that_is_not_better_is_refused() -> None:
    said = judge_improvement(replace(BETTER, improvement=-0.01, lower=-0.02, upper=0.001), "error")
    assert said.verdict == "no"
    assert "0.0100 higher" in said.reason


def test_a_candidate_that_may_be_better_hears_how_much_data_it_takes() -> None:
    said = judge_improvement(
        replace(BETTER, improvement=0.01, lower=-0.01, blocks_needed=140), "log_loss", blocks="days"
    )
    assert said.verdict == "not_enough_data"
    assert "about 140 days" in said.reason


@pytest.mark.parametrize(
    ("said", "together"),
    [
        ([], "yes"),
        (["yes", "yes"], "yes"),
        (["yes", "not_enough_data"], "not_enough_data"),
        (["not_enough_data", "no", "yes"], "no"),
        (["yes", "pending"], "pending"),
    ],
)
def test_one_no_is_a_no(said: list[Verdict], together: Verdict) -> None:
    assert combine([GateResult("gate", verdict, "") for verdict in said]) == together


def test_an_overridden_gate_is_recorded_but_does_not_decide() -> None:
    assert combine([GateResult("metric", "no", "", decides=False), GateResult("trust", "yes", "")]) == "yes"
