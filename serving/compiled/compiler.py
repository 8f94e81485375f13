"""Makes a plan of a model's artifact, and compares it with MLflow's own code before anyone sees it.

Runs in a short-lived process of its own (``python -m serving.compiled.compiler ARTIFACT OUT``), for it loads
the model, and with it MLflow, pandas and scikit-learn.
"""

import argparse
import contextlib
import logging
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from .errors import NotCompilableError, PlanError

if TYPE_CHECKING:
    from .artifacts import Opened
    from .files import PlanFiles

__all__ = ["CompileReport", "NotCompilableError", "compile_artifact", "main"]

ROWS: Final = 400
"""Rows made to compare on, beside the model's own."""
GUARDED_ROWS: Final = 200
"""Of them, those that are compared once more with the guard refusing."""
MAX_BASES: Final = 100
"""Of them, those that are made to break the contract."""
_log = logging.getLogger("greenroom.serving")


@dataclass(frozen=True, slots=True)
class CompileReport:
    """A finished plan.

    Attributes:
        estimator: The estimator's class.
        rows: On how many rows its answers were compared.
        outputs: Every output that was compared.
        size_bytes: Of its files.
        duration_s: What it took, loading the model included.
    """

    estimator: str
    rows: int
    outputs: tuple[str, ...]
    size_bytes: int
    duration_s: float


def compile_artifact(artifact: Path, out: Path) -> CompileReport:
    """Writes a plan of a model.

    Args:
        artifact: Folder of a downloaded model version whose manifest and trust are settled.
        out: Where the plan goes: does not exist yet, or is empty. Complete, or not there.

    Raises:
        NotCompilableError: Something in the model is not known, or an answer differs from MLflow's.
    """
    started = time.monotonic()
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # of the model's own code, on rows made to be strange
        try:
            report = _compile(artifact, out)
        except PlanError as error:
            raise NotCompilableError(error.what) from error
        except (NotCompilableError, OSError):
            raise  # a reason that is known; a disk that is full
        except Exception as error:
            # the run's border: whatever a model of an unforeseen make raises, MLflow's own code serves it
            _log.warning("Compiling failed: %s: %s", type(error).__name__, error)
            raise NotCompilableError(f"It could not be taken apart ({type(error).__name__}).") from error
    return replace(report, duration_s=round(time.monotonic() - started, 3))


def _compile(artifact: Path, out: Path) -> CompileReport:
    from .artifacts import open_artifact  # noqa: PLC0415 - heavy
    from .assembly import assemble  # noqa: PLC0415 - heavy
    from .files import read_plan, write_plan  # noqa: PLC0415 - heavy
    from .plan import Plan  # noqa: PLC0415 - heavy
    from .specimens import make_rows, read_rows  # noqa: PLC0415 - heavy

    opened = open_artifact(artifact)
    assembly = assemble(opened)
    own = read_rows(artifact, opened)
    files = assembly.make_files()
    rows = [*own, *make_rows(assembly, opened, files.document, own, ROWS)]
    compared, example = _compare(files, opened, rows)
    files = replace(files, document={**files.document, "example": example})
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        write_plan(scratch, files)
        plan = Plan(read_plan(scratch))
        plan.warm()
        size = sum(path.stat().st_size for path in scratch.iterdir())
        scratch.replace(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return CompileReport(type(assembly.estimator).__name__, compared, tuple(plan.outputs), size, 0.0)


def _compare(files: "PlanFiles", opened: "Opened", rows: Sequence[list[Any]]) -> tuple[int, Any]:
    """Compares the answers to all rows, also those that contract and guard refuse, then what these say.

    Returns:
        On how many rows, and a request that is answered.
    """
    from .artifacts import make_strict  # noqa: PLC0415 - heavy
    from .breaking import make_breaking_rows  # noqa: PLC0415 - heavy
    from .parity import check_parity, check_refusals, find_example  # noqa: PLC0415 - heavy
    from .plan import Plan  # noqa: PLC0415 - heavy

    make_strict(opened, contract=False, guard=False)
    compared = check_parity(Plan(files, refuses_rows=False, refuses_strangers=False), opened, rows)
    strict = Plan(files)
    if opened.guard is not None:
        make_strict(opened, contract=False, guard=True)
        some = rows[:: max(1, len(rows) // GUARDED_ROWS)]  # what it finds has been compared on all of them
        check_parity(Plan(files, refuses_rows=False), opened, some, forms=False)
    if opened.contract is not None and opened.contract.refuses:
        make_strict(opened, contract=True, guard=True)
        check_refusals(strict, opened, make_breaking_rows(opened, rows[:MAX_BASES]))
    return compared, find_example(strict, opened, rows)


@contextlib.contextmanager
def _quiet() -> Any:
    """MLflow logs a warning for every row that has a column too many."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, and prints one JSON line: ``compiled``, ``reason``, and the report. Exit 0 either way."""
    parser = argparse.ArgumentParser(prog="python -m serving.compiled.compiler", description=__doc__)
    parser.add_argument("artifact", type=Path, help="folder of a downloaded model version, vouched for")
    parser.add_argument("out", type=Path, help="where the plan goes")
    given = parser.parse_args(arguments)
    answer: dict[str, Any] = {"compiled": True, "reason": ""}
    with contextlib.redirect_stdout(sys.stderr):  # a model may print
        try:
            answer |= asdict(compile_artifact(given.artifact, given.out))
        except NotCompilableError as error:
            answer = {"compiled": False, "reason": error.reason}
    sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
