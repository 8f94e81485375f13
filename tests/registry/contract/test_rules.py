"""Rules are read, never run; what cannot be compared is refused when it is declared."""

import pytest

from registry import UsageError
from registry.contract.rules import Side, parse_rule

TYPES = {
    "dep_time": "number",
    "arr_time": "number",
    "late": "boolean",
    "from": "category",
    "to": "text",
    "at": "datetime",
    "gate no": "number",
}


@pytest.mark.parametrize(
    ("text", "left", "operator", "right"),
    [
        ("dep_time <= arr_time", Side("dep_time"), "<=", Side("arr_time")),
        ("dep_time<arr_time", Side("dep_time"), "<", Side("arr_time")),
        ("0 < `gate no`", Side(None, 0.0), "<", Side("gate no")),
        ("dep_time != -1e3", Side("dep_time"), "!=", Side(None, -1000.0)),
        ("from != to", Side("from"), "!=", Side("to")),
        ('from == "JFK"', Side("from"), "==", Side(None, "JFK")),
        ("late == false", Side("late"), "==", Side(None, value=False)),
        ("at >= '1970-01-02'", Side("at"), ">=", Side(None, 86_400_000_000)),
    ],
)
def test_a_comparison_is_read(text: str, left: Side, operator: str, right: Side) -> None:
    rule = parse_rule(text, TYPES)
    assert (rule.left, rule.operator, rule.right) == (left, operator, right)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('true') == 0", "cannot be read"),
        ("dep_time <= arr_time <= 5", "cannot be read"),
        ("dep_time", "cannot be read"),
        ("dep_time = 5", "cannot be read"),
        ("", "cannot be read"),
        ("dep_tme < 5", "names the column 'dep_tme', which the contract does not have"),
        ("1 < 2", "names no column"),
        ("dep_time < at", "compares a datetime with a number"),
        ("dep_time < 'five'", "compares a number with a text"),
        ("from < to", "orders columns that have no order"),
        ("late > false", "orders columns that have no order"),
        ("at > 'yesterday'", "compares a datetime with a text that is no moment"),
        ("dep_time < inf", "compares a number with an infinite number"),
    ],
)
def test_what_is_no_comparison_of_columns_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_rule(text, TYPES)
