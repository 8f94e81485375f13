"""Bodies that nobody should send: broken, enormous, deep, in every format; always the same ones."""

import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pandas as pd

__all__ = ["KINDS", "MARKER", "make_bodies"]

JSON: Final = "application/json"
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
MARKER: Final = "s3cr3t"
"""In every body somewhere; must come back in no error and be in no log."""
ROW: Final[Mapping[str, Any]] = {"a": 1.0, "b": MARKER, "n": 1}
TYPES: Final = (
    JSON, CSV, PARQUET, "", "text/plain", f"{JSON}; charset=utf-16", f"{JSON}; {MARKER}=1",
    "application/xml", "multipart/form-data; boundary=x", f"text/csv; charset={MARKER}",
    f"application/{MARKER}",
    ";;;", "=", "\xff",
)  # fmt: skip
FORMS: Final = ("dataframe_split", "dataframe_records", "inputs", "instances")

Random = random.Random
Body = tuple[str, bytes]


def _write(document: Any) -> bytes:
    return json.dumps(document).encode()


def _good(chance: Random) -> bytes:
    rows = [dict(ROW, a=chance.random()) for _ in range(chance.randint(1, 3))]
    split = {"columns": list(ROW), "data": [list(row.values()) for row in rows]}
    form = chance.choice(FORMS)
    return _write({form: split if form == "dataframe_split" else rows})


def _cut(chance: Random) -> Body:
    body = _good(chance)
    return JSON, body[: chance.randrange(len(body))]


def _mutate(chance: Random) -> Body:
    body = bytearray(_good(chance))
    for _ in range(chance.randint(1, 4)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return JSON, bytes(body)


def _insert(chance: Random) -> Body:
    body = _good(chance)
    at = chance.randrange(len(body))
    odd = [
        b"\0",
        b"\\u0000",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf5",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"\x1b[31m",
        b"\r\n",
    ]
    return JSON, body[:at] + chance.choice(odd) + body[at:]


def _deep(chance: Random) -> Body:
    depth = chance.choice([9, 90, 400, 990, 1100, 5000, 50_000])
    start, end = chance.choice([("[", "]"), ('{"a":', "}"), ('[{"inputs":', "}]")])
    value = start * depth + f'"{MARKER}"' + end * chance.choice([0, depth, depth - 1])
    text = chance.choice(
        [
            value, f'{{"inputs":{value}}}', f'{{"instances":[{value}]}}',
            f'{{"dataframe_records":[{{"a":{value}}}]}}',
            f'{{"dataframe_split":{{"columns":["a","b","n"],"data":[[{value},"x",1]]}}}}',
            f'{{"inputs":{{"a":1,"b":"x","n":1}},"params":{value}}}',
        ]
    )  # fmt: skip
    return JSON, text.encode()


def _number(chance: Random) -> Body:
    digits = "".join(chance.choice("0123456789") for _ in range(chance.choice([20, 400, 4301, 9000])))
    number = chance.choice(
        [digits, f"-{digits}", f"0.{digits}", f"1e{digits}", f"1E-{digits}", "NaN", "Infinity",
        "-Infinity", "1e999",
         "-1e999", "5e-324", "-0", "00", "+1", ".5", "1.", "0x1F", "1_000", "9223372036854775808"]
    )  # fmt: skip
    record = f'{{"a":{number},"b":"{MARKER}","n":{chance.choice(["1", number])}}}'
    return JSON, chance.choice(
        ['{"dataframe_records":[%s]}', '{"inputs":%s}', '{"instances":[%s]}']
    ).encode() % (record.encode())


def _twice(chance: Random) -> Body:
    pair = f'"{chance.choice(["a", "b", "n", "dataframe_records"])}":{chance.choice(["1", "null", "[]"])}'
    record = f'{{"a":1.0,"b":"{MARKER}","n":1,{pair},{pair}}}'
    tail = chance.choice(
        ["", ',"dataframe_records":[]', ',"dataframe_records":5', f",{pair}", ',"params":{},"params":1']
    )
    return JSON, f'{{"dataframe_records":[{record}]{tail}}}'.encode()


def _encoding(chance: Random) -> Body:
    text = (
        _good(chance).decode().replace(MARKER, chance.choice([MARKER, f"{MARKER}ü", f"{MARKER}\U0001f92f"]))
    )
    encoding = chance.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp037", "utf-7"])
    return JSON, text.encode(encoding, "replace")


def _noise(chance: Random) -> Body:
    body = chance.randbytes(chance.choice([0, 1, 7, 100, 3000]))
    return chance.choice(TYPES), body[: len(body) // 2] + MARKER.encode() + body[len(body) // 2 :]


def _value(chance: Random, depth: int = 0) -> Any:
    kind = chance.randrange(11 if depth < 4 else 8)
    if kind < 8:
        return chance.choice(
            [
                None,
                True,
                False,
                0,
                -1,
                1.5,
                2**31,
                2**63,
                2**64,
                10**30,
                "",
                MARKER,
                "1",
                "\0",
                "a" * 300,
                1e308,
            ]
        )
    items = [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 8:
        return items
    names = [
        "a",
        "b",
        "n",
        "columns",
        "data",
        "index",
        "inputs",
        MARKER,
        "",
        "__class__",
        "messages",
        "dtype",
    ]
    return {chance.choice(names): item for item in items}


def _shape(chance: Random) -> Body:
    match chance.randrange(6):
        case 0:
            document: Any = {chance.choice(FORMS): _value(chance), MARKER: _value(chance)}
        case 1:
            document = {chance.choice(FORMS): _value(chance)}
        case 2:
            document = {
                "dataframe_split": {
                    "columns": _value(chance),
                    "data": _value(chance),
                    "index": _value(chance),
                }
            }
        case 3:
            document = {"dataframe_records": [{**ROW, chance.choice("abn"): _value(chance)}, ROW]}
        case 4:
            document = {
                "inputs": {name: [_value(chance) for _ in range(chance.randint(1, 3))] for name in "abn"}
            }
        case _:
            document = {
                "dataframe_records": [ROW],
                "params": {MARKER: _value(chance), "__proto__": _value(chance)},
            }
    return JSON, _write(document)


def _long(chance: Random) -> Body:
    match chance.randrange(5):
        case 0:
            document: Any = {"dataframe_records": [{**ROW, "b": MARKER * 5000}]}
        case 1:
            document = {"dataframe_records": [{MARKER * 2000: 1, "": 2}]}
        case 2:
            document = {"dataframe_records": [{f"{MARKER}{number}": number for number in range(1000)}]}
        case 3:
            document = {"dataframe_records": [{**ROW, "a": chance.choice([1, None, MARKER])}] * 500}
        case _:
            document = {
                "dataframe_split": {"columns": [MARKER] * 999, "data": [[0] * chance.choice([998, 999])] * 3}
            }
    return JSON, _write(document)


def _csv(chance: Random) -> Body:
    lines = [
        "a,b,n", f"1.0,{MARKER},1", f'1.0,"{MARKER},1', f"{MARKER},x,1", f"1,{MARKER}",
        f"1,{MARKER},1,2,3,4", '"""', "\0",
        "," * 300, f"{MARKER},{MARKER},{MARKER}", "a,a,a", "1e999,x,1", "nan,,",
        f"1,{'x' * 9000},99999999999999999999",
        "\r", "\x1a", "=1+1,@x,-1", f"#{MARKER}",
    ]  # fmt: skip
    head = ["a,b,n"] if chance.randrange(3) else []
    text = chance.choice(["\n", "\n", "\r\n", "\r"]).join(
        [*head, *chance.choices(lines, k=chance.randint(0, 5))]
    )
    body = text.encode()
    return CSV, body + chance.choice([b"", b"", b"\xff", b"\n" * 99])


def _parquet(chance: Random) -> Body:
    frame = pd.DataFrame([ROW, ROW])
    frame = chance.choice(
        [frame, frame[["b"]], frame.assign(a=MARKER), frame.head(0), frame.assign(z=pd.Series([[1], [2]]))]
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    body = bytearray(buffer.getvalue())
    match chance.randrange(4):
        case 0:
            return PARQUET, bytes(body[: chance.randrange(len(body))])
        case 1:
            return PARQUET, bytes(body[chance.randrange(len(body)) :])
        case 2:
            for _ in range(chance.randint(1, 8)):
                body[chance.randrange(len(body))] = chance.randrange(256)
    return PARQUET, bytes(body)


KINDS: Final[Mapping[str, tuple[int, Callable[[Random], Body]]]] = {
    "cut": (10, _cut),
    "mutated": (12, _mutate),
    "inserted": (10, _insert),
    "deep": (6, _deep),
    "numbers": (10, _number),
    "twice": (8, _twice),
    "encodings": (8, _encoding),
    "noise": (10, _noise),
    "shapes": (16, _shape),
    "long": (2, _long),
    "csv": (8, _csv),
    "parquet": (3, _parquet),
}
"""How often each comes, and how it is made."""


def make_bodies(count: int, seed: int = 5) -> Iterator[tuple[str, str, bytes]]:
    """So many bodies: kind, content type, body."""
    chance = random.Random(seed)
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    for name in chance.choices(names, weights, k=count):
        yield name, *KINDS[name][1](chance)
