"""How often a year of weekly tries promotes a model that is no better, and how much data a better one takes.

Lives of one holder: attempt after attempt by fresh candidates that are exactly as good (or, with a margin,
exactly as much worse as it allows), on fresh rows. A life is lost when any attempt says yes. Beside the gate,
from the same draws: "the better metric wins", and a test at 5 % every week. LONG=1: ten times as many lives.

Rows are drawn where a test looks at rows; where it only looks at counts or block sums, these are drawn. The
gate is asked only where Student's t alone would say yes: it is the more cautious of several, so all other
answers are no.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, stdtrit

sys.path.insert(0, str(Path(__file__).parents[1]))

from registry.gates import mcnemar
from registry.gates.bootstrap import estimate, estimate_auc
from registry.gates.budget import level_of_attempt
from registry.gates.material import CANDIDATE, HOLDER, Material
from registry.gates.metric import judge_metric
from registry.policy import MetricPolicy
from registry.prediction import PREDICTION

SCALE: Final = 10 if os.environ.get("LONG") else 1
SEED: Final = int(os.environ.get("SEED", "20260101"))
ALPHA: Final = 0.05
YEAR, CAREER = 52, 500
LEVELS: Final = np.array([level_of_attempt(ALPHA, attempt) for attempt in range(1, CAREER + 1)])
DISCORDANCE: Final = 0.08
"""Share of rows on which exactly one of two models is right."""

CELLS: Final = 4_000_000
"""Rows drawn at a time."""

Floats = NDArray[np.float64]
Draw = tuple[Floats, Floats | None]
"""Differences (attempts, units), and rows of each unit (units,); None: one each."""


@dataclass(frozen=True)
class Scenario:
    """Equal models of one kind; ``draw(generator, attempts)`` gives what they add, unit by unit."""

    name: str
    units: int
    lives: int
    draw: Callable[[np.random.Generator, int], Draw]
    margin: float = 0.0


def main() -> None:
    """Prints everything."""
    print(f"seed {SEED}; error budget {ALPHA} per holder; intervals: Clopper-Pearson 95 %\n")
    print("P(any false promotion) against one holder")
    header = f"{'lives':>7}  {'better wins':>11} {'weekly 5 %':>10}   {'gate, 52 attempts':<24}gate, 500"
    print(f"  {'equal models':<46}{header}")
    spend_error_rates()
    for scenario in list_scenarios():
        spend(scenario)
    measure_auc()
    measure_clusters()
    measure_power()
    measure_time()


def list_scenarios() -> list[Scenario]:
    """Means of losses; rows are few, since there the approximations are worst."""
    generator = np.random.default_rng(SEED)
    worse = -float(np.mean([draw_log_loss(generator, 2_000, 1_000, sure=1.8).mean() for _ in range(4)]))
    return [
        Scenario("log loss, 300 rows", 300, 2_000, lambda g, n: (draw_log_loss(g, n, 300), None)),
        Scenario(
            f"log loss, overconfident, at margin {worse:.3f}",
            300,
            2_000,
            lambda g, n: (draw_log_loss(g, n, 300, sure=1.8), None),
            worse,
        ),
        Scenario(
            "multiclass (4) log loss, 200 rows", 200, 2_000, lambda g, n: (draw_multiclass(g, n, 200), None)
        ),
        Scenario(
            "squared error, heavy tails, 300 rows", 300, 2_000, lambda g, n: (draw_squares(g, n, 300), None)
        ),
        Scenario("grouped, 30 days of 20 to 200 rows", 30, 10_000, lambda g, n: draw_days(g, n, 30)),
        Scenario("grouped, 60 days of 20 to 200 rows", 60, 10_000, lambda g, n: draw_days(g, n, 60)),
        Scenario(
            "grouped, 30 days, some very bad (skewed)", 30, 10_000, lambda g, n: draw_bad_days(g, n, 30)
        ),
    ]


def draw_log_loss(generator: np.random.Generator, attempts: int, rows: int, sure: float = 1.0) -> Floats:
    """Two models that see the truth through noise; ``sure`` stretches the candidate's logits."""
    shape = (attempts, rows)
    logit = 1.5 * generator.standard_normal(shape, dtype=np.float32)
    sign = np.where(generator.random(shape, dtype=np.float32) < expit(logit), 1, -1).astype(np.float32)
    losses = [
        np.logaddexp(0, -sign * stretch * (logit + 0.7 * generator.standard_normal(shape, dtype=np.float32)))
        for stretch in (1.0, sure)
    ]
    return np.asarray(losses[0] - losses[1], dtype=np.float64)


def draw_multiclass(generator: np.random.Generator, attempts: int, rows: int) -> Floats:
    """Four classes, the truth by Gumbel's trick."""
    shape = (4, attempts, rows)
    logit = 1.5 * generator.standard_normal(shape, dtype=np.float32)
    noise = -np.log(np.maximum(generator.standard_exponential(shape, dtype=np.float32), 1e-30))
    truth = (logit + noise).argmax(axis=0)[None]
    losses = []
    for _ in range(2):
        seen = logit + 0.7 * generator.standard_normal(shape, dtype=np.float32)
        losses.append(np.log(np.exp(seen).sum(axis=0)) - np.take_along_axis(seen, truth, 0)[0])
    return np.asarray(losses[0] - losses[1], dtype=np.float64)


def draw_squares(generator: np.random.Generator, attempts: int, rows: int) -> Floats:
    """Student's noise with 5 degrees of freedom in the truth, normal errors of both models."""
    shape = (attempts, rows)
    noise = generator.standard_normal(shape) / np.sqrt(generator.chisquare(5, shape) / 5)
    one, two = 0.5 * generator.standard_normal((2, *shape))
    return np.asarray((noise - one) ** 2 - (noise - two) ** 2)


def draw_days(generator: np.random.Generator, attempts: int, days: int) -> Draw:
    """Day sums: rows of a day share a shock as large as a fifth of their own noise; sizes are unequal."""
    counts = np.linspace(20, 200, days).round()
    shock, noise = generator.standard_normal((2, attempts, days))
    return 0.2 * shock * counts + noise * np.sqrt(counts), counts


def draw_bad_days(generator: np.random.Generator, attempts: int, days: int) -> Draw:
    """The shock is lognormal to the bad side: few days on which the candidate fails badly."""
    shock = np.exp(0.5 * generator.standard_normal((attempts, days)))
    noise = generator.standard_normal((attempts, days))
    return -100 * 0.3 * (shock - np.exp(0.125)) + 10 * noise, np.full(days, 100.0)


def spend(scenario: Scenario) -> None:
    """One line: lives of 500 attempts."""
    generator = np.random.default_rng(SEED)
    lives = scenario.lives * SCALE
    lost = {name: np.full(lives, CAREER) for name in ("wins", "weekly", "gate")}
    step = max(1, CELLS // (scenario.units * CAREER))
    for first in range(0, lives, step):
        count = min(step, lives - first)
        sums, counts = scenario.draw(generator, count * CAREER)
        means, t = studentise(sums, counts, scenario.margin)
        attempt = np.tile(np.arange(CAREER), count)
        freedom = scenario.units - 1.0
        weekly = t >= -stdtrit(freedom, 0.05)
        maybe = np.flatnonzero(t >= -stdtrit(freedom, LEVELS)[attempt])
        gate = np.zeros(len(t), dtype=bool)
        for place in maybe:
            gate[place] = ask(sums[place], counts, scenario.margin, float(LEVELS[attempt[place]]))
        for name, yes in (("wins", means > -scenario.margin), ("weekly", weekly), ("gate", gate)):
            lost[name][first : first + count] = find_first(yes.reshape(count, CAREER))
    show(scenario.name, lost)


def studentise(sums: Floats, counts: Floats | None, margin: float) -> tuple[Floats, Floats]:
    """Means and their t, with the jackknife's standard error as the gate has it."""
    size = sums.shape[1]
    sizes = np.ones(size) if counts is None else counts
    means = sums.sum(axis=1) / sizes.sum()
    rests = (sums - means[:, None] * sizes) / (sizes.sum() - sizes)
    return means, (means + margin) / np.sqrt((size - 1) / size * (rests**2).sum(axis=1))


def ask(sums: Floats, counts: Floats | None, margin: float, level: float) -> bool:
    """The gate, on rows."""
    differences, blocks = sums, None
    if counts is not None:
        blocks = np.repeat(np.arange(len(sums)), counts.astype(int))
        differences = np.repeat(sums / counts, counts.astype(int))
    cheap = estimate(differences, np.zeros_like(differences), blocks, level=level, margin=margin, draws=0)
    if cheap.p_value > level:
        return False
    found = estimate(differences, np.zeros_like(differences), blocks, level=level, margin=margin, draws=4_000)
    return found.p_value <= level


def find_first(yes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first attempt of each life that says yes; CAREER if none does."""
    return np.where(yes.any(axis=1), yes.argmax(axis=1), CAREER)


def show(name: str, lost: dict[str, NDArray[np.intp]]) -> None:
    """Shares of lives lost within a year, and within 500 attempts."""
    lives = len(lost["gate"])
    shares = [f"{(lost[kind] < YEAR).mean():.3f}" for kind in ("wins", "weekly")]
    spans = [word_share(int((lost["gate"] < span).sum()), lives) for span in (YEAR, CAREER)]
    print(f"  {name:<46}{lives:>7}  {shares[0]:>11} {shares[1]:>10}   {spans[0]:<24}{spans[1]}", flush=True)


def word_share(hits: int, trials: int) -> str:
    """A share with its interval."""
    low = float(stats.beta.ppf(0.025, hits, trials - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, trials - hits)) if hits < trials else 1.0
    return f"{hits / trials:.4f} [{low:.4f}, {high:.4f}]"


def spend_error_rates() -> None:
    """Error rates: counts of discordant rows say all, so they are drawn."""
    for rows, margin in ((1_000, 0.0), (10_000, 0.0), (1_000, 0.01), (300, 0.02)):
        generator = np.random.default_rng(SEED)
        odds = [(DISCORDANCE - margin) / 2, (DISCORDANCE + margin) / 2, 1 - DISCORDANCE]
        parts: dict[str, list[NDArray[np.intp]]] = {"wins": [], "weekly": [], "gate": []}
        for _ in range(10 * SCALE):
            counts = generator.multinomial(rows, odds, size=(2_000, CAREER))
            better, worse = counts[..., 0], counts[..., 1]
            p_values = find_p_values(better, worse, rows, margin)
            parts["wins"].append(find_first((better - worse) / rows > -margin))
            parts["weekly"].append(find_first(p_values <= 0.05))
            parts["gate"].append(find_first(p_values <= LEVELS))
        kind = f"worse by margin {margin:g}" if margin else "McNemar"
        lost = {name: np.concatenate(part) for name, part in parts.items()}
        show(f"error rate, {kind}, {rows:,} rows", lost)


def find_p_values(better: Any, worse: Any, rows: int, margin: float) -> Floats:
    """The gate's p-values; 1 where the textbook's statistic is far from any level."""
    near = (better - worse + rows * margin) / np.sqrt(np.maximum(better + worse, 1)) > 1.3
    pairs, places = np.unique(np.column_stack([better[near], worse[near]]), axis=0, return_inverse=True)
    found = np.ones(better.shape)
    found[near] = np.array([ask_counts(*pair, rows, margin) for pair in pairs.tolist()])[places]
    return found


@cache
def ask_counts(better: int, worse: int, rows: int, margin: float) -> float:
    """The gate's p-value for counts."""
    if margin:
        return mcnemar.test_margin(better, worse, rows, margin)
    return mcnemar.test_discordant(better, worse)


def measure_auc() -> None:
    """Single attempts at the first levels: two scores that are equally good, one row in five positive."""
    print("\nROC AUC of equal scores: share promoted, by attempt (300 rows, 60 positive)")
    trials = 4_000 * SCALE
    for attempt in (1, 2, 3):
        generator, level, hits = np.random.default_rng(SEED + attempt), float(LEVELS[attempt - 1]), 0
        for _ in range(trials):
            truth = np.arange(300) < 60
            scores = truth + generator.normal(size=300) + 0.7 * generator.normal(size=(2, 300))
            found = estimate_auc(truth, scores[0], scores[1], level=level, draws=0)
            if found.p_value <= level:
                found = estimate_auc(truth, scores[0], scores[1], level=level, draws=4_000)
                hits += found.p_value <= level
        print(f"  attempt {attempt}, level {level:.4f}: {word_share(hits, trials)}", flush=True)


def measure_clusters() -> None:
    """Rows that depend on each other, taken as if they did not, and as blocks; on rows, by the whole gate."""
    print("\nEqual models, 40 days of 50 rows, 1 tenth of the variance shared by a day: share promoted")
    level, trials, hits = float(LEVELS[0]), 400 * SCALE, {"rows": 0, "days": 0}
    generator, days = np.random.default_rng(SEED), np.repeat(np.arange(40), 50)
    for _ in range(trials):
        shock = (1 / 3) * generator.standard_normal(40)
        losses = shock[days] + generator.standard_normal(len(days)) + 2.0
        for name, blocks in (("rows", None), ("days", days)):
            found = estimate(losses, np.full(len(days), 2.0), blocks, level=level, draws=1_000)
            hits[name] += found.p_value <= level
    for name, count in hits.items():
        print(f"  bootstrap of {name}, level {level:.4f}: {word_share(count, trials)}", flush=True)


def measure_power() -> None:
    """One point better, 8 % discordant: at once with 10,000 rows; with 300 rows the number of rows named."""
    print(f"\nA candidate that is 1 point better, {DISCORDANCE:.0%} of rows discordant")
    generator, odds = np.random.default_rng(SEED), [0.045, 0.035, 0.92]
    trials = 20_000 * SCALE
    hits = count_yes(generator, 10_000, odds, float(LEVELS[0]), trials)
    exact = mcnemar.find_power(10_000, 0.01, DISCORDANCE, float(LEVELS[0]))
    print(f"  10,000 rows, first attempt: promoted {word_share(hits, trials)}, exact {exact:.4f}")
    said: dict[str, int] = {}
    named: list[int] = []
    policy = MetricPolicy(name="error", effect=0.01)
    for _ in range(300 * SCALE):
        result, _ = judge_metric(
            make_material(generator, 300, odds), policy, level=LEVELS[0], next_level=LEVELS[1]
        )
        said[result.verdict] = said.get(result.verdict, 0) + 1
        named.append(result.numbers["needed"])
    shares = ", ".join(f"{name} {count / sum(said.values()):.3f}" for name, count in sorted(said.items()))
    middle = int(np.median(named))
    print(f"  300 rows, first attempt: {shares}; rows named: median {middle:,}")
    tried = [count_yes(generator, rows, odds, float(LEVELS[1]), 200) for rows in named]
    best = mcnemar.rows_needed(0.01, DISCORDANCE, float(LEVELS[1]))
    print(f"  with the rows named, second attempt: promoted {word_share(sum(tried), 200 * len(named))}")
    print(f"  (who knows the discordance would name {best:,}; promised 0.90)", flush=True)


def count_yes(generator: np.random.Generator, rows: int, odds: list[float], level: float, trials: int) -> int:
    """Attempts of a better candidate that are promoted."""
    counts = generator.multinomial(rows, odds, size=trials)
    return sum(mcnemar.test_discordant(better, worse) <= level for better, worse, _ in counts.tolist())


def make_material(generator: np.random.Generator, rows: int, odds: list[float]) -> Material:
    """Labels of both models on rows with their truth."""
    kinds = generator.choice(3, p=odds, size=rows)
    truth = generator.integers(0, 2, rows)
    holder, candidate = np.where(kinds == 0, 1 - truth, truth), np.where(kinds == 1, 1 - truth, truth)
    return Material(
        rows=pd.DataFrame({"y": truth}),
        target="y",
        task="binary",
        classes=(0, 1),
        group=None,
        versions={HOLDER: "1", CANDIDATE: "2"},
        answers={
            HOLDER: pd.DataFrame({PREDICTION: holder}),
            CANDIDATE: pd.DataFrame({PREDICTION: candidate}),
        },
    )


def measure_time() -> None:
    """10,000 draws of 100,000 rows, one thread."""
    print("\n10,000 draws of 100,000 rows")
    generator = np.random.default_rng(SEED)
    holder = generator.exponential(size=100_000)
    candidate = holder + generator.normal(0, 0.3, len(holder))
    truth = generator.random(len(holder)) < 0.2
    days = generator.integers(0, 60, len(holder))
    asked: dict[str, Callable[[], object]] = {
        "mean of a loss, rows": lambda: estimate(holder, candidate, level=0.03),
        "mean of a loss, 60 days": lambda: estimate(holder, candidate, days, level=0.03),
        "ROC AUC, rows": lambda: estimate_auc(truth, holder, candidate, level=0.03),
    }
    for name, ask_it in asked.items():
        start, spent = time.perf_counter(), time.process_time()
        ask_it()
        wall, cpu = time.perf_counter() - start, time.process_time() - spent
        print(f"  {name:<28}{wall:6.2f} s, of processor time {cpu:6.2f} s", flush=True)
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  memory at its highest {highest:.0f} MB, all of this run")


if __name__ == "__main__":
    main()
