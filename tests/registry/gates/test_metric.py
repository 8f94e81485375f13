"""The metric gate on made-up answers: yes, no, and not enough data, each where it must be."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import DataError
from registry.gates.budget import level_of_attempt
from registry.gates.harm import judge_calibration, judge_slices
from registry.gates.material import Material
from registry.gates.metric import judge_floor, judge_metric, plan_look
from registry.gates.quality import judge_quality
from registry.policy import MetricPolicy, Policy, SlicesPolicy

LEVEL, NEXT = level_of_attempt(0.05, 1), level_of_attempt(0.05, 2)


def make_labels(rows: int, better: int, worse: int) -> Material:
    """The candidate alone has some rows right, the holder alone some others, and both the rest."""
    truth = np.zeros(rows, dtype=int)
    holder, candidate = truth.copy(), truth.copy()
    holder[:better] = 1
    candidate[better : better + worse] = 1
    answers = {
        "holder": pd.DataFrame({"prediction": holder}),
        "candidate": pd.DataFrame({"prediction": candidate}),
    }
    table = pd.DataFrame({"late": truth, "side": np.where(np.arange(rows) < rows // 2, "left", "right")})
    return Material(table, "late", "binary", (0, 1), None, {"holder": "1", "candidate": "2"}, answers)


def make_scores(rows: int, *, sharpness: float, seed: int = 0) -> Material:
    """The holder's probabilities are right; the candidate's logits are multiplied."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=rows)
    high = 1 / (1 + np.exp(-logits))
    sharp = 1 / (1 + np.exp(-logits * sharpness))
    table = pd.DataFrame({"late": (chance.random(rows) < high).astype(int)})
    answers = {
        who: pd.DataFrame({"probability.0": 1 - given, "probability.1": given})
        for who, given in (("holder", high), ("candidate", sharp))
    }
    return Material(table, "late", "binary", (0, 1), None, {"holder": "1", "candidate": "2"}, answers)


def judge(material: Material, **policy: Any) -> Any:
    return judge_metric(material, MetricPolicy(**policy), level=LEVEL, next_level=NEXT)[0]


def test_the_error_rate_is_judged_by_mcnemar_s_exact_test() -> None:
    said = judge(make_labels(10_000, 450, 350))
    assert said.verdict == "yes"
    assert said.numbers["p_value"] == pytest.approx(0.000228, rel=0.02)  # P(Bin(800, ½) ≥ 450)
    assert "error rate is 0.0100 lower" in said.reason


def test_three_hundred_rows_do_not_decide_about_one_point_and_the_number_that_would_is_named() -> None:
    said = judge(make_labels(300, 14, 10))
    assert said.verdict == "not_enough_data"
    assert 8_000 < said.numbers["needed"] < 25_000
    assert f"{said.numbers['needed']:,} rows (power 90%)" in said.reason


def test_no_is_said_where_an_improvement_worth_having_is_ruled_out() -> None:
    said = judge(make_labels(100_000, 4_000, 4_000))
    assert (said.verdict, "is the same" in said.reason) == ("no", True)
    assert judge(make_labels(10_000, 350, 450)).verdict == "no"
    assert judge(make_labels(10_000, 350, 450), effect=1e-9).verdict == "no"


def test_a_margin_lets_an_equal_version_pass_and_not_a_worse_one() -> None:
    lenient = {"mode": "non_inferiority", "margin": 0.01}
    assert judge(make_labels(10_000, 400, 400), **lenient).verdict == "yes"
    assert judge(make_labels(10_000, 300, 500), **lenient).verdict == "no"
    assert judge(make_labels(300, 12, 12), **lenient).verdict == "not_enough_data"


def test_the_best_version_so_far_counts_where_no_worse_is_enough() -> None:
    """The holder is a little worse than the best, the candidate a little worse than the holder."""
    material = make_labels(10_000, 0, 90)
    best = pd.DataFrame({"prediction": np.zeros(10_000, dtype=int)})
    holder = best.copy()
    holder.loc[9_000:9_089, "prediction"] = 1
    candidate = holder.copy()
    candidate.loc[8_000:8_089, "prediction"] = 1
    answers = {"holder": holder, "candidate": candidate, "best": best}
    versions = {"holder": "2", "candidate": "3", "best": "1"}
    creeping = Material(material.rows, "late", "binary", (0, 1), None, versions, answers)
    said = judge(creeping, mode="non_inferiority", margin=0.015)
    assert said.verdict != "yes"
    assert "Against version 1, the best so far" in said.reason
    without = Material(material.rows, "late", "binary", (0, 1), None, versions, {**answers, "best": holder})
    assert judge(without, mode="non_inferiority", margin=0.015).verdict == "yes"


@pytest.mark.parametrize("name", ["log_loss", "brier", "roc_auc"])
def test_probabilities_are_judged_by_any_metric_that_fits(name: str) -> None:
    material = make_scores(4_000, sharpness=1.0)
    noise = np.random.default_rng(1).random(4_000)
    material.answers["holder"]["probability.1"] = noise
    material.answers["holder"]["probability.0"] = 1 - noise
    said = judge(material, name=name)
    assert (said.verdict, said.numbers["metric"]) == ("yes", name)


def test_a_metric_that_does_not_fit_is_no_answer_and_says_which_would() -> None:
    policy = Policy(metric=MetricPolicy(name="log_loss"))
    (said,) = judge_quality(make_labels(100, 3, 3), policy, attempt=1)
    assert said.verdict == "not_enough_data"
    assert "needs probabilities" in said.reason


def test_a_floor_is_reached_or_not_and_may_be_chance() -> None:
    material = make_labels(10_000, 0, 900)
    ask = [
        judge_floor(material, MetricPolicy(floor=floor), level=LEVEL).verdict
        for floor in (0.12, 0.0905, 0.08)
    ]
    assert ask == ["yes", "not_enough_data", "no"]
    scores = make_scores(4_000, sharpness=1.0)
    auc = [
        judge_floor(scores, MetricPolicy(name="roc_auc", floor=floor), level=LEVEL).verdict
        for floor in (0.6, 0.9)
    ]
    assert auc == ["yes", "no"]


def test_a_slice_that_got_worse_is_refused_though_the_whole_got_better() -> None:
    material = make_labels(10_000, 900, 0)
    harmed = material.answers["candidate"].copy()
    harmed.loc[5_000:5_399, "prediction"] = 1
    material = make_labels(10_000, 900, 0)
    answers = {**material.answers, "candidate": harmed}
    harmed_material = Material(material.rows, "late", "binary", (0, 1), None, material.versions, answers)
    assert judge(harmed_material).verdict == "yes"
    policy = Policy(slices=SlicesPolicy(columns=("side",)))
    said = judge_slices(harmed_material, policy)
    assert said.verdict == "no"
    assert "side = right: error rate +0.0800 (5,000 rows)" in said.reason
    allowed = Policy(slices=SlicesPolicy(columns=("side",), margin=0.2))
    assert judge_slices(harmed_material, allowed).verdict == "yes"
    few = Policy(slices=SlicesPolicy(columns=("side",), min_rows=6_000))
    assert "2 of 2 slices have too few rows" in judge_slices(harmed_material, few).reason


def test_probabilities_that_do_not_come_true_are_refused() -> None:
    right, wrong = make_scores(20_000, sharpness=1.0), make_scores(20_000, sharpness=3.0)
    assert judge_calibration(right, 0.02).verdict == "yes"
    said = judge_calibration(wrong, 0.02)
    assert (said.verdict, said.numbers["slope"]) == ("no", pytest.approx(1 / 3, abs=0.03))
    with pytest.raises(DataError, match="without probabilities"):
        judge_calibration(make_labels(10, 1, 1), 0.1)


def test_what_a_look_takes_is_told_from_the_answers_alone() -> None:
    material = make_labels(300, 12, 12)
    said = plan_look(
        "binary",
        MetricPolicy(),
        material.answers["holder"],
        material.answers["candidate"],
        attempt=1,
        level=LEVEL,
        grouped=False,
    )
    assert said.startswith("This is attempt 1 at this holder, at level 0.03, on 300 rows.")
    assert "An improvement of 0.01 in error rate takes about 7,976 rows" in said
