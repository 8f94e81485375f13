"""Generated requests of every format, to us and to ``mlflow models serve``: every difference has its row."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from serving.compiled.parity import are_equal
from tests.serving.compiled.layered import make_flights
from tests.serving.explaining import RULES, explain, find_leaks
from tests.serving.questions import ask_about_matrix, ask_about_table
from tests.serving.scoring_servers import ask as ask_server
from tests.serving.twins import FOREIGN, LAYERED, MATRIX, Question, Twin, find_engine, start_twins

pytestmark = pytest.mark.xdist_group("serving_differential")

TOGETHER: Final = 8
"""Requests of one example, sent in a row on one connection."""
EXAMPLES: Final = {"layered": 62, "matrix": 110, "foreign": 90}
"""2,096 requests; fewer to the model that takes MLflow longest."""
QUESTIONS: Final[Mapping[str, st.SearchStrategy[Question]]] = {
    "layered": ask_about_table(LAYERED),
    "matrix": ask_about_matrix(MATRIX),
    "foreign": ask_about_table(FOREIGN),
}
ROWS: Final = 200
NATIVE_ROWS: Final = 40
ENGINES: Final = {"layered": "compiled", "matrix": "compiled", "foreign": "native"}

_log = logging.getLogger(__name__)


@dataclass
class Tally:
    """What was asked, and what came of it."""

    asked: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def twins(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Twin]]:
    with start_twins(sqlite_template, tmp_path_factory.mktemp("twins")) as started:
        yield started


def compare(twin: Twin, questions: list[Question], tally: Tally) -> None:
    """Asks both; fails on the first answers that differ without a rule, or that tell too much."""
    for question, (theirs, ours) in zip(questions, twin.ask(questions), strict=True):
        why = explain(question, theirs, ours, twin.theirs.ask)
        assert why is not None, f"{question}\ntheirs {theirs}\nours {ours}"
        assert find_leaks(ours) == "", f"{question}\nours {ours}"
        tally.asked += 1
        tally.statuses[ours.status] += 1
        tally.rules[why] += 1


@pytest.mark.parametrize("name", QUESTIONS)
def test_generated_requests_are_answered_as_mlflow_does_or_a_rule_says_why(
    twins: Mapping[str, Twin], name: str, request: pytest.FixtureRequest
) -> None:
    """The same requests every time; ``--hypothesis-seed`` makes others."""
    tally = Tally()
    assert find_engine(twins[name])[0] == ENGINES[name]

    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        derandomize=request.config.getoption("hypothesis_seed") is None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(QUESTIONS[name], min_size=TOGETHER, max_size=TOGETHER))
    def ask(questions: list[Question]) -> None:
        compare(twins[name], questions, tally)

    ask()
    _log.info("%s: %s", name, tally)
    assert tally.asked >= EXAMPLES[name] * TOGETHER
    assert min(tally.statuses[200], tally.statuses[400]) > tally.asked / 8
    assert sum(tally.rules[rule] for rule in RULES) > 0


def test_rows_alone_are_answered_as_in_one_batch_with_every_layer_there_is(twins: Mapping[str, Twin]) -> None:
    """Plain MLflow and our native path bit-equal to the batch; the plan: same decisions, within 1e-6."""
    twin = twins["layered"]
    assert find_engine(twin)[0] == "compiled"
    flights = make_flights()[list(LAYERED)].head(ROWS)
    flights["scheduled"] = flights["scheduled"].map(lambda moment: moment.isoformat())
    rows = flights.astype(object).where(flights.notna(), None).to_numpy().tolist()
    batch = json.loads(twin.theirs.ask(write_flights(rows)).body)["predictions"]
    alone = [pair for row in rows for pair in twin.ask([write_flights([row])])]
    plain = [json.loads(theirs.body)["predictions"][0] for theirs, _ in alone]
    compiled = [json.loads(ours.body)["predictions"][0] for _, ours in alone]
    assert plain == batch
    assert are_equal(compiled, batch)
    native = [twin.ours.ask(write_flights([row], index=["not a plan's"])) for row in rows[:NATIVE_ROWS]]
    assert [json.loads(reply.body)["predictions"][0] for reply in native] == batch[:NATIVE_ROWS]
    assert {row["answer"] for row in batch} == {"on time", "late", None}
    told = ask_server(twin.ours.port, "GET", "/metrics").body.decode()
    assert set(re.findall(r'greenroom_requests_total{.*path="(\w+)"', told)) == {"compiled", "native"}


def test_a_row_that_breaks_the_contract_is_refused_in_mlflows_words_and_counted(
    twins: Mapping[str, Twin],
) -> None:
    twin = twins["layered"]
    series = 'greenroom_contract_violations_total{model="layered",column="origin, carrier",'
    before = _count(twin, series)
    rows = [[500.0, True, "UA", "EWR", "2013-01-05"], [500.0, True, "EWR", "EWR", "2013-01-05"]]
    ((theirs, ours),) = twin.ask([write_flights(rows)])
    sentence = (
        "Row 2, column 'origin, carrier': against the rule, where the contract asks for origin != carrier."
    )
    answer = {"error_code": "INVALID_PARAMETER_VALUE", "message": sentence}
    assert (ours.status, json.loads(ours.body)) == (theirs.status, answer) == (400, answer)
    assert json.loads(theirs.body)["message"].endswith(f"Error: {sentence}")
    assert twin.ask([write_flights(rows[:1])])[0][1].status == 200
    assert _count(twin, series) == before + 1


def _count(twin: Twin, series: str) -> float:
    told = ask_server(twin.ours.port, "GET", "/metrics").body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in told.splitlines() if line.startswith(series))


def write_flights(rows: list[list[Any]], **more: Any) -> Question:
    split = {"columns": list(LAYERED), "data": rows, **more}
    return Question(json.dumps({"dataframe_split": split, "params": {"output": "full"}}).encode())


def test_every_rule_is_a_row_of_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
    named = set(re.findall(r"^\| `([a-z_]+)`: ", page.read_text("utf-8"), re.MULTILINE))
    assert set(RULES) - named == set()
