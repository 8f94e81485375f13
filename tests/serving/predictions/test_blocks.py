"""What a plan has read is logged as if the body had been read for it, from any form, in any order."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import PredictionWriter, read_predictions
from serving.compiled.bodies import MatrixReader, TableReader
from serving.compiled.plan import Batch
from serving.compiled.values import Sent
from serving.predictions.blocks import OpenBlock, name_block, read_block
from serving.predictions.outlet import HOLD_S, Outlet
from serving.predictions.rows import read_answer, read_body
from serving.predictions.sheet import Sheet
from serving.predictions.tally import Tally

KINDS = ("double", "long", "integer", "float", "boolean", "string", "datetime")
ROWS: Sequence[Sequence[Any]] = (
    [0.1, 2**53, -7, 0.1, True, "ünï\n", "2026-03-01T12:00:00"],
    [1, 3, 4, 2.5, False, "", "2026-03-01T12:30:00"],
    [-1e300, 0, 0, 1.0, True, "a" * 3000, "2026-03-01T00:00:00"],
)
FLOATS = [[0.5, -1.25], [1e-300, 3.0], [7.5, 8.0]]
TABLE = TableReader(
    [{"name": kind, "type": kind, "required": True, "missing": False} for kind in KINDS], 1e308
)
LOOSE = TableReader(
    [
        {"name": name, "type": kind, "required": False, "missing": True}
        for name, kind in (("a", "double"), ("b", "string"))
    ],
    1e308,
)
DOUBLES = TableReader(
    [{"name": name, "type": "double", "required": True, "missing": False} for name in "ab"], 1e308
)
MATRIX = MatrixReader({"width": 2, "type": "double", "missing": False, "frames": True}, 1e308)


def list_forms(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    records = [dict(zip(names, row, strict=True)) for row in rows]
    turned = [dict(reversed(record.items())) for record in records]
    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    forms: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": list(names), "data": rows}},
        {"dataframe_split": {"columns": names[::-1], "data": [row[::-1] for row in rows]}},
        {"dataframe_records": records},
        {"dataframe_records": turned},
        {"inputs": records},
        {"inputs": columns},
        {"instances": columns},
    ]
    return forms


def read(reader: TableReader | MatrixReader, document: dict[str, Any]) -> Sent | None:
    (form, data), *_ = json.loads(json.dumps(document)).items()
    found = reader.read(form, data)
    return found.sent if isinstance(reader, TableReader) else found[1]  # type: ignore[union-attr, return-value]


def check_both(folder: Any, reader: Any, requests: Sequence[tuple[dict[str, Any], bytes]]) -> None:
    """Logged as blocks and logged by their bodies, requests are read back alike."""
    blocks: dict[Any, OpenBlock] = {}
    kept, raw = Sheet(), Sheet()
    for number, (document, answer) in enumerate(requests):
        inputs, outputs = read_body("", json.dumps(document).encode()), read_answer(answer)
        raw.add(f"r{number:03}", number, "compiled", inputs, outputs)
        sent = read(reader, document)
        assert sent is not None, document
        key = name_block("1", "", sent)
        block = blocks.setdefault(key, OpenBlock(key, sent.are_numbers))
        block.add(f"r{number:03}", number, len(outputs.values), sent, answer)
    for block in blocks.values():
        kept.add_block(read_block(*block.write()), "compiled")
    frames = []
    for name, sheet in (("kept", kept), ("raw", raw)):
        writer = PredictionWriter(str(folder / name), "m")
        for columns in sheet.list_parts():
            for part in writer.encode_predictions("1", **columns):
                writer.write(part)
        table = read_predictions(str(folder / name), "m")
        frame = pd.concat([table.meta[["id", "time"]], table.inputs, table.outputs], axis=1)
        frames.append(frame.sort_values("id").sort_index(axis=1).reset_index(drop=True))
    kept_frame, raw_frame = frames
    pd.testing.assert_frame_equal(kept_frame, raw_frame)


def answer_numbers(rows: int) -> bytes:
    return json.dumps({"predictions": [0.5 + row for row in range(rows)]}).encode()


@pytest.mark.parametrize("numbers", [(1,), (3,), (1, 3), (3, 2, 1)], ids=str)
def test_every_form_of_a_table_is_logged_as_it_was_sent(tmp_path: Any, numbers: Sequence[int]) -> None:
    requests = [
        (document, answer_numbers(number))
        for number in numbers
        for document in list_forms(KINDS, ROWS[:number])
    ]
    check_both(tmp_path, TABLE, requests)


@pytest.mark.parametrize("number", [1, 3])
def test_numbers_alone_and_missing_values_are_logged_as_they_were_sent(tmp_path: Any, number: int) -> None:
    forms = list_forms(("a", "b"), FLOATS[:number])
    for place, reader in enumerate((DOUBLES, MATRIX)):
        unnamed = [{"inputs": FLOATS[:number]}, {"instances": FLOATS[:number]}]
        requests = [(one, answer_numbers(number)) for one in (forms if reader is DOUBLES else unnamed)]
        check_both(tmp_path / str(place), reader, requests)
    gaps: list[list[Any]] = [[None, "x"], [1.5, None], [2, "y"]]
    requests = [(document, answer_numbers(number)) for document in list_forms(("a", "b"), gaps[:number])[:4]]
    check_both(tmp_path / "gaps", LOOSE, requests)


@pytest.mark.parametrize(
    "answers",
    [
        [[1, 0], ["yes", "no"]],
        [[None, "yes"]],
        [[{"answer": "yes", "p": 0.5}, {"answer": None, "p": 1}], [{"answer": "no", "p": 1}] * 2],
        [[{"answer": "yes"}, None], [{"answer": "no"}] * 2],
        [[{"a": 1}, {"b": 2}]],
        [[[0.25, 0.75], [1, 0]], [[0.5, 0.5]] * 2],
        [[[1], [1, 2]], [5, 6]],
        [[True, False]],
        [[2**70, 1]],
    ],
    ids=str,
)
def test_every_answer_is_logged_as_it_was_given(tmp_path: Any, answers: Sequence[Any]) -> None:
    document = {"inputs": FLOATS[:2]}
    requests = [(document, json.dumps({"predictions": one}).encode()) for one in answers]
    check_both(tmp_path, MATRIX, requests)


@pytest.mark.parametrize(
    ("reader", "document"),
    [
        (LOOSE, {"dataframe_split": {"columns": ["a", "b", "more"], "data": [[1.0, "x", 5]]}}),
        (LOOSE, {"dataframe_split": {"columns": ["a"], "data": [[1.0], [2.0]]}}),
        (LOOSE, {"dataframe_records": [{"a": 1.0, "more": 5}]}),
        (LOOSE, {"dataframe_records": [{"a": 1.0}]}),
        (LOOSE, {"dataframe_records": [{"a": 1.0, "b": "x"}, {"a": 1.0, "more": 5}]}),
        (MATRIX, {"dataframe_records": [{"p": 1.0, "q": 2.0}]}),
        (MATRIX, {"dataframe_split": {"columns": ["p", "q"], "data": [[1.0, 2.0]]}}),
    ],
)
def test_columns_that_the_model_does_not_know_are_left_to_who_reads_the_body_again(
    reader: TableReader | MatrixReader, document: dict[str, Any]
) -> None:
    assert read(reader, document) is None


def test_an_answer_that_does_not_fit_its_rows_is_an_error() -> None:
    sent = read(MATRIX, {"inputs": FLOATS})
    assert sent is not None
    block = OpenBlock(name_block("1", "", sent), sent.are_numbers)
    block.add("r", 1, 3, sent, answer_numbers(2))
    with pytest.raises(ValueError, match="do not fit"):
        read_block(*block.write())


def test_rows_as_long_as_pictures_are_left_to_who_reads_the_body_again() -> None:
    width = 1025
    reader = MatrixReader({"width": width, "type": "double", "missing": False, "frames": True}, 1e308)
    assert read(reader, {"inputs": np.ones((2, width)).tolist()}) is None


def test_what_waits_for_a_clerk_is_counted_as_the_bytes_it_takes(tmp_path: Path) -> None:
    """Digits of one character become numbers of eight bytes."""
    limit = 200_000
    reader = MatrixReader({"width": 500, "type": "double", "missing": False, "frames": True}, 1e308)
    sent = read(reader, {"inputs": [[1] * 500] * 20})
    assert sent is not None
    batch = Batch(20, "", np.ones((20, 500)), sent=sent)

    async def fill() -> int:
        outlet = Outlet(tmp_path / "nobody", tally := Tally(), sample=1.0, limit_bytes=limit)
        while not tally.lost:
            outlet.note_read("1", "r", batch, b"1", 20 * 1000)
            await asyncio.sleep(2 * HOLD_S)
        return sum(map(len, outlet._pieces))

    assert limit / 4 < asyncio.run(fill()) <= limit + 20 * 500 * 8 + 20_000


def test_a_refusal_beside_texts_leaves_them_texts(tmp_path: Path) -> None:
    sent = read(MATRIX, {"inputs": FLOATS[:1]})
    assert sent is not None
    sheet = Sheet()
    for answer in (b'{"predictions":["yes"]}', b'{"predictions":[null]}'):
        block = OpenBlock(name_block("1", "", sent), sent.are_numbers)
        block.add("r", 1, 1, sent, answer)
        sheet.add_block(read_block(*block.write()), "compiled")
    (columns,) = sheet.list_parts()
    assert list(columns["outputs"]["prediction"]) == ["yes", None]
