"""The one process that knows a whole batch: it plans, hands out parts, and commits when all are there."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from registry import (
    Clock,
    DataError,
    GreenroomError,
    Settings,
    SystemClock,
    Tag,
    format_time,
    open_store,
    say,
    steps,
)

from .crew import Crew
from .job import BEGUN, DONE, Begun, find_begun, read_done, restart
from .lock import OutputLock
from .order import Part, PartReport
from .planning import ScorePlan, plan_score
from .progress import showing_progress
from .record import describe_counts, describe_dry_run, describe_plan, write_note
from .settings import DASK, ScoreSettings
from .storage import OutputStorage, open_output
from .tracking import ScoringRun

__all__ = ["Engine", "Workers", "score"]

PROBED: Final = 20
"""Parts whose first rows may be looked at for the output's types."""
COLLECTORS: Final = 8
"""Parts whose reports are read at the same time."""


class Engine(Protocol):
    """Whoever scores parts."""

    def score(
        self, order: str, parts: Sequence[Part], tell: Callable[[int, int], None], look: Callable[[], None]
    ) -> Iterator[tuple[Part, PartReport]]:
        """See :meth:`serving.batch.crew.Crew.score`."""


class Workers(Engine, Protocol):
    """Those who also do what is to be done once."""

    def ask(self, message: Mapping[str, Any]) -> Any:
        """See :meth:`serving.batch.crew.Crew.ask`."""


def score(
    settings: ScoreSettings, mlflow: Settings, *, clock: Clock | None = None, crew: Workers | None = None
) -> dict[str, Any]:
    """Scores a table with one version; every row is answered or set aside exactly once.

    Args:
        settings: What, with what, where to.
        mlflow: Which MLflow.
        clock: For times in the record.
        crew: Workers that are there already, for this MLflow; None: they start and end with the batch.

    Returns:
        The record, as it lies beside the output (``greenroom/scoring/1``).

    Raises:
        DataError: The input or output cannot be used, or a row is bad and may not be.
        RefusedError: The output is another job's; or the version's files are not to be trusted.
        ConflictError: Another job writes to this output.
        UsageError: An option makes no sense for this model or input.
        UnreachableError: MLflow or S3 gives no answer.
    """
    began_s = time.monotonic()
    if settings.engine == DASK:
        from .dask_engine import require_dask  # noqa: PLC0415 - an extra

        require_dask()
    storage = open_output(settings.output)
    with ExitStack() as stack:
        workers = 1 if settings.engine == DASK else settings.workers
        crew = crew or stack.enter_context(Crew(workers))
        store = open_store(mlflow)
        with steps() as show:
            plan = plan_score(settings, mlflow, store, crew.ask, show)
        if settings.dry_run:
            return describe_dry_run(settings, plan, storage)
        experiment = f"{mlflow.ledger_experiment.replace('{model}', settings.model)}/scoring"
        run = ScoringRun(store, experiment, say)
        job = _Job(settings, plan, storage, run, clock=clock or SystemClock(), began_s=began_s)
        with OutputLock(storage, tell=lambda what: say(f"{what} …")) as lock:
            return job.run(crew, lock)


class _Job:
    """A batch under its lock."""

    def __init__(
        self,
        settings: ScoreSettings,
        plan: ScorePlan,
        storage: OutputStorage,
        run: ScoringRun,
        *,
        clock: Clock,
        began_s: float,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._storage = storage
        self._clock = clock
        self._began_s = self._scoring_s = began_s
        self._scored = 0
        self._run = run

    def run(self, crew: Workers, lock: OutputLock) -> dict[str, Any]:
        """Begins or goes on, and commits."""
        self._storage.sweep()
        if self._settings.restart:
            restart(self._storage)
        begun = find_begun(self._storage, self._plan.about)
        if begun is not None and (done := self._find_done()) is not None:
            say(f"{self._storage.text} is complete already; nothing was done.")
            return done
        begun = begun or self._begin(crew)
        self._run.run_id = begun.run_id
        order = replace(self._plan.order, schema=begun.schema, job=begun.digest)
        self._plan = replace(self._plan, order=order)
        found = self._collect()
        if found:
            say(f"Going on: {len(found)} of {len(self._plan.parts)} parts are there.")
        try:
            self._score(crew, lock, found)
            return self._commit(begun, len(found), lock)
        except BaseException as error:
            self._run.stop("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            with suppress(GreenroomError):
                there = f"{len(self._collect())} of {len(self._plan.parts)} parts are in {self._storage.text}"
                say(f"Stopped: {there}. The same command goes on from there.")
            raise

    def _find_done(self) -> dict[str, Any] | None:
        """The record, if all that it speaks of is there; else it is taken back."""
        done = read_done(self._storage)
        if done is None or {part.name for part in self._plan.parts} <= set(self._storage.list("part-")):
            return done
        self._storage.delete(DONE)
        return None

    def _begin(self, crew: Workers) -> Begun:
        order, parts = self._plan.order, [part.dump() for part in self._plan.parts[:PROBED]]
        with steps() as show:
            show("Scoring the first rows")
            schema = crew.ask({"op": "probe", "order": order.dump(), "parts": parts})
        self._run.begin(
            f"score version {order.target.version}",
            {
                "greenroom.model": order.model,
                "greenroom.version": order.target.version,
                Tag.MANIFEST: order.target.manifest,
            },
            {
                "input": self._settings.input,
                "output": self._settings.output,
                "input_sha256": self._plan.about["input"],
                "engine": self._settings.engine,
                "engine_path": order.path,
                "params": json.dumps(dict(order.params)),
                "bad_rows": self._plan.about["bad_rows"],
                "batch_rows": order.batch_rows,
            },
        )
        begun = Begun(self._plan.about, schema, self._run.run_id, format_time(self._clock.now()))
        self._storage.write(BEGUN, begun.dump())
        return begun

    def _score(self, crew: Workers, lock: OutputLock, found: Mapping[int, PartReport]) -> None:
        """Has the missing parts scored."""
        missing = [part for part in self._plan.parts if part.number not in found]
        order, done = self._plan.order.dump(), sum(report.read for report in found.values())
        self._scoring_s = time.monotonic()
        if not missing:
            return
        with ExitStack() as stack:
            engine: Engine = crew
            if self._settings.engine == DASK:
                from .dask_engine import DaskEngine  # noqa: PLC0415 - an extra

                engine = stack.enter_context(DaskEngine(self._settings.workers, self._settings.scheduler))
            progress = stack.enter_context(showing_progress(self._plan.rows, done))
            for part, report in engine.score(order, missing, progress.tell, lock.check):
                progress.tell(part.number, report.read)
                self._scored += report.read

    def _commit(self, begun: Begun, resumed: int, lock: OutputLock) -> dict[str, Any]:
        """Reads every part's own report, and writes the record last."""
        reports = self._collect()
        lost = [part.name for part in self._plan.parts if part.number not in reports]
        if lost:
            raise DataError(
                f"{len(lost)} parts are not in {self._storage.text} although they were scored: {lost[0]}.",
                hint="Somebody else writes there? The same command scores them again.",
            )
        self._storage.sweep()
        lock.check()
        total = sum(reports.values(), PartReport())
        now_s = time.monotonic()
        document = {
            **describe_plan(self._settings, self._plan),
            **describe_counts(total),
            "parts": len(reports),
            "resumed_parts": resumed,
            "started": begun.time,
            "finished": format_time(self._clock.now()),
            "seconds": round(now_s - self._began_s, 3),
            "rows_per_s": round(self._scored / (now_s - self._scoring_s), 1),
            "run_id": begun.run_id or None,
            "complete": True,
            "dry_run": False,
        }
        self._storage.write(DONE, json.dumps(document, indent=2).encode())
        metrics = {
            name: float(document[name])
            for name in ("rows_read", "rows_written", "rows_quarantined", "seconds", "rows_per_s")
        }
        self._run.finish(metrics, write_note(document))
        return document

    def _collect(self) -> dict[int, PartReport]:
        """Part → what became of it, for all that are there."""
        from .parts import read_report  # noqa: PLC0415 - pyarrow

        read = partial(read_report, self._storage, job=self._plan.order.job)
        names = set(self._storage.list("part-"))
        there = [part for part in self._plan.parts if part.name in names]
        with ThreadPoolExecutor(COLLECTORS) as pool:
            reports = list(pool.map(read, there))
        pairs = zip(there, reports, strict=True)
        return {part.number: report for part, report in pairs if report is not None}
