import numpy as np
import pytest
from scipy import stats

from registry.gates import mcnemar
from registry.gates.budget import level_of_attempt
from registry.gates.mcnemar import bound_difference, find_power, rows_needed


def list_outcomes(rows: int) -> np.ndarray:
    return np.array([(b, c) for b in range(rows + 1) for c in range(rows + 1 - b)])


def weigh(outcomes: np.ndarray, rows: int, discordance: float, margin: float) -> np.ndarray:
    """Chance of each outcome where the candidate is worse by exactly the margin."""
    better, worse = (discordance - margin) / 2, (discordance + margin) / 2
    counts = np.column_stack([outcomes, rows - outcomes.sum(axis=1)])
    return np.asarray(stats.multinomial.pmf(counts, rows, [max(better, 0.0), worse, 1 - discordance]))


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 5), (5, 0), (12, 2), (400, 330), (5_000, 4_700)])
def test_the_exact_test_is_scipys_one_sided_binomial_test(better: int, worse: int) -> None:
    expected = (
        stats.binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
    )
    assert mcnemar.test_discordant(better, worse) == pytest.approx(expected)


def test_a_model_and_itself_are_never_told_apart() -> None:
    assert mcnemar.test_discordant(0, 0) == 1.0


@pytest.mark.parametrize("margin", [0.02, 0.1])
@pytest.mark.parametrize("rows", [8, 24])
def test_non_inferiority_holds_its_level_whatever_the_discordance(rows: int, margin: float) -> None:
    """Every outcome counted, so this is no simulation."""
    outcomes = list_outcomes(rows)
    p_values = np.array([mcnemar.test_margin(b, c, rows, margin) for b, c in outcomes.tolist()])
    for discordance in np.linspace(margin, 1, 25):
        chances = weigh(outcomes, rows, float(discordance), margin)
        for level in (0.05, level_of_attempt(0.05, 1), 0.001):
            assert chances[p_values <= level].sum() <= level


def test_with_many_rows_the_exact_test_at_the_margin_is_near_the_textbook() -> None:
    exact = mcnemar.test_margin(400, 400, 10_000, 0.005)
    assert exact == pytest.approx(stats.norm.sf(50 / np.sqrt(800)), rel=0.1)


def test_no_discordant_rows_still_leave_the_chance_that_they_were_missed() -> None:
    assert 0.95**100 <= mcnemar.test_margin(0, 0, 100, 0.05) <= 2 * 0.95**100
    assert mcnemar.test_margin(0, 0, 100_000, 0.05) < 1e-8


def test_a_negative_margin_asks_for_more_than_superiority() -> None:
    seen = [mcnemar.test_margin(60, 20, 1_000, margin) for margin in (0.01, -0.01, -0.03, -0.05)]
    assert seen == sorted(seen)
    assert seen[1] < 0.01
    assert seen[3] > 0.5


def test_score_bounds_are_those_of_tango() -> None:
    """Airway reactivity, 50 children: 12 and 2 discordant (Newcombe, Statistics in Medicine 17, 1998)."""
    assert bound_difference(12, 2, 50, 0.025) == pytest.approx((0.0611, 0.3447), abs=5e-5)


def test_bounds_are_symmetric_and_hold_no_change_where_there_is_none() -> None:
    lower, upper = bound_difference(30, 11, 500, 0.05)
    assert bound_difference(11, 30, 500, 0.05) == pytest.approx((-upper, -lower))
    nothing = bound_difference(0, 0, 500, 0.05)
    assert nothing[0] < 0 < nothing[1]


def test_one_point_with_ten_thousand_rows_is_seen_at_the_first_attempt() -> None:
    assert find_power(10_000, 0.01, 0.08, level_of_attempt(0.05, 1)) >= 0.9


@pytest.mark.parametrize(
    ("effect", "discordance", "attempt"), [(0.01, 0.08, 2), (0.05, 0.3, 1), (0.1, 0.1, 3)]
)
def test_the_rows_named_have_the_power_promised(effect: float, discordance: float, attempt: int) -> None:
    level = level_of_attempt(0.05, attempt)
    rows = rows_needed(effect, discordance, level)
    generator = np.random.default_rng(5)
    odds = [(discordance + effect) / 2, (discordance - effect) / 2, 1 - discordance]
    counts = generator.multinomial(rows, odds, size=2_000)
    seen = np.mean([mcnemar.test_discordant(b, c) <= level for b, c, _ in counts.tolist()])
    assert seen == pytest.approx(find_power(rows, effect, discordance, level), abs=0.03)
    assert seen > 0.88
    assert find_power(int(rows * 0.9), effect, discordance, level) < 0.9


@pytest.mark.parametrize("call", [
    lambda: mcnemar.test_margin(5, 6, 10, 0.1),
    lambda: mcnemar.test_margin(5, 5, 10, 1.0),
    lambda: mcnemar.test_discordant(-1, 3),
    lambda: rows_needed(0.2, 0.1, 0.05),
    lambda: rows_needed(0.0, 0.1, 0.05),
])  # fmt: skip
def test_counts_and_effects_that_cannot_be_are_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"impossible|margin|effect"):
        call()
