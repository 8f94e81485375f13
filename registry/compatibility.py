"""Whether whoever calls the holder can call the candidate in the same way; what else a policy wants in it.

Read from both artifacts' ``MLmodel`` files; nothing of a model runs.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .gates.verdict import GateResult

__all__ = ["CONTRACT_FILE", "judge_contract", "judge_guard", "judge_signature"]

CONTRACT_FILE: Final = "contract.json"
GUARD_FILE: Final = "guard.json"
CONTRACT_SCHEMA: Final = "greenroom/contract/1"

MAX_NAMED: Final = 5

WIDER: Final = {
    "integer": ("integer", "long", "float", "double"),
    "long": ("long", "double"),
    "float": ("float", "double"),
    "boolean": ("boolean",),
}
"""What may take values of a type without refusing or changing any (MLflow's own conversions on input)."""


def judge_signature(candidate: Mapping[str, Any], holder: Mapping[str, Any]) -> GateResult:
    """Compares two ``MLmodel`` documents' signatures.

    Compatible means: every column that the candidate requires, the holder required too; each takes the values
    that the holder's took; every request parameter is still there; answers have the same form.
    """
    if not candidate.get("signature"):
        return GateResult("signature", "no", "It has no signature: nobody knows what it takes and answers.")
    if not holder.get("signature"):
        return GateResult("signature", "yes", "The holder has no signature that a client could rely on.")
    problems = list(_find_problems(candidate["signature"], holder["signature"]))
    if problems:
        more = f", and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        said = "; ".join(problems[:MAX_NAMED]) + more
        return GateResult("signature", "no", f"Clients of the holder would break: {said}.")
    return GateResult("signature", "yes", "Whoever calls the holder can call it in the same way.")


def _find_problems(candidate: Mapping[str, Any], holder: Mapping[str, Any]) -> Iterator[str]:
    own, held = _read_columns(candidate, "inputs"), _read_columns(holder, "inputs")
    for name, column in own.items():
        before = held.get(name)
        if before is None and column.get("required", True):
            yield f"it requires {name}, which the holder does not take"
        elif before is not None:
            yield from _compare_column(name, column, before)
    for name, before in _read_columns(holder, "params").items():
        after = _read_columns(candidate, "params").get(name)
        if after is None:
            yield f"the request parameter {name} is gone"
        elif after.get("type") != before.get("type"):
            yield f"the request parameter {name} takes {after.get('type')} instead of {before.get('type')}"
    yield from _compare_outputs(_read_columns(candidate, "outputs"), _read_columns(holder, "outputs"))


def _compare_column(name: str, column: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    if column.get("required", True) and not before.get("required", True):
        yield f"{name} was optional and is required now"
    kind, held = _name_kind(column), _name_kind(before)
    if kind != held and kind not in WIDER.get(held, ()):
        yield f"{name} takes {kind} instead of {held}"


def _compare_outputs(own: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[str]:
    if not held:
        return
    if set(own) != set(held):
        yield f"answers hold {', '.join(own) or 'nothing known'} instead of {', '.join(held)}"
        return
    for name, column in own.items():
        if _name_kind(column) != _name_kind(held[name]):
            yield f"the answer {name} is {_name_kind(column)} instead of {_name_kind(held[name])}"


def _read_columns(signature: Mapping[str, Any], part: str) -> dict[str, Mapping[str, Any]]:
    """Name → column; a column or tensor without a name goes by its place."""
    text = signature.get(part)
    try:
        columns = json.loads(text) if isinstance(text, str) else (text or [])
    except ValueError:
        return {}
    return {str(column.get("name", f"number {place}")): column for place, column in enumerate(columns, 1)}


def _name_kind(column: Mapping[str, Any]) -> str:
    if column.get("type") != "tensor":
        return str(column.get("type"))
    tensor = column.get("tensor-spec", {})
    return f"tensor of {tensor.get('dtype')} {tensor.get('shape')}"


def judge_contract(artifact: Path) -> GateResult:
    """Whether the artifact carries a data contract that can be read."""
    paths = sorted(artifact.rglob(CONTRACT_FILE))
    if not paths:
        reason = f"The artifact has no {CONTRACT_FILE} that says what rows must look like."
        return GateResult("contract", "no", reason)
    try:
        document = json.loads(paths[0].read_text(encoding="utf-8"))
        columns = document["columns"]
        known = document["schema"] == CONTRACT_SCHEMA and len(columns) > 0
    except (ValueError, KeyError, TypeError, OSError):
        known, columns = False, ()
    if not known:
        return GateResult("contract", "no", f"The artifact's {CONTRACT_FILE} cannot be read as a contract.")
    return GateResult("contract", "yes", f"It carries a data contract for {len(columns)} columns.")


def judge_guard(artifact: Path) -> GateResult:
    """Whether the artifact carries a guard that can be read."""
    paths = sorted(artifact.rglob(GUARD_FILE))
    if not paths:
        reason = f"The artifact has no {GUARD_FILE}: it answers rows that resemble nothing it learned from."
        return GateResult("guard", "no", reason)
    try:
        document = json.loads(paths[0].read_text(encoding="utf-8"))
        share, scores = float(document["false_refusal"]), len(document["scores"])
    except (ValueError, KeyError, TypeError, OSError):
        return GateResult("guard", "no", f"The artifact's {GUARD_FILE} cannot be read as a guard.")
    said = f"Its guard refuses about {share:.2%} of ordinary rows, by {scores:,} of them."
    return GateResult("guard", "yes", said)
