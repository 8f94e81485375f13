from dataclasses import replace

import pytest

from registry import PRODUCTION, STAGING, TamperedError
from registry.ledger.entry import Draft, Entry, seal
from registry.ledger.fold import fold, step
from registry.ledger.state import Look, State


def write(
    state: State, action: str, version: str | None = None, stage: str | None = None, **more: object
) -> Entry:
    """Seals an entry that follows the state, the way the ledger does."""
    holder = state.holder(stage) if stage else None
    fields: dict[str, object] = {
        "was": holder.version if holder else None,
        "created_ms": int(version) * 1000 if version else None,
        "manifest": f"files-of-{version}" if version else None,
    }
    draft = Draft(action=action, nonce="n", version=version, stage=stage, **{**fields, **more})  # type: ignore[arg-type]
    return seal(
        draft,
        seq=state.seq + 1,
        time=f"2026-01-01T00:00:{state.seq:02d}.000Z",
        actor="a@b",
        model=state.model,
        ledger=state.ledger,
        previous=state.link,
    )


def act(
    state: State, action: str, version: str | None = None, stage: str | None = None, **more: object
) -> State:
    return step(state, write(state, action, version, stage, **more))


def to_production(state: State, version: str) -> State:
    return act(act(state, "promote", version, STAGING), "promote", version, PRODUCTION)


EMPTY = State(ledger="run", model="m", link="opening")


def test_a_version_goes_from_candidate_to_staging_to_production_and_vacates_staging() -> None:
    state = to_production(EMPTY, "1")
    assert state.holders.keys() == {PRODUCTION}
    assert state.standing("1", 1000) == "production"


def test_a_displaced_holder_is_archived_and_remembered_for_rollback() -> None:
    state = to_production(to_production(EMPTY, "1"), "2")
    assert state.standing("1", 1000) == "archived"
    assert [held.version for held in state.before] == ["1"]


def test_production_takes_versions_from_staging_only() -> None:
    with pytest.raises(TamperedError, match="was not in staging"):
        act(EMPTY, "promote", "1", PRODUCTION)


def test_rollback_undoes_promote() -> None:
    one = to_production(EMPTY, "1")
    back = act(to_production(one, "2"), "rollback", "1", PRODUCTION)
    assert back.holder(PRODUCTION) == replace(_held(one), seq=back.seq, since=back.time)
    assert back.before == one.before


def _held(state: State):  # type: ignore[no-untyped-def]
    holder = state.holder(PRODUCTION)
    assert holder is not None
    return holder


def test_two_rollbacks_go_back_two_versions() -> None:
    state = EMPTY
    for version in ("1", "2", "3"):
        state = to_production(state, version)
    for version in ("2", "1"):
        state = act(state, "rollback", version, PRODUCTION)
        assert _held(state).version == version
    assert state.before == ()


def test_rollback_to_a_version_that_never_was_in_production_is_ill_formed() -> None:
    state = act(to_production(EMPTY, "1"), "promote", "2", STAGING)
    with pytest.raises(TamperedError, match="never in production"):
        act(state, "rollback", "2", PRODUCTION)


def test_a_move_that_misstates_the_holder_is_ill_formed() -> None:
    state = act(to_production(EMPTY, "1"), "promote", "2", STAGING)
    with pytest.raises(TamperedError, match="it says None was in production"):
        act(state, "promote", "2", PRODUCTION, was=None)


def test_rejected_files_stay_rejected_under_another_version_number() -> None:
    state = act(EMPTY, "reject", "1")
    assert state.standing("1", 1000) == "rejected"
    with pytest.raises(TamperedError, match="rejected"):
        act(state, "promote", "2", STAGING, manifest="files-of-1")


def test_a_version_in_production_is_neither_archived_nor_rejected() -> None:
    state = to_production(EMPTY, "1")
    for action in ("archive", "reject"):
        with pytest.raises(TamperedError, match="in production"):
            act(state, action, "1")


def test_archiving_the_staged_version_empties_staging() -> None:
    state = act(act(EMPTY, "promote", "1", STAGING), "archive", "1")
    assert state.holder(STAGING) is None
    assert state.standing("1", 1000) == "archived"


def test_a_version_made_again_under_an_old_number_is_another_thing() -> None:
    state = to_production(to_production(EMPTY, "1"), "2")
    assert state.standing("1", 1000) == "archived"
    assert state.standing("1", 9999) == "candidate"


def test_adoption_takes_over_what_is_found_and_is_only_possible_first() -> None:
    found = {PRODUCTION: {"version": "7", "created_ms": 7000, "run_id": None}}
    state = act(EMPTY, "adopt", details=found)
    assert _held(state).version == "7"
    assert _held(state).manifest == ""
    with pytest.raises(TamperedError, match="beginning"):
        act(state, "adopt", details=found)


def test_an_entry_that_does_not_follow_is_refused() -> None:
    state = to_production(EMPTY, "1")
    entry = write(state, "archive", "9")
    for wrong in ({"seq": 9}, {"previous": "other"}, {"ledger": "other"}, {"model": "other"}):
        with pytest.raises(TamperedError):
            step(state, replace(entry, **wrong))


def test_entries_in_another_order_do_not_fold() -> None:
    first = write(EMPTY, "promote", "1", STAGING)
    second = write(step(EMPTY, first), "promote", "1", PRODUCTION)
    assert fold(EMPTY, [first, second]).seq == 2
    with pytest.raises(TamperedError):
        fold(EMPTY, [second, first])


def test_rogue_acts_are_remembered_until_the_next_entry_of_another_kind() -> None:
    state = act(to_production(EMPTY, "1"), "rogue", details={"acts": ["production=9"]})
    assert state.rogue == ("production=9",)
    assert act(state, "promote", "2", STAGING).rogue == ()


def test_attempts_count_looks_and_restart_with_a_new_holder() -> None:
    state = look(look(to_production(EMPTY, "1"), "2", 1), "2", 2)
    assert state.attempts[PRODUCTION] == 2
    assert state.looks["2 at 2"] == Look(PRODUCTION, 2, "evidence")
    state = to_production(state, "2")
    assert (state.attempts[PRODUCTION], state.looks) == (0, {})
    back = act(look(state, "3", 1), "rollback", "1", PRODUCTION)
    assert back.attempts[PRODUCTION] == 2  # as many as were taken at version 1 before
    assert act(look(back, "3", 3), "rollback", "2", PRODUCTION).attempts[PRODUCTION] == 3


def look(state: State, version: str, attempt: int) -> State:
    details = {"attempt": attempt, "question": f"{version} at {attempt}"}
    return act(state, "reserve", version, PRODUCTION, evidence_run="evidence", details=details)


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_an_attempt_is_reserved_once_and_none_is_left_out(attempt: int) -> None:
    state = look(to_production(EMPTY, "1"), "2", 1)
    with pytest.raises(TamperedError, match="the next one is 2"):
        look(state, "2", attempt)


def test_a_version_shown_to_be_no_worse_inherits_what_it_was_measured_against() -> None:
    state = to_production(EMPTY, "1")
    for version, shown in (("2", "better"), ("3", "no worse"), ("4", "no worse")):
        state = act(state, "promote", version, STAGING)
        state = act(state, "promote", version, PRODUCTION, details={"shown": shown})
    assert [state.best_of(state.best[number]).version for number in "1234"] == ["1", "2", "2", "2"]
    back = act(state, "rollback", "3", PRODUCTION)
    assert back.best_of(_held(back)).version == "2"


def test_a_word_counts_for_the_very_promotion_that_waits_for_it() -> None:
    state = act(to_production(EMPTY, "1"), "promote", "2", STAGING)
    state = act(state, "pending", "2", PRODUCTION, evidence_run="evidence")
    waiting = state.pending["2"]
    assert (waiting.was, waiting.asker, waiting.word) == ("1", "a@b", 0)
    assert act(state, "approve", "2", details={"pending": 99}).pending["2"] == waiting
    heard = act(state, "approve", "2", details={"pending": waiting.seq})
    assert heard.pending["2"] == replace(
        waiting, word=waiting.seq + 1, speaker="a@b", speaker_source="self-declared"
    )
    assert act(heard, "promote", "2", PRODUCTION).pending == {}


def test_time_never_runs_back_in_the_fold() -> None:
    state = to_production(EMPTY, "1")
    early = seal(
        Draft(action="archive", nonce="n", version="5", created_ms=5),
        seq=state.seq + 1,
        time="2020-01-01T00:00:00.000Z",
        actor="a",
        model="m",
        ledger="run",
        previous=state.link,
    )
    assert step(state, early).time == state.time


def test_an_imported_version_is_a_candidate_and_remembers_where_it_came_from() -> None:
    state = act(EMPTY, "import", "4", details={"origin": "elsewhere"})
    assert state.standing("4", 4000) == "candidate"
    assert state.records["4"].manifest == "files-of-4"
    assert state.imported["elsewhere"].version == "4"


def test_an_import_does_not_move_a_version_that_somebody_promoted_meanwhile() -> None:
    state = act(act(EMPTY, "promote", "4", STAGING), "import", "4", details={"origin": "elsewhere"})
    assert state.standing("4", 4000) == "staging"


def test_files_that_were_rejected_here_are_not_imported() -> None:
    state = act(EMPTY, "reject", "1")
    with pytest.raises(TamperedError, match="were rejected"):
        act(state, "import", "2", manifest="files-of-1", details={"origin": "elsewhere"})


def test_an_import_says_where_the_version_came_from() -> None:
    with pytest.raises(TamperedError, match="where it came from"):
        act(EMPTY, "import", "4")
