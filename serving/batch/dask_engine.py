"""The Dask engine: parts are tasks of a cluster, which does again what it loses (extra ``dask``)."""

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Self

from registry import ArtifactError, GreenroomError, UnreachableError, UsageError
from serving.children import CHILD_ENVIRONMENT
from serving.wording import locate_error

from .crew import raise_problem
from .order import Part, PartReport

__all__ = ["DaskEngine", "require_dask", "score_task"]

CONNECT_S: Final = 10
PATIENCE_S: Final = 1.0
"""Between two looks at whether the driver itself may go on."""
RETRIES: Final = 2
KEY: Final = "greenroom-score"


def require_dask() -> None:
    """Raises UsageError if Dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise UsageError(
            "--engine dask needs Dask, which is not installed.", hint="pip install 'greenroom[dask]'"
        )


def score_task(order: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker of the cluster does; errors come back as values, since they do not pickle."""
    from .worker import do  # noqa: PLC0415 - heavy

    try:
        return {"done": do({"op": "score", "order": order, "part": part}, lambda _: None)}
    except GreenroomError as error:
        return {"problem": {"code": error.code, "what": error.what, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001 - this task's run border
        what = f"Scoring failed: {locate_error(error)}."
        return {"problem": {"code": GreenroomError.code, "what": what, "hint": ""}}


class DaskEngine:
    """A cluster: its own on this machine, or that of a scheduler. Ends with the block.

    Args:
        workers: Processes of an own cluster.
        scheduler: Address of a scheduler, e.g. ``tcp://host:8786``; None: an own cluster.
        connect_s: How long to wait for it.
    """

    def __init__(self, workers: int, scheduler: str | None, *, connect_s: float = CONNECT_S) -> None:
        self._workers = workers
        self._connect_s = connect_s
        self._scheduler = scheduler
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        import distributed  # noqa: PLC0415 - an extra

        dask: Any = distributed  # it types only some of its functions

        logging.getLogger("distributed").setLevel(logging.ERROR)
        address: Any = self._scheduler
        if address is None:
            address = self._stack.enter_context(
                dask.LocalCluster(
                    n_workers=self._workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    host="127.0.0.1",
                    env=dict(CHILD_ENVIRONMENT),
                )
            )
        try:
            self._client = self._stack.enter_context(dask.Client(address, timeout=self._connect_s))
        except (OSError, TimeoutError, ValueError) as error:
            self._stack.close()
            raise UnreachableError(
                f"The Dask scheduler {self._scheduler} gives no answer.", hint="Is its address right?"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def score(
        self, order: str, parts: Sequence[Part], tell: Callable[[int, int], None], look: Callable[[], None]
    ) -> Iterator[tuple[Part, PartReport]]:
        """As :meth:`serving.batch.crew.Crew.score`."""
        import distributed  # noqa: PLC0415 - an extra

        wait: Any = distributed.wait

        futures = {
            self._client.submit(
                score_task, order, part.dump(), key=f"{KEY}-{id(self)}-{part.number}", retries=RETRIES
            ): part
            for part in parts
        }
        try:
            while futures:
                look()
                try:
                    finished = wait(list(futures), timeout=PATIENCE_S, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    continue
                for future in finished:
                    part = futures.pop(future)
                    report = _take(future, part)
                    tell(part.number, report.read)
                    yield part, report
        finally:
            self._client.cancel(list(futures), force=True)


def _take(future: Any, part: Part) -> PartReport:
    error = future.exception()
    if error is not None:
        raise ArtifactError(
            f"{part.name} could not be scored by the cluster: {type(error).__name__}.",
            hint="Its workers ended again and again (memory?), or run another version of Greenroom.",
        ) from error
    answer = future.result()
    if "problem" in answer:
        raise_problem(answer["problem"])
    return PartReport(**answer["done"])
