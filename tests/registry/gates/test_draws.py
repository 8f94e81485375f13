import numpy as np
import pytest
from scipy import stats

from registry.gates.draws import draw_statistics
from registry.gates.tail import Tail, find_critical, find_p_value
from registry.gates.units import gather


@pytest.mark.parametrize("size", [60, 3_000])
def test_draws_scatter_as_student_says_where_units_are_normal(size: int) -> None:
    """Sixty units are drawn with replacement, three thousand by Poisson weights."""
    units = gather(np.random.default_rng(0).normal(size=size), None)
    found = draw_statistics(units, 4_000, seed=1)
    assert found.mean() == pytest.approx(0, abs=0.1)
    assert np.quantile(found, [0.05, 0.95]) == pytest.approx(stats.t(size - 1).ppf([0.05, 0.95]), abs=0.2)


def test_draws_of_skewed_units_are_skewed_the_other_way() -> None:
    units = gather(-np.random.default_rng(2).exponential(size=40), None)
    found = draw_statistics(units, 4_000, seed=3)
    assert np.quantile(found, 0.97) > 1.1 * stats.t(39).ppf(0.97)


def test_units_of_unequal_size_have_their_own_scatter_and_fewer_degrees_of_freedom() -> None:
    generator = np.random.default_rng(4)
    sizes = np.array([200] + [10] * 20)
    blocks = np.repeat(np.arange(21), sizes)
    units = gather(generator.normal(size=21)[blocks], blocks)
    left_out = [units.sums.sum() - units.sums, units.counts.sum() - units.counts]
    means = left_out[0] / left_out[1]
    assert units.standard_error == pytest.approx(np.sqrt(20 / 21 * ((means - units.mean) ** 2).sum()))
    assert units.freedom < 2
    assert gather(np.zeros(8), None).freedom == 7


def test_skewness_is_scipys() -> None:
    values = np.random.default_rng(5).exponential(size=50)
    assert gather(values, None).skewness == pytest.approx(stats.skew(values, bias=False))


@pytest.mark.parametrize("skewness", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("units", [8, 30, 100_000])
@pytest.mark.parametrize("level", [0.03, 1e-4])
def test_the_critical_value_is_where_the_p_value_is_the_level(
    skewness: float, units: int, level: float
) -> None:
    tail = Tail(units, units - 1.0, skewness, 1.05, 1_000)
    critical = find_critical(level, tail)
    assert find_p_value(critical, tail) == pytest.approx(level)
    assert critical >= stats.t(units - 1).isf(level)
    assert find_p_value(critical * 1.01, tail) < level < find_p_value(critical * 0.99, tail)
