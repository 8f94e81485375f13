"""Where a training computes: in this process, or on a Dask cluster through scikit-learn's own joblib backend.

What fits goes there: the folds and trials of a search, and whatever the estimator itself fits in parallel
(trees of a forest, one-versus-rest). Judging stays here: forests add up their trees' answers in the order in
which threads finish, and the last digit would differ from run to run.
"""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

from registry import UnreachableError, UsageError

__all__ = ["check_engine", "is_spread", "open_engine", "spread", "stay_here"]

CONNECT_S: Final = 15
CHILD_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""One worker per processor; each computes on one thread, as two on one processor wait for each other."""

_IS_SPREAD: ContextVar[bool] = ContextVar("greenroom_engine", default=False)
"""Whether this thread's trainings have a cluster."""


def check_engine(name: str, scheduler: str | None, *, is_online: bool = False) -> None:
    """Refuses what cannot work, before anything is read.

    Raises:
        UsageError: Dask is not installed, a scheduler is named for another engine, or learning is online.
    """
    if name == "dask" and is_online:
        raise UsageError("--online learns from event after event in one process: --engine dask is of no use.")
    if name != "dask" and scheduler is not None:
        raise UsageError("--scheduler goes with --engine dask.")
    if name == "dask" and importlib.util.find_spec("distributed") is None:
        raise UsageError(
            "--engine dask needs Dask, which is not installed.", hint="pip install 'greenroom[dask]'"
        )


@contextmanager
def open_engine(name: str, scheduler: str | None = None) -> Iterator[None]:
    """Lets what is trained inside the block compute there.

    Args:
        name: ``local`` or ``dask``.
        scheduler: Address of a Dask scheduler, e.g. ``tcp://host:8786``; None: an own cluster on this
            machine, one process per processor, for as long as the block lasts.

    Raises:
        UsageError: Dask is not installed.
        UnreachableError: The scheduler gives no answer, has no workers, or keeps losing them.
    """
    check_engine(name, scheduler)
    if name == "local":
        yield
        return
    import distributed  # noqa: PLC0415 - an extra

    dask: Any = distributed  # it types only some of its functions
    logging.getLogger("distributed").setLevel(logging.ERROR)
    lost = (dask.scheduler.KilledWorker, dask.scheduler.NoWorkerError, dask.comm.CommClosedError)
    with ExitStack() as stack:
        _connect(dask, scheduler, stack)
        token = _IS_SPREAD.set(True)
        stack.callback(_IS_SPREAD.reset, token)
        try:
            yield
        except lost as error:
            raise UnreachableError(
                f"The Dask cluster lost what it computed ({type(error).__name__}).",
                hint="Do its workers have enough memory?",
            ) from error


def is_spread() -> bool:
    """Whether there is a cluster to compute on."""
    return _IS_SPREAD.get()


def spread() -> AbstractContextManager[Any]:
    """Inside the block joblib's parallel loops go to the cluster, if there is one."""
    if not is_spread():
        return nullcontext()
    from joblib import parallel_config  # noqa: PLC0415 - heavy

    config: AbstractContextManager[Any] = parallel_config(backend="dask", n_jobs=-1)
    return config


def stay_here() -> AbstractContextManager[Any]:
    """Inside the block joblib's loops run one after the other: a task of the cluster starts no others."""
    from joblib import parallel_config  # noqa: PLC0415 - heavy

    config: AbstractContextManager[Any] = parallel_config(backend="sequential", n_jobs=1)
    return config


def _connect(dask: Any, scheduler: str | None, stack: ExitStack) -> None:
    address: Any = scheduler
    if address is None:
        address = stack.enter_context(
            dask.LocalCluster(
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                host="127.0.0.1",
                env=dict(CHILD_ENVIRONMENT),
            )
        )
    try:
        client = stack.enter_context(dask.Client(address, timeout=CONNECT_S))
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        whom = f"The Dask scheduler {scheduler}" if scheduler else "The own Dask cluster"
        raise UnreachableError(
            f"{whom} gives no answer, or has no workers.", hint="Is its address right?"
        ) from error
