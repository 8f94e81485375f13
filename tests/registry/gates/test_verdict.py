import pytest

from registry.gates.verdict import GateResult, Verdict, combine


@pytest.mark.parametrize(
    ("said", "together"),
    [
        ([], "yes"),
        (["yes", "yes"], "yes"),
        (["yes", "not_enough_data"], "not_enough_data"),
        (["not_enough_data", "no", "yes"], "no"),
        (["yes", "pending"], "pending"),
    ],
)
def test_one_no_is_a_no(said: list[Verdict], together: Verdict) -> None:
    assert combine([GateResult("gate", verdict, "") for verdict in said]) == together


def test_an_overridden_gate_is_recorded_but_does_not_decide() -> None:
    assert combine([GateResult("metric", "no", "", decides=False), GateResult("trust", "yes", "")]) == "yes"
