"""Clients of the holder, shown another signature; and artifacts with and without a contract."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.compatibility import judge_contract, judge_guard, judge_signature


def sign(
    inputs: list[Any], outputs: list[Any] | None = None, params: list[Any] | None = None
) -> dict[str, Any]:
    parts = {"inputs": inputs, "outputs": outputs, "params": params}
    return {"signature": {name: json.dumps(part) if part else None for name, part in parts.items()}}


def column(name: str, kind: str = "double", *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "type": kind, "required": required}


HOLDER = sign(
    [column("a", "long"), column("b", "string", required=False)],
    [column("late", "double")],
    [{"name": "output", "type": "string", "default": "answer", "shape": None}],
)
PARAMS = json.loads(HOLDER["signature"]["params"])
OUTPUTS = [column("late", "double")]


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (sign([column("a"), column("c")], OUTPUTS, PARAMS), "it requires c, which the holder does not take"),
        (sign([column("a"), column("b", "string")], OUTPUTS, PARAMS), "b was optional and is required now"),
        (sign([column("a", "integer")], OUTPUTS, PARAMS), "a takes integer instead of long"),
        (sign([column("a")], OUTPUTS), "the request parameter output is gone"),
        (
            sign([column("a")], [column("late", "string")], PARAMS),
            "the answer late is string instead of double",
        ),
        (sign([column("a")], [column("other")], PARAMS), "answers hold other instead of late"),
        (sign([column("a")], OUTPUTS, [{"name": "output", "type": "long"}]), "takes long instead of string"),
        ({}, "It has no signature"),
    ],
)
def test_what_would_break_a_client_is_named(candidate: dict[str, Any], said: str) -> None:
    found = judge_signature(candidate, HOLDER)
    assert found.verdict == "no"
    assert said in found.reason


@pytest.mark.parametrize(
    "candidate",
    [
        HOLDER,
        sign([column("a"), column("new", required=False)], OUTPUTS, PARAMS),
        sign([column("b", "string", required=False)], OUTPUTS, [*PARAMS, {"name": "more", "type": "long"}]),
    ],
)
def test_what_takes_all_that_the_holder_took_is_compatible(candidate: dict[str, Any]) -> None:
    assert judge_signature(candidate, HOLDER).verdict == "yes"


def test_tensors_are_compared_by_type_and_shape() -> None:
    def tensor(shape: list[int]) -> dict[str, Any]:
        return sign([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}}])

    assert judge_signature(tensor([-1, 64]), tensor([-1, 64])).verdict == "yes"
    assert (
        "[-1, 32] instead of tensor of float64 [-1, 64]"
        in judge_signature(tensor([-1, 32]), tensor([-1, 64])).reason
    )


def test_a_contract_must_be_there_and_be_one(tmp_path: Path) -> None:
    assert "no contract.json" in judge_contract(tmp_path).reason
    path = tmp_path / "parts" / "contract.json"
    path.parent.mkdir()
    path.write_text("{")
    assert "cannot be read" in judge_contract(tmp_path).reason
    path.write_text(json.dumps({"schema": "greenroom/contract/1", "columns": {"a": {"type": "number"}}}))
    said = judge_contract(tmp_path)
    assert (said.verdict, "for 1 columns" in said.reason) == ("yes", True)


def test_a_guard_must_be_there_and_be_one(tmp_path: Path) -> None:
    assert "no guard.json" in judge_guard(tmp_path).reason
    path = tmp_path / "parts" / "guard.json"
    path.parent.mkdir()
    path.write_text("[]")
    assert "cannot be read" in judge_guard(tmp_path).reason
    path.write_text(json.dumps({"false_refusal": 0.05, "scores": [1, 2, 3]}))
    said = judge_guard(tmp_path)
    assert (said.verdict, "about 5.00% of ordinary rows" in said.reason) == ("yes", True)
