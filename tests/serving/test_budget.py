import pytest

from registry import ArtifactError
from serving.budget import within
from serving.settings import MIB


def test_what_fits_is_left_alone() -> None:
    with within(200 * MIB, lambda error: pytest.fail(str(error))):
        kept = bytearray(MIB)
    assert len(kept) == MIB


def test_without_a_budget_nothing_is_watched() -> None:
    with within(0, lambda error: pytest.fail(str(error))):
        assert len(bytearray(64 * MIB)) == 64 * MIB


def test_what_takes_too_much_is_given_up_while_it_takes_it_and_refused_at_the_end() -> None:
    given_up: list[str] = []
    kept = []

    def take() -> None:
        with within(16 * MIB, lambda error: given_up.append(str(error))):
            while not given_up:
                kept.append(b"x" * MIB)
                assert len(kept) < 4096

    with pytest.raises(ArtifactError, match=r"takes \d+ MB of memory, more than the 16 MB"):
        take()
    assert "--memory-budget-mb" in given_up[0]
