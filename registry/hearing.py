"""Lets the candidate, and those it is compared with, answer the same rows. No metric is looked at here."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError, DataError, NotFoundError, TamperedError
from .gates.material import BEST, CANDIDATE, HOLDER, Material, Timing
from .gates.verdict import GateResult
from .judging import Case, fetch_rival
from .ledger.state import Holding
from .question import Question
from .timing import measure_timings
from .verification import Answers, run_model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Hearing", "hear", "make_material"]


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the models answered.

    Attributes:
        gate: Whether the candidate opened and answered its own input example.
        answers: Who → n rows of answers; empty if no rows were asked.
        timings: Who → what predicting cost, if the policy asks.
        problem: Why somebody has no answers to the rows, if so.
    """

    gate: GateResult
    answers: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
    timings: Mapping[str, Timing] = field(default_factory=dict)
    problem: str = ""


def hear(case: Case, question: Question | None) -> Hearing:
    """Opens the models in processes of their own, without credentials; all at the same time.

    Args:
        case: The candidate, and whom it is compared with.
        question: The rows; None: the candidate answers its input example only.
    """
    case.progress(f"version {case.version.version} opens and answers in a process of its own")
    said = _ask_all(case, question)
    candidate = said.pop(CANDIDATE)
    if isinstance(candidate, ArtifactError):
        return Hearing(GateResult("answers", "no", str(candidate)))
    gate = _praise(candidate)
    if question is None:
        return Hearing(gate)
    try:
        answers = {who: _read(who, found) for who, found in {CANDIDATE: candidate, **said}.items()}
        return Hearing(gate, answers, _measure(case, question))
    except ArtifactError as error:
        return Hearing(gate, problem=str(error))


def _ask_all(case: Case, question: Question | None) -> dict[str, Answers | ArtifactError]:
    """Ctrl-C ends the models too, wherever they are."""
    asks: dict[str, Callable[[], Answers]] = {CANDIDATE: lambda: _ask(case, case.folder, question)}
    if question is not None:
        for who, holding in _list_rivals(case).items():
            asks[who] = lambda who=who, holding=holding: _ask_rival(case, who, holding, question)  # type: ignore[misc] # bound now
    with ThreadPoolExecutor(len(asks)) as pool:
        try:
            futures = {who: pool.submit(_keep_error, ask) for who, ask in asks.items()}
            wait(futures.values())
        except BaseException:
            case.stop.set()
            raise
    return {who: future.result() for who, future in futures.items()}


def _keep_error(ask: Callable[[], Answers]) -> Answers | ArtifactError:
    try:
        return ask()
    except ArtifactError as error:
        return error


def _list_rivals(case: Case) -> dict[str, Holding]:
    found = {HOLDER: case.holder, BEST: case.best}
    return {who: holding for who, holding in found.items() if holding is not None}


def _ask_rival(case: Case, who: str, holding: Holding, question: Question) -> Answers:
    try:
        return _ask(case, fetch_rival(case, who, holding), question)
    except (ArtifactError, NotFoundError, TamperedError) as error:
        word = "holder" if who == HOLDER else "best version so far"
        raise ArtifactError(
            f"The {word}, version {holding.version}, cannot be asked: {error}",
            hint="Go back with greenroom rollback, or promote with --override REASON.",
        ) from error


def _ask(case: Case, folder: Path, question: Question | None) -> Answers:
    rows: dict[str, Any] = {}
    if question is not None:
        rows = {
            "rows": question.rows,
            "features": question.features,
            "task": question.task,
            "classes": question.classes,
        }
    return run_model(folder, scratch=case.scratch, timeout_s=case.policy.timeout_s, stop=case.stop, **rows)


def _praise(answers: Answers) -> GateResult:
    example = "and answered its input example" if answers.has_example else "(it carries no input example)"
    return GateResult("answers", "yes", f"It loaded in {answers.load_s:.1f} s {example}.")


def _read(who: str, found: Answers | ArtifactError) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - heavy

    if isinstance(found, ArtifactError):
        raise found
    if found.rows is None:
        raise ArtifactError(f"The {who} could not answer the rows: {found.rows_error}")
    return pd.read_parquet(found.rows)


def _measure(case: Case, question: Question) -> Mapping[str, Timing]:
    if not case.policy.latency.is_asked:
        return {}
    case.progress("taking the time of predicting, in turns")
    models = {CANDIDATE: case.folder}
    if case.holder is not None:
        models[HOLDER] = fetch_rival(case, HOLDER, case.holder)
    return measure_timings(
        models,
        question,
        case.policy.latency,
        scratch=case.scratch,
        timeout_s=case.policy.timeout_s,
        stop=case.stop,
    )


def make_material(case: Case, question: Question, hearing: Hearing) -> Material:
    """Puts the truth beside the answers: from here on, metrics can be looked at.

    Raises:
        DataError: A column that the policy names for slices is not among the rows.
    """
    import pandas as pd  # noqa: PLC0415 - heavy
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    extra = [name for name in case.policy.slices.columns if name not in (question.target, question.group)]
    columns = [question.target, *([question.group] if question.group else []), *extra]
    present = set(pq.read_schema(question.rows).names)
    for name in extra:
        if name not in present:
            raise DataError(f"The policy asks for slices by {name!r}; {question.origin} have no such column.")
    numbers = {CANDIDATE: case.version.version}
    numbers |= {who: holding.version for who, holding in _list_rivals(case).items()}
    return Material(
        rows=pd.read_parquet(question.rows, columns=columns),
        target=question.target,
        task=question.task,
        classes=question.classes,
        group=question.group,
        versions=numbers,
        answers=hearing.answers,
        timings=hearing.timings,
    )
