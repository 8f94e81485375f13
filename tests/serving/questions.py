"""Requests as callers make them and as they get them wrong, in every format of the scoring protocol."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
from hypothesis import strategies as st

from tests.serving.twins import Question

__all__ = ["ask_about_matrix", "ask_about_table"]

JSON: Final = "application/json"
PARQUET: Final = "application/vnd.apache.parquet"
MANY: Final = 300
"""Rows of a large request, made of a few different ones."""

Row = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

MOMENTS: Final = st.datetimes().map(lambda moment: moment.isoformat()) | st.sampled_from(
    [
        "2013-01-05", "2013-01-05 17:30", "2013-01-05T17:30:00", "2013-01-05T17:30:00.123456", "20130105",
        "2013-01-05T17:30:00Z", "2013-01-05T17:30:00+02:00", "2013-02-30", "0001-01-01", "05.01.2013", "now",
    ]
)  # fmt: skip
LIKELY: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "double": st.floats(-3000, 3000) | st.integers(-9, 2500) | st.sampled_from([0.0, -0.0, 500.0]),
    "float": st.floats(-3000, 3000, width=32) | st.floats(-9, 9) | st.integers(-9, 9),
    "long": st.integers(-(2**53), 2**53) | st.integers(-9, 9),
    "integer": st.integers(-(2**31), 2**31 - 1) | st.integers(-9, 9),
    "boolean": st.booleans(),
    "string": st.sampled_from(["UA", "AA", "B6", "EWR", "JFK", "LGA", "Ünited", "x", "y", ""]),
    "datetime": st.datetimes(pd.Timestamp("2013-01-01"), pd.Timestamp("2013-01-10")).map(
        lambda moment: moment.isoformat(timespec="seconds")
    ),
}
ODD: Final = st.one_of(
    st.none(),
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31, -(2**31) - 1, 2**53 + 1, 2**63, 2**64, 10**40, 1, 0]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["1", " 1", "1.5", "1e3", "0x10", "nan", "NaN", "null", "None", "true", "False"]),
    st.sampled_from(["inf", "\0", "x\0", "a\0b"]),
    st.sampled_from(["\ud800", "\U0001f92f", "e\u0301", "\u202e", "ß", "%s", "'; --"]),
    MOMENTS,
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=1),
)  # fmt: skip
PARAMS: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [
        None, {}, [], "full", 1, {"output": "full"}, {"output": "answer"}, {"output": "probability"},
        {"output": "label"}, {"output": 1}, {"output": None}, {"output": ["full"]}, {"unknown": 1},
        {"output": "full", "unknown": 1}, {"rows": 1}, {"rows": "1"}, {"rows": 1.5}, {"rows": True},
        {"scale": 2.0}, {"scale": 3}, {"scale": "x"}, {"rows": 1, "scale": 0.5}, {"rows": -1},
    ]
)  # fmt: skip
CONTENT_TYPES: Final = st.sampled_from(
    [
        None, "", JSON, "APPLICATION/JSON", f"{JSON};charset=utf-8", f"{JSON}; charset=UTF-8",
        f"{JSON} ; charset=utf-8", f'{JSON}; charset="utf-8"', f"{JSON}; charset=latin-1",
        f"{JSON}; charset=utf8", f"{JSON};", f"{JSON}; version=1", f"{JSON}; Charset=utf-8",
        f"{JSON}, {JSON}",
        "text/csv", "text/csv; charset=utf-8", 'text/csv; charset="UTF-8"', "text/csv; header=present",
        PARQUET, "text/plain", "application/x-www-form-urlencoded", "application/jsonl", "json", "*/*",
    ]
)  # fmt: skip
FORMS: Final = ("dataframe_split", "dataframe_records", "inputs", "instances", "columns", "scalars", "rows")


def write(document: Any) -> bytes:
    """JSON as Python writes it, with NaN and lone surrogates; half of the world's clients do."""
    return json.dumps(document).encode()


def write_form(form: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Rows in a form of the protocol; what a row does not have is null where there must be something."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in names] for row in rows]
    if form == "dataframe_split":
        return {form: {"columns": names, "data": data}}
    if form == "columns":
        return {"inputs": {name: [row.get(name) for row in rows] for name in names}}
    if form == "scalars":
        return {"inputs": dict(rows[0]) if rows else {}}
    return {"instances": data} if form == "rows" else {form: list(rows)}


def _draw_rows(draw: Draw, columns: Mapping[str, str]) -> list[Row]:
    """A few good rows, of which some are then not so good."""
    good = st.fixed_dictionaries({name: LIKELY[kind] for name, kind in columns.items()})
    rows = [dict(row) for row in draw(st.lists(good, min_size=1, max_size=3))]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        row = draw(st.sampled_from(rows))
        name = draw(st.sampled_from([*columns, *columns, "extra", "", "ä"]))
        match draw(
            st.sampled_from(["odd", "odd", "null", "gone", "gone everywhere", "one type for another"])
        ):
            case "odd":
                row[name] = draw(ODD)
            case "null":
                row[name] = None
            case "gone":
                row.pop(name, None)
            case "gone everywhere":
                for each in rows:
                    each.pop(name, None)
            case _:
                row[name] = draw(LIKELY[draw(st.sampled_from(sorted(LIKELY)))])
    return _arrange(draw, rows)


def _arrange(draw: Draw, rows: list[Row]) -> list[Row]:
    """None of them, many, or with their columns in another order."""
    match draw(st.sampled_from(["as is"] * 6 + ["none", "many", "another order", "another order each"])):
        case "none":
            return []
        case "many":
            return (rows * MANY)[:MANY]
        case "another order":
            order = draw(st.permutations(list(rows[0])))
            return [
                {name: row[name] for name in [*order, *(row.keys() - set(order))] if name in row}
                for row in rows
            ]
        case "another order each":
            return [dict(draw(st.permutations(list(row.items())))) for row in rows]
    return rows


def _change_document(draw: Draw, document: dict[str, Any]) -> Any:
    """What callers get wrong around the rows."""
    match draw(st.sampled_from(["nothing"] * 6 + ["params"] * 3 + ["two forms", "extra", "nested", "split"])):
        case "params":
            return {**document, "params": draw(PARAMS)}
        case "two forms":
            return {**document, draw(st.sampled_from(FORMS[:4])): draw(ODD)}
        case "extra":
            return {draw(st.sampled_from(["id", "signature_name", "", "messages", "columns"])): 1, **document}
        case "nested":
            return draw(st.sampled_from([[document], {"data": document}, {"inputs": document}]))
        case "split" if "dataframe_split" in document:
            split = document["dataframe_split"]
            return {"dataframe_split": {**split, **draw(_odd_split(len(split["data"])))}}
    return document


def _odd_split(rows: int) -> st.SearchStrategy[Any]:
    indexes: list[Any] = [
        list(range(rows)),
        [7] * rows,
        list("abc"),
        [],
        None,
        [1.5] * rows,
        "x",
        list(range(rows, 0, -1)),
    ]
    names: list[Any] = [None, [], "ab", ["a", "a"], [1, 2, 3], ["a", "b", "c"]]
    tables: list[Any] = [None, [], {}, [[]], [[1], [1, 2]], [1, 2], "x"]
    odd = {"index": indexes, "columns": names, "data": tables, "dtype": ["float"]}
    return st.sampled_from([{key: value} for key, values in odd.items() for value in values])


def _damage(draw: Draw, body: bytes) -> bytes:
    """Cut, or with something else in the middle."""
    at = draw(st.integers(0, max(0, len(body) - 1)))
    put = draw(
        st.binary(max_size=4) | st.sampled_from([b"NaN", b"1e999", b"-", b"00", b"]", b",", b"\\u0000"])
    )
    return body[:at] + put + body[at + draw(st.integers(0, 9)) :] if draw(st.booleans()) else body[:at]


def _write_csv(draw: Draw, rows: Sequence[Row]) -> bytes:
    frame = pd.DataFrame(list(rows), dtype=object)  # pandas' own text type holds no lone surrogate
    options = draw(st.sampled_from([{}, {"index": True}, {"sep": ";"}, {"header": False}, {"na_rep": "NA"}]))
    text: str = frame.to_csv(**{"index": False, **options})
    return text.encode("utf-8", "surrogatepass")


def _write_parquet(rows: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    try:
        pd.DataFrame(list(rows)).to_parquet(buffer)
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError):  # no Parquet can hold this
        return b"PAR1"
    return buffer.getvalue()


def _draw_question(draw: Draw, rows: list[Row], document: dict[str, Any]) -> Question:
    match draw(
        st.sampled_from(["json"] * 12 + ["type", "type", "damage", "damage", "csv", "csv", "parquet"])
    ):
        case "type":
            return Question(write(document), draw(CONTENT_TYPES))
        case "damage":
            return Question(_damage(draw, write(document)))
        case "csv":
            body = _write_csv(draw, rows)
            return Question(_damage(draw, body) if draw(st.integers(0, 3)) == 0 else body, "text/csv")
        case "parquet":
            body = _write_parquet(rows)
            return Question(_damage(draw, body) if draw(st.integers(0, 3)) == 0 else body, PARQUET)
    return Question(write(_change_document(draw, document)))


@st.composite
def ask_about_table(draw: Draw, columns: Mapping[str, str]) -> Question:
    """A question to a model with these columns, names and types."""
    rows = _draw_rows(draw, columns)
    return _draw_question(draw, rows, write_form(draw(st.sampled_from(FORMS)), rows))


@st.composite
def ask_about_matrix(draw: Draw, width: int) -> Question:
    """A question to a model with so many columns without names."""
    numbers = st.floats(-1e6, 1e6) | st.integers(-9, 9)
    row = st.lists(numbers, min_size=width, max_size=width)
    rows: list[Any] = draw(st.lists(row, min_size=1, max_size=3))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(rows) - 1))
        match draw(st.sampled_from(["odd", "odd", "ragged", "all ragged", "flat", "deep"])):
            case "odd" if isinstance(rows[at], list) and rows[at]:
                rows[at] = [draw(ODD), *rows[at][1:]]
            case "ragged" if isinstance(rows[at], list):
                rows[at] = rows[at][:-1]
            case "all ragged":
                rows = [each[:-1] if isinstance(each, list) else each for each in rows]
            case "flat":
                rows[at] = draw(ODD)
            case "deep":
                rows[at] = [rows[at]]
    rows = draw(st.sampled_from([rows] * 5 + [[], (rows * MANY)[:MANY]]))
    named = [dict(zip("abcdefgh", each, strict=False)) for each in rows if isinstance(each, list)]
    form = draw(st.sampled_from(["inputs", "instances", "rows", "split"] * 3 + list(FORMS)))
    document = write_form(form, named) if form in FORMS else {"dataframe_split": {"data": rows}}
    if form in {"inputs", "instances", "rows"} and draw(st.integers(0, 4)):
        document = {"instances" if form == "rows" else form: rows}
    return _draw_question(draw, named, document)
