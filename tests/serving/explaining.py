"""Why two servers may answer differently: the rows of the reference, as code."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.compiled.parity import are_equal
from tests.serving.scoring_servers import Reply
from tests.serving.twins import Question

__all__ = ["RULES", "explain", "find_leaks"]

Ask = Callable[[Question], Reply]
"""Asks MLflow's server something else."""

OK: Final = 200
_QUOTED: Final = re.compile(r'(;\s*charset=)"([^"]*)"', re.IGNORECASE)


def explain(question: Question, theirs: Reply, ours: Reply, ask_theirs: Ask) -> str | None:
    """Says why two answers differ: a row of the reference, "" if they do not, None if nobody knows."""
    if _are_same(theirs, ours):
        return ""
    for name, rule in RULES.items():
        if rule(question, theirs, ours, ask_theirs):
            return name
    return None


def find_leaks(ours: Reply) -> str:
    """What an error says that it must not: anything but MLflow's code and a sentence."""
    if ours.status == OK:
        return ""
    document = json.loads(ours.body)
    if set(document) != {"error_code", "message"}:
        return f"keys {sorted(document)}"
    return "a stack" if "Traceback" in document["message"] else ""


def _are_same(theirs: Reply, ours: Reply) -> bool:
    if theirs.status != ours.status:
        return False
    if theirs.status == OK:
        return are_equal(_parse_strictly(ours.body), json.loads(theirs.body))
    if theirs.headers.get("content-type", "").startswith("application/json"):
        return _read_code(theirs) in {_read_code(ours), None} and _tell_the_same_rule(theirs, ours)
    return True  # error_as_json: MLflow has no code for these


def _tell_the_same_rule(theirs: Reply, ours: Reply) -> bool:
    """A contract's sentence is the same; MLflow puts the rows before it."""
    given, sentence = (str(json.loads(reply.body)["message"]) for reply in (theirs, ours))
    return "where the contract asks for" not in given + sentence or given.endswith(f"Error: {sentence}")


def _read_code(reply: Reply) -> Any:
    return json.loads(reply.body).get("error_code")


def _parse_strictly(body: bytes) -> Any:
    """Fails on NaN and infinities: ours are never in an answer."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in an answer")

    return json.loads(body, parse_constant=refuse)


def _no_content_type(question: Question, theirs: Reply, ours: Reply, ask_theirs: Ask) -> bool:
    if question.content_type or theirs.status not in {500, 415}:
        return False
    again = Question(question.body)
    return explain(again, ask_theirs(again), ours, ask_theirs) is not None


def _quoted_charset(question: Question, theirs: Reply, ours: Reply, ask_theirs: Ask) -> bool:
    plain = _QUOTED.sub(r"\1\2", question.content_type or "")
    if plain == question.content_type or theirs.status != 415:
        return False
    again = Question(question.body, plain)
    return explain(again, ask_theirs(again), ours, ask_theirs) is not None


def _nan_in_answer(_question: Question, theirs: Reply, ours: Reply, _ask: Ask) -> bool:
    if theirs.status != OK or ours.status != OK:
        return False
    given = json.loads(theirs.body)
    return given != (strict := _drop_nonfinite(given)) and are_equal(_parse_strictly(ours.body), strict)


def _unforeseen_body(_question: Question, theirs: Reply, ours: Reply, _ask: Ask) -> bool:
    return (theirs.status, ours.status) == (500, 400)


RULES: Final[Mapping[str, Callable[[Question, Reply, Reply, Ask], bool]]] = {
    "no_content_type": _no_content_type,
    "quoted_charset": _quoted_charset,
    "nan_in_answer": _nan_in_answer,
    "unforeseen_body": _unforeseen_body,
}
"""By the name of their row in docs/reference/http.md."""


def _drop_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_drop_nonfinite(item) for item in value]
    if isinstance(value, dict):
        return {key: _drop_nonfinite(item) for key, item in value.items()}
    return value
