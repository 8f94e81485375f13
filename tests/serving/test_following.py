from serving.following import Load, Refusal, Show, Stay, decide
from serving.holding import Target
from serving.live import Live, ServedModel
from serving.scoring import JSON, Scored


class Answering:
    engine = "native"

    def score(self, body: bytes, content_type: str | None) -> Scored:
        del content_type
        return Scored(body, JSON)


def serve(target: Target, manifest: str = "aa") -> ServedModel:
    return ServedModel(target=target, manifest=manifest, scorer=Answering(), warm=True, from_cache=False)


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
    first = serve(ONE)
    assert decide(back, [serve(TWO, "bb"), first], None, 0.0) == Show(
        ServedModel(target=back, manifest="aa", scorer=first.scorer, warm=True, from_cache=False)
    )


def test_a_newer_entry_for_the_same_version_loads_nothing() -> None:
    again = Target("1", seq=5, manifest="aa", created_ms=10)
    served = serve(ONE)
    step = decide(again, [served], None, 0.0)
    assert isinstance(step, Show)
    assert (step.model.target, step.model.scorer) == (again, served.scorer)


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
    live = Live()
    first, second = serve(ONE), serve(TWO, "bb")
    live.publish(first)
    assert (live.model, live.previous) == (first, None)
    live.publish(second)
    assert (live.model, live.previous) == (second, first)
    live.publish(first)
    assert (live.model, live.previous) == (first, second)


def test_a_newer_entry_for_the_served_version_forgets_no_other() -> None:
    live = Live()
    first, second = serve(ONE), serve(TWO, "bb")
    live.publish(first)
    live.publish(second)
    same = ServedModel(target=TWO, manifest="bb", scorer=second.scorer, warm=True, from_cache=False)
    live.publish(same)
    assert (live.model, live.previous) == (same, first)
