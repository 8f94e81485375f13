from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from registry.gates.auc import find_auc, find_influence
from registry.gates.bootstrap import estimate, estimate_auc
from registry.gates.budget import level_of_attempt

LEVEL = level_of_attempt(0.05, 1)
FAR = level_of_attempt(0.05, 500)

LOSSES = st.lists(st.floats(0, 30, allow_subnormal=False), min_size=2, max_size=40)


def simulate(seed: int, rows: int, shift: float = 0.0, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    holder = generator.exponential(size=rows)
    return holder, holder - shift + generator.normal(0, spread, rows)


def count_promoted(draw, *, trials: int, level: float, blocks: np.ndarray | None = None) -> int:  # type: ignore[no-untyped-def]
    """Equal models promoted; draws only where the cheaper readings say yes already."""
    hits = 0
    for seed in range(trials):
        holder, candidate = draw(np.random.default_rng(seed))
        found = estimate(holder, candidate, blocks, level=level, draws=0)
        if found.p_value <= level:
            hits += estimate(holder, candidate, blocks, level=level, draws=2_000).p_value <= level
    return hits


@given(LOSSES, st.sampled_from([LEVEL, FAR, 0.2]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_model_compared_with_itself_is_never_better(
    losses: list[float], level: float, grouped: bool
) -> None:
    same = np.array(losses)
    blocks = np.arange(len(same)) // 3 if grouped else None
    found = estimate(same, same * (1 + 1e-15), blocks, level=level, draws=200)
    assert found.p_value > level
    assert found.lower <= 0


def test_with_many_rows_it_is_the_paired_t_test() -> None:
    holder, candidate = simulate(0, 20_000, shift=0.004)
    found = estimate(holder, candidate, level=LEVEL, draws=500)
    reference = stats.ttest_rel(holder, candidate, alternative="greater")
    assert found.p_value == pytest.approx(reference.pvalue, rel=0.1)
    assert found.p_value >= reference.pvalue * 0.99
    assert found.standard_error == pytest.approx(stats.sem(holder - candidate))
    assert found.spread == pytest.approx(np.std(holder - candidate, ddof=1))


def test_the_other_way_round_is_the_mirror() -> None:
    holder, candidate = simulate(1, 500, shift=0.01)
    there = estimate(holder, candidate, level=LEVEL, draws=4_000)
    back = estimate(candidate, holder, level=LEVEL, draws=4_000)
    assert there.improvement == -back.improvement
    assert there.lower == pytest.approx(-back.upper, rel=0.02)
    assert there.p_value < 0.5 < back.p_value


@pytest.mark.parametrize("level", [LEVEL, 0.001, FAR])
@pytest.mark.parametrize("margin", [0.0, 0.02])
@pytest.mark.parametrize("grouped", [False, True])
def test_bound_and_p_value_say_the_same(level: float, margin: float, grouped: bool) -> None:
    for seed in range(12):
        holder, candidate = simulate(seed, 400, shift=seed * 0.01 - margin)
        blocks = np.arange(400) % 40 if grouped else None
        found = estimate(holder, candidate, blocks, level=level, margin=margin, draws=500)
        assert (found.p_value <= level) == (found.lower > -margin)
        assert found.lower < found.improvement < found.upper


def test_zeros_and_ones_on_rows_of_their_own_go_to_mcnemar() -> None:
    generator = np.random.default_rng(3)
    holder = (generator.random(2_000) < 0.2).astype(float)
    candidate = np.where(generator.random(2_000) < 0.05, 1 - holder, holder)
    found = estimate(holder, candidate, level=LEVEL)
    better, worse = int((holder > candidate).sum()), int((holder < candidate).sum())
    assert found.p_value == pytest.approx(
        stats.binomtest(better, better + worse, alternative="greater").pvalue
    )
    assert "McNemar" in found.method
    assert found.spread == pytest.approx(np.std(holder - candidate))
    assert "days" not in estimate(holder, candidate, np.arange(2_000) % 50, level=LEVEL, draws=200).method


def test_few_units_that_all_agree_can_be_chance() -> None:
    """Five days, all better by nearly the same: Student's t alone would say one in ten million."""
    days = np.repeat(np.arange(5), 10)
    holder = np.full(50, 0.6) + 1e-6 * days
    found = estimate(holder, np.full(50, 0.5), days, level=0.01)
    assert found.p_value == 0.5**5
    assert found.lower <= 0 < found.improvement


def test_a_handful_of_rows_that_differ_at_all_is_a_handful_of_rows() -> None:
    holder = np.full(10_000, 0.3)
    candidate = holder.copy()
    candidate[:4] -= 0.1
    assert estimate(holder, candidate, level=LEVEL).p_value >= 0.5**4


def test_a_single_block_proves_nothing() -> None:
    holder, candidate = simulate(4, 300, shift=1.0)
    found = estimate(holder, candidate, np.zeros(300), level=LEVEL)
    assert (found.p_value, found.blocks) == (1.0, 1)
    assert found.lower <= 0


def test_equal_models_are_promoted_as_rarely_as_the_level_says_where_days_are_few_and_unequal() -> None:
    sizes = np.linspace(3, 30, 20).astype(int)
    days = np.repeat(np.arange(20), sizes)

    def draw(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shock = 0.3 * generator.normal(size=20)
        return shock[days] + generator.normal(size=len(days)), np.zeros(len(days))

    hits = count_promoted(draw, trials=2_000, level=LEVEL, blocks=days)
    assert 15 < hits <= 80  # 61 expected at the level; 80 is 2.4 standard deviations above


def test_rare_and_very_bad_answers_do_not_pass_as_an_improvement() -> None:
    """Skewed to the left, mean zero: plain t says yes 1.8 times too often here."""

    def draw(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return 1 - generator.exponential(size=60), np.zeros(60)

    plain = sum(
        stats.ttest_1samp(draw(np.random.default_rng(seed))[0], 0, alternative="greater").pvalue <= LEVEL
        for seed in range(2_000)
    )
    hits = count_promoted(draw, trials=2_000, level=LEVEL)
    assert plain > 90
    assert hits <= 70  # 61 expected at the level


def test_far_out_it_does_not_rest_on_draws_that_are_not_there() -> None:
    holder, candidate = simulate(5, 5_000, shift=0.03)
    found = estimate(holder, candidate, level=FAR, draws=500)
    reference = stats.ttest_rel(holder, candidate, alternative="greater").pvalue
    assert 0 < reference <= found.p_value < 20 * reference < FAR


def test_rows_that_depend_on_each_other_count_as_their_blocks() -> None:
    generator = np.random.default_rng(6)
    days = np.repeat(np.arange(40), 50)
    holder = 0.5 * generator.normal(size=40)[days] + generator.normal(size=2_000)
    by_row = estimate(holder, np.zeros(2_000), level=LEVEL, draws=200)
    by_day = estimate(holder, np.zeros(2_000), days, level=LEVEL, draws=200)
    assert by_day.standard_error > 2 * by_row.standard_error
    assert (by_day.blocks, by_row.blocks) == (40, 2_000)


def test_the_same_evidence_gives_the_same_figures() -> None:
    holder, candidate = simulate(7, 4_000)
    assert asdict(estimate(holder, candidate, level=LEVEL)) == asdict(
        estimate(holder, candidate, level=LEVEL)
    )


def test_auc_is_scikit_learns_ties_included() -> None:
    generator = np.random.default_rng(8)
    truth = generator.random(500) < 0.3
    score = (truth + generator.normal(size=500)).round(1)
    assert find_auc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert find_influence(truth, score).mean() == pytest.approx(roc_auc_score(truth, score))


def test_the_standard_error_of_an_auc_difference_is_delongs() -> None:
    generator = np.random.default_rng(9)
    truth = np.arange(400) < 120
    one, two = truth + generator.normal(size=(2, 400))
    found = estimate_auc(truth, one, two, level=LEVEL, draws=200)
    wins = [(score[:120, None] > score[None, 120:]).astype(float) for score in (one, two)]
    by_positive = np.cov([win.mean(axis=1) for win in wins])
    by_negative = np.cov([win.mean(axis=0) for win in wins])
    covariance = by_positive / 120 + by_negative / 280
    delong = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.standard_error == pytest.approx(delong, rel=0.01)
    assert found.improvement == pytest.approx(roc_auc_score(truth, two) - roc_auc_score(truth, one))


def test_a_score_and_itself_rank_alike_and_few_positives_prove_little() -> None:
    generator = np.random.default_rng(10)
    truth = np.arange(1_000) < 4
    score = generator.normal(size=1_000)
    assert estimate_auc(truth, score, 3 * score + 1, level=LEVEL).p_value == 1.0
    assert estimate_auc(truth, score, score + 9 * truth, level=1e-4, draws=500).p_value > 1e-4


@pytest.mark.parametrize("call", [
    lambda: estimate(np.zeros(3), np.zeros(4), level=LEVEL),
    lambda: estimate(np.zeros(0), np.zeros(0), level=LEVEL),
    lambda: estimate(np.array([0.1, np.nan]), np.zeros(2), level=LEVEL),
    lambda: estimate(np.zeros(2), np.zeros(2), level=0.7),
    lambda: estimate_auc(np.ones(3, dtype=bool), np.zeros(3), np.zeros(3), level=LEVEL),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"compared|finite|level|AUC"):
        call()


def test_a_difference_that_is_the_same_everywhere_does_not_scatter_by_rounding() -> None:
    holder = np.random.default_rng(0).random(300)
    found = estimate(holder, holder - 0.1, np.arange(300) % 30, level=0.03)
    assert (found.standard_error, found.p_value) == (0.0, 0.5**30)
