import json

from serving.following import Load, Refusal, Show, Stay, decide
from serving.live import Following, PreparedModel, State, dump, parse_state
from serving.target import Target


def serve(target: Target, manifest: str = "aa") -> PreparedModel:
    return PreparedModel(
        target=target, manifest=manifest, artifact="", plan=None, reason="", warm=True, from_cache=False
    )


ONE = Target("1", seq=1, manifest="aa", created_ms=10)
TWO = Target("2", seq=2, manifest="bb", created_ms=20)


def test_the_first_version_is_loaded() -> None:
    assert decide(ONE, [], None, 0.0) == Load(ONE)


def test_nothing_happens_while_nothing_changes() -> None:
    assert decide(ONE, [serve(ONE)], None, 0.0) == Stay()


def test_an_empty_stage_takes_nothing_off() -> None:
    assert decide(None, [serve(ONE)], None, 0.0) == Stay()


def test_a_promotion_is_loaded() -> None:
    assert decide(TWO, [serve(ONE)], None, 0.0) == Load(TWO)


def test_a_rollback_shows_what_is_still_loaded() -> None:
    back = Target("1", seq=3, manifest="aa", created_ms=10)
    assert decide(back, [serve(TWO, "bb"), serve(ONE)], None, 0.0) == Show(serve(back))


def test_a_promotion_shows_what_was_loaded_while_it_was_staged() -> None:
    promoted = Target("2", seq=3, manifest="bb", created_ms=20)
    loaded = [serve(ONE), serve(TWO, "bb")]
    assert decide(promoted, loaded, None, 0.0) == Show(serve(promoted, "bb"))


def test_a_newer_entry_for_the_same_version_loads_nothing() -> None:
    again = Target("1", seq=5, manifest="aa", created_ms=10)
    served = serve(ONE)
    assert decide(again, [served], None, 0.0) == Show(serve(again))


def test_a_version_of_the_same_number_with_other_files_is_another_version() -> None:
    other = Target("1", seq=3, manifest="cc", created_ms=10)
    assert decide(other, [serve(ONE)], None, 0.0) == Load(other)


def test_a_version_of_the_same_number_made_later_is_another_version() -> None:
    later = Target("1", created_ms=99, managed=False)
    assert decide(later, [serve(Target("1", created_ms=10, managed=False))], None, 0.0) == Load(later)


def test_adoption_by_a_ledger_without_a_manifest_keeps_what_is_loaded() -> None:
    found = serve(Target("1", created_ms=10, managed=False))
    assert isinstance(decide(Target("1", seq=1, created_ms=10), [found], None, 0.0), Show)


def test_a_refused_version_is_left_alone_until_its_time_comes() -> None:
    refusal = Refusal(TWO, "tampered", tries=1, again_at_s=100.0)
    assert decide(TWO, [serve(ONE)], refusal, 99.0) == Stay()
    assert decide(TWO, [serve(ONE)], refusal, 100.0) == Load(TWO)


def test_another_version_does_not_wait_for_the_refused_one() -> None:
    refusal = Refusal(TWO, "tampered", tries=5, again_at_s=100.0)
    three = Target("3", seq=3, manifest="dd", created_ms=30)
    assert decide(three, [serve(ONE)], refusal, 0.0) == Load(three)


def test_going_back_to_the_served_version_needs_nothing() -> None:
    refusal = Refusal(TWO, "tampered", tries=5, again_at_s=100.0)
    assert decide(ONE, [serve(ONE)], refusal, 0.0) == Stay()


def test_the_version_before_stays_loaded() -> None:
    first, second = serve(ONE), serve(TWO, "bb")
    state = State().put_on_stage(first)
    assert (state.model, state.previous) == (first, None)
    state = state.put_on_stage(second)
    assert (state.model, state.previous) == (second, first)
    state = state.put_on_stage(first)
    assert (state.model, state.previous) == (first, second)


def test_a_newer_entry_for_the_served_version_forgets_no_other() -> None:
    first, second = serve(ONE), serve(TWO, "bb")
    state = State().put_on_stage(first).put_on_stage(second)
    same = serve(Target("2", seq=9, manifest="bb", created_ms=20), "bb")
    assert state.put_on_stage(same) == State(model=same, previous=first)


def test_a_state_reaches_another_process_as_it_was() -> None:
    following = Following(problems=("away",), refused="3", preparing="4", looked=True, empty=False)
    state = State(model=serve(TWO, "bb"), previous=serve(ONE), following=following)
    assert parse_state(json.loads(json.dumps(dump(state)))) == state
