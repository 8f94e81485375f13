import json

import pytest
from hypothesis import given, strategies as st

from registry import TamperedError, UsageError
from registry.ledger.entry import Draft, format_entry, parse_entry, seal

PLACE = {
    "seq": 1,
    "time": "2026-01-01T00:00:00.000Z",
    "actor": "a@b",
    "model": "m",
    "ledger": "r",
    "previous": "p",
}

drafts = st.builds(
    Draft,
    action=st.sampled_from(["promote", "rollback", "archive", "rogue"]),
    nonce=st.text(min_size=1, max_size=32),
    stage=st.sampled_from([None, "staging", "production"]),
    version=st.none() | st.integers(1, 10**6).map(str),
    was=st.none() | st.integers(1, 10**6).map(str),
    created_ms=st.none() | st.integers(0, 2**53),
    reason=st.none() | st.text(min_size=1, max_size=300),
    details=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
)


@given(drafts)
def test_an_entry_read_back_is_the_entry_written(draft: Draft) -> None:
    entry = seal(draft, **PLACE)
    assert parse_entry(format_entry(entry)) == entry


@given(drafts, st.data())
def test_any_changed_character_is_noticed(draft: Draft, data: st.DataObject) -> None:
    text = format_entry(seal(draft, **PLACE))
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(
        st.characters(min_codepoint=32, max_codepoint=126).filter(lambda one: one != text[place])
    )
    with pytest.raises(TamperedError):
        parse_entry(text[:place] + other + text[place + 1 :])


def test_an_entry_with_a_recomputed_hash_but_an_unknown_action_is_refused() -> None:
    from registry.ledger.entry import canonical, digest

    document = json.loads(format_entry(seal(Draft(action="promote", nonce="n"), **PLACE)))
    document["action"] = "seize"
    document["hash"] = digest(document)
    with pytest.raises(TamperedError):
        parse_entry(canonical(document))


def test_a_reason_that_would_not_fit_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UsageError, match="1001"):
        Draft(action="promote", nonce="n", reason="x" * 1001)


def test_an_entry_that_mlflow_would_truncate_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        seal(Draft(action="rogue", nonce="n", details={"acts": ["x" * 6000]}), **PLACE)
