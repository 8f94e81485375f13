"""How often quiet windows alarm, and how surely planted drift is found.

Twenty columns, references of 2,000 rows as they travel in an artifact. Asked of our test, and beside it what
is commonly done from the same draws: Kolmogorov and Smirnov at 5 % in each column, and PSI above 0.1 or 0.2
(ten bins of the reference). For days with something in common: our test with and without blocks.

Left out: reading the log. A quick look: ``DRAWS=100 python benchmarks/bench_drift.py``.
"""

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from serving.monitoring.drift import DriftRule, Sample, find_drift

DRAWS = int(os.environ.get("DRAWS", "1000"))
COLUMNS = 20
REFERENCE = 2_000
OTHERS = 100
"""Windows that the others are asked about."""

RULE = DriftRule()

Maker = Callable[[np.random.Generator, int], NDArray[np.float64]]


def make_plain(generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Normal, independent columns."""
    return generator.normal(size=(rows, COLUMNS))


def make_correlated(generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Columns that correlate by 0.8."""
    common = generator.normal(size=(rows, 1))
    return np.asarray(np.sqrt(0.8) * common + np.sqrt(0.2) * generator.normal(size=(rows, COLUMNS)))


def make_mixed(generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Skewed, coarse, mostly zero, and with gaps."""
    table = np.column_stack(
        [
            generator.lognormal(0, 1.5, (rows, 5)),
            generator.integers(0, 4, (rows, 5)),
            generator.poisson(0.1, (rows, 5)),
            generator.normal(size=(rows, 5)),
        ]
    ).astype(np.float64)
    table[:, 15:][generator.uniform(size=(rows, 5)) < 0.1] = np.nan
    return table


def to_sample(
    values: NDArray[np.float64], blocks: NDArray[np.intp] | None = None, *, texts: int = 0
) -> Sample:
    """As the monitor takes it; some numbers become texts."""
    table = pd.DataFrame(values, columns=[f"c{place}" for place in range(values.shape[1])])
    for place in range(texts):
        table[f"t{place}"] = np.floor(np.abs(values[:, place]) * 3).astype(int).astype(str)
    return Sample(table, pd.DataFrame(index=table.index), blocks)


def count_alarms(pairs: Iterator[tuple[Sample, Sample]]) -> dict[str, float]:
    """Shares of windows that are called drifted; the others are asked about the first windows only."""
    said: dict[str, list[bool]] = {}
    for reference, window in pairs:
        said.setdefault("ours", []).append(find_drift(reference, window, RULE).verdict == "drift")
        if len(said["ours"]) > OTHERS:
            continue
        if window.blocks is not None:
            sides = [Sample(one.inputs, one.scores) for one in (reference, window)]
            loose = find_drift(sides[0], sides[1], RULE)
            said.setdefault("ours, rows by themselves", []).append(loose.verdict == "drift")
            continue
        said.setdefault("KS 5 % each", []).append(_ks_each(reference, window))
        psi = _psi(reference, window)
        said.setdefault("PSI > 0.1", []).append(psi > 0.1)
        said.setdefault("PSI > 0.2", []).append(psi > 0.2)
    return {name: sum(answers) / len(answers) for name, answers in said.items()}


def _ks_each(reference: Sample, window: Sample) -> bool:
    return any(
        ks_2samp(reference.inputs[name].dropna(), window.inputs[name].dropna(), method="asymp").pvalue < 0.05
        for name in window.inputs
        if window.inputs[name].dtype == float
    )


def _psi(reference: Sample, window: Sample) -> float:
    largest = 0.0
    for name in window.inputs:
        if window.inputs[name].dtype != float:
            continue
        before, after = reference.inputs[name].dropna(), window.inputs[name].dropna()
        edges = np.unique(np.quantile(before, np.linspace(0, 1, 11)[1:-1]))
        p, q = (
            np.maximum(np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) / len(side), 1e-4)
            for side in (before, after)
        )
        largest = max(largest, float(((p - q) * np.log(p / q)).sum()))
    return largest


def draw_pairs(
    make: Maker, rows: int, draws: int, *, shift: float = 0.0, texts: int = 0
) -> Iterator[tuple[Sample, Sample]]:
    """References and windows; the first column may be shifted."""
    for seed in range(draws):
        generator = np.random.default_rng([rows, seed])
        before, after = make(generator, REFERENCE), make(generator, rows)
        after[:, 0] += shift
        yield to_sample(before, texts=texts), to_sample(after, texts=texts)


def draw_blocks(
    window: int, reference: int, rows: int, draws: int, *, tie: float, shift: float = 0.0
) -> Iterator[tuple[Sample, Sample]]:
    """Days with something in common: a share ``tie`` of the variance belongs to the day."""
    for seed in range(draws):
        generator = np.random.default_rng([window, reference, seed])
        sides = []
        for days in (reference, window):
            common = np.repeat(generator.normal(size=(days, COLUMNS)), rows, axis=0)
            own = generator.normal(size=(days * rows, COLUMNS))
            sides.append((np.sqrt(tie) * common + np.sqrt(1 - tie) * own, np.repeat(np.arange(days), rows)))
        sides[1][0][:, 0] += shift
        yield to_sample(*sides[0]), to_sample(*sides[1])


def count_doubles(rows: int, draws: int) -> dict[str, float]:
    """Shares of pairs of quiet windows, on one reference, that are an alarm: the same column twice."""
    alarms = 0
    for seed in range(draws):
        generator = np.random.default_rng([7, rows, seed])
        reference, *windows = (to_sample(make_plain(generator, size)) for size in (REFERENCE, rows, rows))
        first, second = (set(find_drift(reference, window, RULE).drifted) for window in windows)
        alarms += bool(first & second)
    return {"ours": alarms / draws}


def show(title: str, found: dict[str, float], started: float, draws: int) -> None:
    """One line of the table."""
    words = "  ".join(f"{name} {share:7.2%}" for name, share in found.items())
    print(f"{title:58s} {words}   ({(time.perf_counter() - started) / draws * 1000:.0f} ms each)", flush=True)


def main() -> None:
    """All lines."""
    print(f"{DRAWS} draws per line; shares of windows called drifted")
    for rows in (200, 500, 2_000, 10_000, 50_000):
        draws = max(20, min(DRAWS, DRAWS * 5_000 // rows))
        for name, make, texts in (
            ("plain", make_plain, 0),
            ("correlated", make_correlated, 0),
            ("mixed", make_mixed, 5),
        ):
            started = time.perf_counter()
            found = count_alarms(draw_pairs(make, rows, draws, texts=texts))
            show(f"quiet, {name}, n = {rows:,} ({draws} draws)", found, started, draws)
    started, draws = time.perf_counter(), max(20, DRAWS // 2)
    show(f"two quiet windows, an alarm, n = 500 ({draws} draws)", count_doubles(500, draws), started, draws)
    for shift, rows in ((0.03, 50_000), (0.3, 500), (0.3, 2_000), (0.3, 10_000), (0.2, 2_000)):
        draws = max(20, min(DRAWS, DRAWS * 5_000 // rows))
        started = time.perf_counter()
        found = count_alarms(draw_pairs(make_plain, rows, draws, shift=shift))
        show(f"shift of {shift} sd in 1 of 20, n = {rows:,} ({draws} draws)", found, started, draws)
    for window, reference, shift in ((1, 30, 0.0), (7, 30, 0.0), (7, 30, 0.5), (7, 30, 1.0), (1, 30, 2.0)):
        draws = max(20, DRAWS // 5)
        started = time.perf_counter()
        found = count_alarms(draw_blocks(window, reference, 300, draws, tie=0.1, shift=shift))
        title = f"{window} against {reference} days, 10 % of variance by day, shift {shift} ({draws} draws)"
        show(title, found, started, draws)


if __name__ == "__main__":
    main()
