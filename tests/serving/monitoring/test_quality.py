import numpy as np
import pandas as pd
import pytest

from serving.monitoring.outcomes import Task, find_task, list_scores, mark_scored, read_answers, read_truth
from serving.monitoring.quality import (
    Judged,
    compare_quality,
    estimate_quality,
    judge_rows,
    measure_quality,
)
from serving.monitoring.truths import measure_coverage

BINARY = Task("binary", ("0", "1"), {"on time": "0", "late": "1"})


def make_answers(probability: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "answer": np.where(probability >= 0.5, "late", "on time"),
            "probability_on time": 1 - probability,
            "probability_late": probability,
        }
    )


def test_labels_classes_and_their_spellings_are_one() -> None:
    answers = read_answers(make_answers(np.array([0.2, 0.9])), BINARY)
    assert answers.columns.tolist() == ["prediction", "probability.0", "probability.1"]
    assert answers["prediction"].tolist() == ["0", "1"]
    truth = read_truth(pd.Series([1.0, "late", True, "0", "never", None], dtype=object), BINARY)
    assert truth.tolist()[:4] == ["1", "1", "1", "0"]
    assert truth.isna().tolist() == [False, False, False, False, True, True]
    assert list_scores(answers, BINARY).columns.tolist() == ["probability of 1"]


def test_a_task_that_nobody_described_is_read_from_the_log() -> None:
    empty = pd.Series(dtype=object)
    assert find_task(make_answers(np.array([0.2])), empty).kind == "binary"
    assert find_task(pd.DataFrame({"prediction": [0.5, 2.7]}), empty).kind == "regression"
    plain = find_task(pd.DataFrame({"prediction": ["a", "b"]}), pd.Series(["c", "a"]))
    assert (plain.kind, plain.classes) == ("multiclass", ("a", "b", "c"))


def test_nothing_found_is_no_answer_and_is_not_judged() -> None:
    outputs = make_answers(np.array([0.2, 0.9]))
    outputs.loc[0] = None
    answers = read_answers(outputs, BINARY)
    assert mark_scored(answers).tolist() == [False, True]
    judged = judge_rows("error", pd.Series(["0", "1"]), answers, BINARY, None)
    assert judged is not None
    assert judged.losses.tolist() == [0.0]


def test_rows_of_which_less_was_asked_count_where_they_can() -> None:
    outputs = make_answers(np.array([0.2, 0.9, 0.4]))
    outputs.loc[0, ["probability_on time", "probability_late"]] = None
    answers, truth = read_answers(outputs, BINARY), pd.Series(["0", "1", "1"])
    assert mark_scored(answers).all()
    rows = {metric: judge_rows(metric, truth, answers, BINARY, None) for metric in ("error", "log_loss")}
    assert {metric: len(one.losses) for metric, one in rows.items() if one} == {"error": 3, "log_loss": 2}
    assert judge_rows("log_loss", truth, answers[["prediction"]], BINARY, None) is None


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        quality = measure_quality(Judged("squared_error", generator.exponential(size=200)))
        assert quality.lower is not None
        assert quality.upper is not None
        inside += quality.lower <= 1.0 <= quality.upper
    assert inside >= 51  # 57 expected; fewer than 51 would be a chance of 1 in 100


def test_blocks_widen_an_interval_and_one_block_has_none() -> None:
    generator = np.random.default_rng(1)
    blocks = np.repeat(np.arange(20), 50)
    losses = np.repeat(generator.normal(1, 1, 20), 50) + generator.normal(size=1000)
    loose, tied = (
        measure_quality(Judged("squared_error", losses)),
        measure_quality(Judged("squared_error", losses, blocks)),
    )
    assert (loose.upper or 0) - (loose.lower or 0) < 0.5 * ((tied.upper or 0) - (tied.lower or 0))
    alone = measure_quality(Judged("squared_error", losses, np.zeros(1000)))
    assert (alone.lower, alone.upper, alone.units) == (None, None, 1)


def test_worse_by_less_than_the_margin_is_not_worse() -> None:
    generator = np.random.default_rng(1)
    before, after = (Judged("error", (generator.uniform(size=5000) < p).astype(float)) for p in (0.1, 0.15))
    assert compare_quality(before, after, margin=0.0, level=0.05).p_value < 0.001
    assert compare_quality(before, after, margin=0.1, level=0.05).p_value > 0.5
    assert compare_quality(after, before, margin=0.0, level=0.05).p_value > 0.99


@pytest.mark.parametrize("metric", ["log_loss", "brier", "error", "roc_auc"])
def test_the_estimate_without_truth_is_right_where_probabilities_come_true(metric: str) -> None:
    generator = np.random.default_rng(3)
    probability = generator.beta(1, 3, 40_000)
    answers = read_answers(make_answers(probability), BINARY)
    truth = pd.Series(np.where(generator.uniform(size=40_000) < probability, "1", "0"), dtype=object)
    judged = judge_rows(metric, truth, answers, BINARY, None)
    assert judged is not None
    assert estimate_quality(metric, answers, BINARY) == pytest.approx(judged.value, abs=0.01)


def test_truth_that_comes_later_for_one_class_is_told() -> None:
    rows = 2_000
    generator = np.random.default_rng(5)
    probability = generator.uniform(size=rows)
    late = generator.uniform(size=rows) < probability
    times = pd.Series(pd.date_range("2026-03-01", periods=rows, freq="1min", tz="UTC", unit="us"))
    delay = pd.to_timedelta(np.where(late, 5, 2), unit="h")
    told = (times + delay).where(times + delay < times.max())
    truth = pd.Series(np.where(late, "1", "0"), dtype=object).where(told.notna())
    answers = read_answers(make_answers(probability), BINARY)
    coverage = measure_coverage(times=times, truth=truth, truth_times=told, answers=answers, task=BINARY)
    assert (coverage.rows, coverage.answered) == (rows, rows)
    assert 0.8 < coverage.share < 0.95
    assert coverage.late_s == pytest.approx(5 * 3600)
    assert coverage.warnings[-1].startswith(
        "the truth arrives later for 1 (half of it after 5.0 h) than for 0 (2.0 h)"
    )


def test_a_known_part_that_is_not_like_the_rest_is_told() -> None:
    probability = np.random.default_rng(5).uniform(size=2_000)
    known = probability > 0.5
    times = pd.Series(pd.date_range("2026-03-01", periods=2_000, freq="1min", tz="UTC", unit="us"))
    coverage = measure_coverage(
        times=times,
        truth=pd.Series("1", index=times.index, dtype=object).where(known),
        truth_times=(times + pd.Timedelta(hours=1)).where(known),
        answers=read_answers(make_answers(probability), BINARY),
        task=BINARY,
    )
    assert "are not like the" in coverage.warnings[0]
