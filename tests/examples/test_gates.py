"""The worked example of a gate of one's own: installed as a distribution, asked by a policy."""

import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from registry import GateResult, Ledger, Material, MemoryStore, PromotionRequest, UsageError, promote, replay
from registry.gates.quality import judge_quality
from registry.ledger.ledger import Actor
from registry.policy import EvaluationPolicy, Policy
from tests.registry.conftest import Artifacts, artifacts  # noqa: F401 - a fixture

FOLDER = Path(__file__).parents[2] / "examples" / "gates"
DEAR = {"false_alarm": 1.0, "miss": 5.0}
TRUTH = [0, 0, 1, 1] * 50


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip would leave behind: the module on the path, and beside it what the distribution declares."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))["project"]
    points = {**project["entry-points"]["greenroom.gates"], "broken": "cost_gate:no_such_name"}
    site = tmp_path / "site"
    info = site / f"cost_gate-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0.0\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[greenroom.gates]", *lines]))
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "cost_gate", raising=False)


def make_material(candidate: list[float], holder: list[float] | None = None, **more: Any) -> Material:
    """Two hundred rows, half of which happened; each answer given fifty times over."""
    said = {"candidate": candidate} | ({"holder": holder} if holder else {})
    answers = {
        who: pd.DataFrame({"probability.0": 1 - pd.Series(sure * 50), "probability.1": sure * 50})
        for who, sure in said.items()
    }
    rows = pd.DataFrame({"y": TRUTH, "day": [place // 20 for place in range(200)]})
    given = {"rows": rows, "target": "y", "task": "binary", "classes": (0, 1), "group": None}
    versions = {"candidate": "2", "holder": "1"}
    return Material(**given | {"versions": versions, "answers": answers} | more)  # type: ignore[arg-type] # by name


def ask(material: Material, settings: Mapping[str, Any]) -> GateResult:
    """Through the entry point, as a promotion asks."""
    (point,) = entry_points(group="greenroom.gates", name="cost")
    policy = Policy(gates={point.name: dict(settings)})
    return judge_quality(material, policy, attempt=1)[-1]


RIGHT, ALARM, SILENT = [0.01, 0.01, 0.99, 0.99], [0.9, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.1]


def test_a_miss_weighs_what_the_policy_says() -> None:
    """Both make one error in four; which of them is cheaper depends on the prices alone."""
    found = ask(make_material(ALARM, SILENT), DEAR)
    assert (found.verdict, found.numbers["candidate_per_row"], found.numbers["holder_per_row"]) == (
        "yes",
        0.25,
        1.25,
    )
    found = ask(make_material(ALARM, SILENT), {"false_alarm": 5.0, "miss": 1.0})
    assert (found.verdict, "it is not cheaper" in found.reason) == ("no", True)


def test_an_equal_model_is_not_cheaper_and_a_limit_needs_no_holder() -> None:
    assert ask(make_material(ALARM, ALARM), DEAR).verdict == "no"
    assert ask(make_material(ALARM), DEAR | {"max_per_row": 0.25}).verdict == "yes"
    assert ask(make_material(ALARM), DEAR | {"max_per_row": 0.24}).verdict == "no"
    assert "no holder to compare with" in ask(make_material(RIGHT), DEAR).reason


def test_labels_are_weighed_as_probabilities_are() -> None:
    labels = {"candidate": pd.DataFrame({"prediction": [1, 0, 1, 1] * 50})}
    assert ask(make_material(ALARM, answers=labels), DEAR).numbers["candidate_per_row"] == 0.25


def test_few_groups_are_less_evidence_than_many_rows() -> None:
    """One day in ten went well: by rows it is sure, by days it may be chance."""
    rows = pd.DataFrame({"y": TRUTH, "day": [place // 20 for place in range(200)]})
    better = [1.0 if day == 0 and happened else 0.0 for happened, day in zip(TRUTH, rows["day"], strict=True)]
    answers = {
        "candidate": pd.DataFrame({"prediction": [int(value) for value in better]}),
        "holder": pd.DataFrame({"prediction": [0] * 200}),
    }
    assert ask(make_material(RIGHT, answers=answers), DEAR).verdict == "yes"
    assert ask(make_material(RIGHT, answers=answers, group="day"), DEAR).verdict == "not_enough_data"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"false_alarm": 1.0}, "[gates.cost] needs miss"),
        (DEAR | {"misses": 1}, "[gates.cost] knows no 'misses'; it takes false_alarm, max_per_row, miss"),
        (DEAR | {"miss": -1}, "[gates.cost] miss: -1 is no amount of money"),
    ],
)
def test_a_wrong_setting_is_a_no_that_names_the_key(settings: dict[str, Any], said: str) -> None:
    found = ask(make_material(RIGHT), settings)
    assert (found.verdict, said in found.reason) == ("no", True)


# in promotions


@pytest.fixture
def ledger(tmp_path: Path, artifacts: Artifacts) -> Ledger:  # noqa: F811 - a fixture
    """Version 1, a fair one, is in production; version 2, a good one, is staged."""
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    ledger = Ledger(store, "m", actor=Actor("tester@here"))
    for folder, stages in ((artifacts.fair, ("staging", "production")), (artifacts.good, ("staging",))):
        store.add_version("m", str(folder))
        for stage in stages:
            assert promote(ledger, PromotionRequest("m", to=stage)).moved
    return ledger


def ask_for(artifacts: Artifacts, **gates: dict[str, Any]) -> PromotionRequest:  # noqa: F811 - a fixture
    rows = EvaluationPolicy(data=str(artifacts.rows), target="benign")
    return PromotionRequest("m", to="production", policy=Policy(evaluation=rows, gates=gates))


def test_a_promotion_asks_the_gate_that_its_policy_names_and_a_replay_agrees(
    ledger: Ledger,
    artifacts: Artifacts,  # noqa: F811 - a fixture
) -> None:
    refused = promote(ledger, ask_for(artifacts, cost=DEAR | {"max_per_row": 0.001}))
    assert (refused.verdict, refused.gates[-1].name) == ("no", "cost")
    assert "0.001 is allowed" in refused.gates[-1].reason
    assert replay(ledger, refused.seq).agrees
    moved = promote(ledger, ask_for(artifacts, cost=DEAR))
    assert (moved.moved, moved.gates[-1].name, moved.gates[-1].verdict) == (True, "cost", "yes")
    again = replay(ledger, moved.seq)
    assert (again.agrees, again.gates[-1].numbers) == (True, moved.gates[-1].numbers)


def test_a_gate_that_fails_has_not_said_yes(
    ledger: Ledger,
    artifacts: Artifacts,  # noqa: F811 - a fixture
) -> None:
    outcome = promote(ledger, ask_for(artifacts, cost={"false_alarm": 1.0}))
    assert outcome.verdict == "no"
    assert outcome.gates[-1].reason.startswith("The gate failed: ValueError: [gates.cost] needs miss")


def test_a_gate_that_is_not_installed_is_named_before_anything_is_spent(
    ledger: Ledger,
    artifacts: Artifacts,  # noqa: F811 - a fixture
) -> None:
    before = ledger.open().state.seq
    with pytest.raises(UsageError, match="Did you mean 'cost'"):
        promote(ledger, ask_for(artifacts, costs=DEAR))
    assert ledger.open().state.seq == before
