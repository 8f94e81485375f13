"""Calibration, thresholds, labels and guards of a compiled model decide as the model's own layers do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from serving.compiled.compiler import compile_artifact
from serving.compiled.errors import NotCompilableError
from serving.compiled.guarding import compile_guard
from serving.compiled.guards import Guard
from serving.compiled.plan import MEDIA_TYPE, open_plan
from serving.compiled.symbols import Feature, Number, Source, Text
from serving.scoring import NativeScorer
from tests.serving.compiled.comparison import Pair, compile_pair, write
from tests.serving.compiled.layered import make_artifact, make_flights
from training.artifact.guard import Guard as OwnGuard

COLUMNS = ["distance", "night", "carrier", "origin", "scheduled"]
LABELS = {"0": "on time", "1": "late"}
GUARD = {"false_refusal": 0.1}
HISTOGRAM = "ensemble.HistGradientBoostingClassifier"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid, cost, labels, guard": (
        HISTOGRAM,
        {
            "params": {"max_iter": 9},
            "answer": {"labels": LABELS, "calibrate": "sigmoid", "cost": {"miss": 4}},
            "guard": GUARD,
        },
    ),
    "isotonic of three, guard on components": (
        "linear_model.LogisticRegression",
        {"target": "kind", "answer": {"calibrate": "isotonic"}, "guard": {**GUARD, "components": 3}},
    ),
    "threshold": (
        "linear_model.LogisticRegression",
        {"output": "answer", "answer": {"threshold": 0.3, "calibrate": "isotonic"}},
    ),
    "labels without probabilities, guard": (
        "svm.LinearSVC",
        {"output": "answer", "answer": {"labels": LABELS}, "guard": GUARD},
    ),
    "number, guard": (
        "ensemble.GradientBoostingRegressor",
        {"target": "delay", "output": "full", "params": {"n_estimators": 5}, "guard": GUARD},
    ),
}


def list_rows(count: int) -> Any:
    """Flights as JSON has them, every fourth of them strange."""
    frame = make_flights()[COLUMNS].head(count)
    frame = frame.assign(scheduled=frame["scheduled"].map(lambda moment: moment.isoformat())).astype(object)
    frame.loc[::8, "distance"] = 123_456.0
    frame.loc[4::8, "distance"] = -4000.5
    return frame.where(frame.notna(), None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    made = {}
    for name, (estimator, options) in MODELS.items():
        folder = tmp_path_factory.mktemp("evaluated")
        artifact = make_artifact(folder, estimator, **options)
        made[name] = compile_pair(artifact, folder / "plan")
    return made


@pytest.mark.parametrize("name", MODELS)
def test_every_output_is_the_models_own(pairs: dict[str, Pair], name: str) -> None:
    pair, rows = pairs[name], list_rows(80)
    for output in pair.plan.outputs:
        for part in (rows, rows[:1], rows[1:2], rows[8:9]):
            assert pair.check(write("dataframe_split", part, {"output": output}))
    answers = pair.ask_plan(write("dataframe_split", rows, {"output": "answer"}))["predictions"]
    assert (None in answers) == ("guard" in MODELS[name][1])
    assert any(answer is not None for answer in answers)


def test_requests_that_share_a_call_get_their_own_verdicts(pairs: dict[str, Pair]) -> None:
    plan = pairs["sigmoid, cost, labels, guard"].plan
    outputs = ["full", "answer", "full", "probability"]
    bodies = [
        write("dataframe_split", list_rows(40)[at : at + 1 + at % 3], {"output": output})
        for at, output in enumerate(outputs * 4)
    ]
    batches = [plan.parse(body, MEDIA_TYPE) for body in bodies]
    whole = [batch for batch in batches if batch is not None]
    alone = [plan.run([batch])[0] for batch in whole]
    assert [json.loads(body) for body in plan.run(whole)] == [json.loads(body) for body in alone]
    same = [batch for batch in whole if batch.output == "full"]
    assert len(same) == 8
    assert plan.run(same) == [plan.run([batch])[0] for batch in same]


def test_with_the_guard_switched_off_every_row_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_GUARD", "off")
    artifact = make_artifact(tmp_path, "linear_model.LogisticRegression", guard=GUARD)
    compile_artifact(artifact, tmp_path / "plan")
    pair = Pair(open_plan(tmp_path / "plan"), NativeScorer.load(artifact))
    for output in pair.plan.outputs:
        assert pair.check(write("dataframe_split", list_rows(40), {"output": output}))
    full = pair.ask_plan(write("dataframe_split", list_rows(1), {"output": "full"}))["predictions"][0]
    assert full["nothing_found"] is True
    assert full["answer"] is not None


def test_a_calibration_in_which_the_last_bit_counts_is_not_compiled(tmp_path: Path) -> None:
    answer = {"calibrate": "isotonic"}
    artifact = make_artifact(tmp_path, "linear_model.LogisticRegression", answer=answer)
    path = artifact / "artifacts" / "parts" / "layers.json"
    layers = json.loads(path.read_text("utf-8"))
    layers["answer"]["calibration"]["curves"] = [[[0.5, 0.5 + 1e-12], [0.1, 0.9]]]
    path.write_text(json.dumps(layers), "utf-8")
    with pytest.raises(NotCompilableError, match="so steep"):
        compile_artifact(artifact, tmp_path / "plan")


RNG = np.random.default_rng(8)
PLAN: dict[str, Any] = {
    "numbers": [
        {"feature": "size", "center": 0.3, "scale": 1 / 256},
        {"feature": "still", "center": 2.0, "scale": 0.0},
        {"feature": "hole", "center": -5.0, "scale": 0.01},
    ],
    "marks": [
        {"feature": "color", "known": ["blue", "red"], "missing": False},
        {"feature": "place", "known": ["here"], "missing": True},
        {"feature": "count", "known": [1.0, 2.0], "missing": False},
        {"feature": "hole"},
    ],
    "divisor": 4096,
    "neighbours": 3,
    "scores": sorted(RNG.integers(0, 10**7, 60).tolist()),
    "most": 6,
}
STEPS = RNG.integers(-3000, 3000, (50, 3)) * [1, 0, 1]
MARKS = np.stack(
    [RNG.integers(0, 2, 50), RNG.integers(-1, 1, 50), np.full(50, -2), RNG.integers(0, 2, 50)], 1
)
FEATURES: dict[str, Feature] = {
    **{name: Number(("column", name)) for name in ("size", "still", "hole", "count")},
    **{name: Text(("column", name)) for name in ("color", "place")},
}
SLOTS = {("number", "size"): 0, ("number", "still"): 1, ("number", "hole"): 2, ("mark", "color"): 3}
VALUE = st.floats(-1e9, 1e9) | st.floats(-2, 2) | st.just(float("nan"))
ROWS = st.lists(
    st.tuples(
        VALUE,
        st.sampled_from([2.0, 2.5, float("nan")]),
        VALUE,
        st.sampled_from(["blue", "red", "here", None]),
        st.sampled_from(["here", "blue", None]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("components", [0, 2])
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_a_guard_judges_every_row_as_the_models_own_does(components: int, rows: list[Any]) -> None:
    projection = None if not components else RNG.integers(-4096, 4096, (3, components))
    reference = STEPS if projection is None else STEPS[:, : components + 1]
    own = OwnGuard(PLAN, (reference, MARKS), projection)
    compiled = compile_guard(own, FEATURES, _find_slot)
    guard = Guard(compiled.guard, compiled.arrays, refuses=True)
    names = ["size", "still", "hole", "color", "place"]
    frame = pd.DataFrame(rows, columns=names).assign(count=1.0)
    frame = frame.astype({"color": object, "place": object})
    typicality, refused = own.judge(frame)
    verdict = guard.judge(_make_slots(rows, compiled.tables))
    np.testing.assert_array_equal(verdict.typicality, typicality)
    np.testing.assert_array_equal(verdict.refused, refused)


def _find_slot(kind: str, source: Source) -> int:
    return SLOTS.get((kind, source[1]), 4)


def _make_slots(rows: list[Any], tables: Any) -> Any:
    """What makers make of the rows."""
    slots = np.empty((len(rows), 5))
    for number, row in enumerate(rows):
        slots[number, :3] = row[:3]
        for place, name in ((3, "color"), (4, "place")):
            table = tables["column", name]
            codes = dict(zip(table["keys"], table["codes"], strict=True))
            value = row[place]
            slots[number, place] = table["missing"] if value is None else codes.get(value, table["unknown"])
    return slots
