import asyncio
import threading
import time

import pytest

from serving.errors import BusyError, TooLateError
from serving.inference import Inference
from serving.scorer import JSON, Scored


class Patient:
    """A scorer that answers when it is allowed to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def score(self, body: bytes, content_type: str | None) -> Scored:
        del content_type
        self.begun += 1
        assert self.go.wait(10)
        return Scored(body, JSON)


def test_the_loop_goes_on_while_a_model_thinks() -> None:
    async def run() -> bytes:
        scorer, inference = Patient(), Inference(threads=1, max_waiting=0, timeout_s=None)
        answer = asyncio.create_task(inference.score(scorer, b"1", None))
        await asyncio.sleep(0.05)
        assert not answer.done()
        scorer.go.set()
        return (await answer).body

    assert asyncio.run(run()) == b"1"


def test_one_more_than_may_wait_is_sent_away_and_the_others_are_answered() -> None:
    async def run() -> None:
        scorer, inference = Patient(), Inference(threads=1, max_waiting=1, timeout_s=5)
        admitted = [asyncio.create_task(inference.score(scorer, b"1", None)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await inference.score(scorer, b"1", None)
        scorer.go.set()
        assert [scored.body for scored in await asyncio.gather(*admitted)] == [b"1", b"1"]
        assert inference.admitted == 0
        assert (await inference.score(scorer, b"2", None)).body == b"2"

    asyncio.run(run())


def test_a_waiting_prediction_whose_caller_gave_up_never_begins() -> None:
    async def run() -> None:
        scorer, inference = Patient(), Inference(threads=1, max_waiting=4, timeout_s=0.1)
        late = [asyncio.create_task(inference.score(scorer, b"1", None)) for _ in range(3)]
        for result in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(result, TooLateError)
        assert inference.admitted == 1  # the one that has begun keeps its place
        scorer.go.set()
        await asyncio.sleep(0.1)
        assert (inference.admitted, scorer.begun) == (0, 1)

    asyncio.run(run())


def test_closing_tells_whether_something_still_runs() -> None:
    async def run() -> tuple[bool, Patient]:
        scorer, inference = Patient(), Inference(threads=1, max_waiting=0, timeout_s=0.05)
        with pytest.raises(TooLateError):
            await inference.score(scorer, b"1", None)
        return inference.close(), scorer

    running, scorer = asyncio.run(run())
    assert running
    scorer.go.set()


def test_a_models_own_timeout_is_not_taken_for_ours() -> None:
    class Impatient:
        def score(self, body: bytes, content_type: str | None) -> Scored:
            del body, content_type
            raise TimeoutError("the feature store")

    with pytest.raises(TimeoutError, match="the feature store"):
        asyncio.run(Inference(threads=1, max_waiting=0, timeout_s=5).score(Impatient(), b"", None))


def test_predictions_run_side_by_side() -> None:
    class Slow:
        def score(self, body: bytes, content_type: str | None) -> Scored:
            del content_type
            time.sleep(0.2)
            return Scored(body, JSON)

    async def run() -> float:
        inference = Inference(threads=4, max_waiting=0, timeout_s=None)
        started = time.perf_counter()
        await asyncio.gather(*(inference.score(Slow(), b"", None) for _ in range(4)))
        return time.perf_counter() - started

    assert asyncio.run(run()) < 0.6
