"""A team's own gates: found by entry point, asked where the policy names them.

A distribution declares ``[project.entry-points."greenroom.gates"] cost = "ourgates:judge_cost"``; a policy
asks it by ``[gates.cost]`` with whatever settings it takes. See ``examples/gates/``.
"""

import difflib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from registry.errors import UsageError

from .material import Material
from .verdict import GateResult

__all__ = ["GROUP", "Gate", "check_gates", "judge_extensions"]

GROUP: Final = "greenroom.gates"


class Gate(Protocol):
    """A question of a team's own. It is pure: the same material gives the same answer, also in a replay."""

    def __call__(self, material: Material, settings: Mapping[str, Any], /) -> GateResult:
        """Answers yes, no or not_enough_data, with one sentence and its numbers."""


def check_gates(asked: Mapping[str, Any]) -> None:
    """Whether every gate that a policy names is installed.

    Raises:
        UsageError: One is not; names those that are.
    """
    known = {point.name for point in entry_points(group=GROUP)}
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else f"Installed: {', '.join(sorted(known)) or 'none'}."
            )
            raise UsageError(f"The policy asks for a gate {name!r}, which is not installed.", hint=hint)


def judge_extensions(material: Material, asked: Mapping[str, Mapping[str, Any]]) -> Iterator[GateResult]:
    """Asks every gate that the policy names, by name: evidence does not keep the policy's order."""
    check_gates(asked)
    for name, settings in sorted(asked.items()):
        (point, *_) = entry_points(group=GROUP, name=name)
        yield _ask(name, point.load(), material, settings)


def _ask(name: str, gate: Gate, material: Material, settings: Mapping[str, Any]) -> GateResult:
    """A gate that fails has not said yes; what went wrong is its reason."""
    try:
        said = gate(material, settings)
    except Exception as error:  # noqa: BLE001 - foreign code: its failure is the finding
        return GateResult(name, "no", f"The gate failed: {type(error).__name__}: {str(error)[:300]}")
    return GateResult(name, said.verdict, said.reason, numbers=dict(said.numbers))
