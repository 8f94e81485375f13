from datetime import UTC, datetime, timedelta

import pandas as pd
from hypothesis import given, settings, strategies as st

from registry.predictions.joining import join_truth

DAY = datetime(2026, 1, 1, tzinfo=UTC)
IDS = st.sampled_from(["a", "a/0", "b", "b/0", "b/1", "c", "nobody", "nobody/0"])
TOLD = st.tuples(IDS, st.integers(0, 9), st.integers(0, 3), st.integers(0, 3))
"""Whose truth, which, since when, and when it arrived."""


def join_by_hand(ids: list[str], told: list[tuple[str, int, int, int]]) -> list[int | None]:
    """The rule, as it stands in the documentation."""
    answers: list[int | None] = []
    for one in ids:
        about = [
            (when, arrived, place, truth)
            for place, (name, truth, when, arrived) in enumerate(told)
            if name == one or (name == f"{one}/0" and name not in ids)
        ]
        answers.append(max(about)[-1] if about else None)
    return answers


@settings(max_examples=60)
@given(st.lists(IDS.filter(lambda name: "nobody" not in name), max_size=6), st.lists(TOLD, max_size=12))
def test_the_latest_truth_counts_whatever_the_order_in_which_truths_arrive(
    ids: list[str], told: list[tuple[str, int, int, int]]
) -> None:
    told = sorted(told, key=lambda one: one[3])  # files lie in the order of their writing
    feedback = pd.DataFrame(
        {
            "id": pd.Series([name for name, *_ in told], dtype="str"),
            "truth": pd.Series([truth for _, truth, *_ in told], dtype="float64"),
            "time": pd.Series(
                [DAY + timedelta(days=when) for *_, when, _ in told], dtype="datetime64[us, UTC]"
            ),
            "arrived": pd.Series([DAY + timedelta(days=at) for *_, at in told], dtype="datetime64[us, UTC]"),
        }
    )
    joined = join_truth(pd.Series(ids, dtype="str"), feedback)
    assert [None if pd.isna(one) else int(one) for one in joined["truth"]] == join_by_hand(ids, told)
    assert joined["truth"].isna().equals(joined["truth_time"].isna())
