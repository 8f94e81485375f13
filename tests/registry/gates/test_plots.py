"""Pictures of a look: which there are, and that blocks stand in their own order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry.gates.material import Material, Timing
from registry.gates.plots import _average_blocks, _bound, _word_bounds, draw_all
from registry.gates.quality import judge_quality
from registry.policy import CalibrationPolicy, LatencyPolicy, MetricPolicy, Policy, SlicesPolicy

CLASSES = ("a", "b", "c")


def make_material(group: str | None) -> Material:
    """Three classes and three models, the candidate the surest of what is right."""
    generator = np.random.default_rng(1)
    place = generator.integers(0, 3, 240)
    rows = pd.DataFrame({"kind": np.array(CLASSES)[place], "day": np.arange(240) // 20})
    answers = {}
    for who, sure in (("candidate", 0.8), ("holder", 0.5), ("best", 0.6)):
        table = np.full((240, 3), (1 - sure) / 2)
        table[np.arange(240), place] = sure
        answers[who] = pd.DataFrame(table, columns=[f"probability.{name}" for name in CLASSES])
    timing = Timing((1.0, 2.0, 30.0), (5.0, 6.0, 7.0), 100, 200.0)
    return Material(
        rows=rows,
        target="kind",
        task="multiclass",
        classes=CLASSES,
        group=group,
        versions={"candidate": "3", "holder": "2", "best": "1"},
        answers=answers,
        timings={"candidate": timing, "holder": timing},
    )


@pytest.mark.parametrize("group", [None, "day"])
def test_every_gate_that_was_asked_has_its_picture(group: str | None, tmp_path: Path) -> None:
    policy = Policy(
        metric=MetricPolicy(mode="non_inferiority", margin=0.1),
        slices=SlicesPolicy(columns=("day",), margin=0.1, min_rows=10),
        calibration=CalibrationPolicy(max_error=0.5),
        latency=LatencyPolicy(max_ratio=2),
    )
    material = make_material(group)
    draw_all(tmp_path, material, policy, judge_quality(material, policy, attempt=1))
    found = {path.name for path in tmp_path.glob("*.png")}
    assert found == {"calibration.png", "difference.png", "latency.png", "slices.png"}


def test_bounds_that_do_not_exist_are_drawn_as_far_as_the_picture_goes() -> None:
    """Few or very uneven rows bound nothing; a line to infinity would not be drawn at all."""
    numbers = {"lower": -np.inf, "upper": 0.5, "unit": "rows", "rows": 9, "level": 0.03}
    assert _bound(numbers, -1.0, 2.0) == (-1.0, 0.5)
    assert _bound(numbers | {"lower": 0.1, "upper": np.inf}, -1.0, 2.0) == (0.1, 2.0)
    assert _word_bounds(numbers) == "9 rows; one-sided bounds at level 0.03: none and +0.5000"


def test_blocks_that_are_numbers_stand_in_their_order() -> None:
    names, means = _average_blocks(make_material("day"), Policy(), "log_loss")
    assert names == [str(day) for day in range(12)]
    assert all(mean > 0 for mean in means)
