"""Parts of models that ``train-model`` makes: answers, contract, quarantine, plans."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import load_model

from registry import DataError, cut_source, list_source, parse_source
from serving.batch.inputs import read_inputs
from serving.batch.order import Part, PartReport, ScoreOrder
from serving.batch.parts import find_schema, read_report, score_part
from serving.batch.scorer import BatchScorer
from serving.batch.storage import open_output
from serving.compiled.compiler import compile_artifact
from serving.target import Target
from tests.serving.compiled.layered import make_artifact, make_flights

TREES: Any = {"params": {"max_iter": 5, "min_samples_leaf": 5}}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layered")
    return make_artifact(folder, "ensemble.HistGradientBoostingClassifier", output="answer", **TREES)


def make_order(artifact: Path, output: Path, **changes: Any) -> ScoreOrder:
    inputs = read_inputs(artifact)
    order = ScoreOrder(
        model="flights",
        target=Target("1", manifest="m"),
        trust_author=False,
        vouched=(),
        path="native",
        columns=inputs.columns,
        params={"output": "full"},
        keep=(),
        batch_rows=100,
        refuse_bad=False,
        refuse_contract=True,
        answer=inputs.answer,
        output=str(output),
        job="j",
    )
    return replace(order, **changes)


def write_rows(folder: Path, rows: pd.DataFrame, form: str = "parquet") -> Sequence[Part]:
    folder.mkdir(exist_ok=True)
    if form == "csv":
        rows.to_csv(folder / "rows.csv", index=False)
    else:
        rows.to_parquet(folder / "rows.parquet", index=False)
    return [
        Part(number, piece) for number, piece in enumerate(cut_source(list_source(parse_source(str(folder)))))
    ]


def run(order: ScoreOrder, artifact: Path, parts: Sequence[Part], plan: Path | None = None) -> pd.DataFrame:
    """Scores the only part; returns its rows."""
    scorer = BatchScorer(order, artifact, plan)
    order = replace(order, schema=find_schema(order, scorer, iter(parts)))
    storage = open_output(order.output)
    told: list[int] = []
    report = score_part(order, scorer, parts[0], storage, told.append)
    assert read_report(storage, parts[0], "j") == report
    assert read_report(storage, parts[0], "another job") is None
    assert told[-1] == report.read == report.written + report.quarantined
    return pd.read_parquet(Path(order.output) / parts[0].name)


def tally(order: ScoreOrder, artifact: Path, parts: Sequence[Part]) -> PartReport:
    """Scores the only part; returns what became of its rows."""
    run(order, artifact, parts)
    report = read_report(open_output(order.output), parts[0], "j")
    assert report is not None
    return report


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_all_layers_answer_bit_by_bit_as_pyfunc_does(artifact: Path, tmp_path: Path, form: str) -> None:
    rows = make_flights()
    parts = write_rows(tmp_path / "in", rows, form)
    found = run(make_order(artifact, tmp_path / "out"), artifact, parts)
    inputs = rows[[column.name for column in read_inputs(artifact).columns]]
    expected: Any = load_model(str(artifact)).predict(inputs, params={"output": "full"})
    assert list(found) == ["_file", "_row", *expected]
    for name in expected:
        np.testing.assert_array_equal(found[name].to_numpy(), expected[name].to_numpy())


def test_a_row_that_breaks_the_contract_is_set_aside_only_if_the_contract_says_so(
    artifact: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    rows = make_flights()
    rows.loc[7, "distance"], rows.loc[150, "origin"], rows.loc[150, "distance"] = 1e9, "XXX", -1e9
    parts = write_rows(tmp_path / "in", rows)
    order = make_order(artifact, tmp_path / "out")
    report = tally(order, artifact, parts)
    assert (report.written, report.quarantined, report.warned) == (400, 0, 2)
    strict = tmp_path_factory.mktemp("strict") / "m"
    shutil.copytree(artifact, strict)
    contract = strict / "artifacts" / "parts" / "contract.json"
    contract.write_text(contract.read_text("utf-8").replace('"mode": "warn"', '"mode": "refuse"'), "utf-8")
    order = replace(order, output=str(tmp_path / "strict"))
    report = tally(order, strict, parts)
    assert (report.written, report.quarantined, report.warned) == (398, 2, 0)
    bad = pd.read_parquet(tmp_path / "strict" / "_quarantine").to_dict("records")
    assert [(one["row"], one["column"], one["found"]) for one in bad] == [
        (8, "distance", bad[0]["found"]),
        (151, "distance", bad[1]["found"]),
        (151, "origin", "an unknown category"),
    ]
    assert json.loads(bad[0]["values"])["distance"] == 1e9
    kept = pd.read_parquet(tmp_path / "strict" / "part-00000.parquet")["_row"].tolist()
    assert kept == [row for row in range(1, 401) if row not in {8, 151}]
    ignoring = replace(order, output=str(tmp_path / "off"), refuse_contract=False)
    report = tally(ignoring, strict, parts)
    assert (report.written, report.warned) == (400, 0)


def test_a_plan_answers_alike_and_leaves_what_it_is_not_sure_of_to_mlflow(
    artifact: Path, tmp_path: Path
) -> None:
    compile_artifact(artifact, tmp_path / "plan")
    rows = make_flights()
    rows.loc[250, "distance"] = float("inf")  # JSON has none: its batch is answered natively
    parts = write_rows(tmp_path / "in", rows)
    order = make_order(artifact, tmp_path / "native", refuse_contract=False)
    native = run(order, artifact, parts)
    compiled = run(
        replace(order, output=str(tmp_path / "compiled"), path="compiled"), artifact, parts, tmp_path / "plan"
    )
    assert list(compiled) == list(native)
    assert compiled["answer"].tolist() == native["answer"].tolist()
    assert np.abs(compiled["probability_1"] - native["probability_1"]).max() <= 1e-6
    report = read_report(open_output(str(tmp_path / "compiled")), parts[0], "j")
    assert report is not None
    assert report.native == 100


def test_the_same_part_gives_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    parts = write_rows(tmp_path / "in", make_flights().assign(distance="x"), "csv")
    for name in ("one", "two"):
        with pytest.raises(DataError, match="None of the first rows can be scored"):
            run(make_order(artifact, tmp_path / name), artifact, parts)
    rows = make_flights().astype({"distance": object})
    rows.loc[3, "distance"] = "x"
    parts = write_rows(tmp_path / "in", rows, "csv")
    for name in ("one", "two"):
        run(make_order(artifact, tmp_path / name), artifact, parts)
    for file in ("part-00000.parquet", "_quarantine/part-00000.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
