"""What a batch is, before anything is written: version, parts, columns, and what they depend on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from registry import RegistryStore, Settings, cut_source, list_source, parse_source
from serving.target import Target

from .fetching import find_target
from .inputs import choose_columns, read_inputs, read_params
from .job import describe_job, digest_input
from .order import COMPILED, Part, ScoreOrder
from .settings import ScoreSettings

__all__ = ["ScorePlan", "plan_score"]


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """A batch.

    Attributes:
        order: How parts are scored; its schema and job are not known yet.
        parts: The input.
        about: What the parts depend on.
    """

    order: ScoreOrder
    parts: Sequence[Part]
    about: Mapping[str, Any]

    @property
    def rows(self) -> int | None:
        """Of the input; None where only reading tells."""
        counts = [part.piece.rows for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)


def plan_score(
    settings: ScoreSettings,
    mlflow: Settings,
    store: RegistryStore,
    ask: Callable[[Mapping[str, Any]], Any],
    show: Callable[[str], None],
) -> ScorePlan:
    """Finds out what is to be done; the version is downloaded to the cache for it, nothing else is written.

    Args:
        settings: What was asked for.
        mlflow: Which MLflow.
        store: The same, open.
        ask: Has a message done by a worker.
        show: Told the step it is at.

    Raises:
        NotFoundError: No such model or version, or nothing has the stage.
        DataError: The input is missing, cannot be read, or lacks columns.
        UsageError: A parameter or column is not the model's or the input's.
        RefusedError: The version's files are not to be trusted, or have no plan where one is wanted.
    """
    show("Finding the version")
    target, vouched = find_target(store, mlflow, settings.model, settings.stage, settings.version)
    show("Looking at the input")
    pieces = cut_source(list_source(parse_source(settings.input)))
    parts = [Part(number, piece) for number, piece in enumerate(pieces)]
    show(f"Fetching version {target.version}")
    fetched = _fetch(settings, target, vouched, ask)
    inputs = read_inputs(Path(fetched["folder"]))
    order = ScoreOrder(
        model=settings.model,
        target=replace(target, manifest=fetched["manifest"]),
        trust_author=settings.trust_author,
        vouched=tuple(vouched),
        path=settings.path,
        columns=choose_columns(inputs, pieces, settings.keep),
        params=read_params(inputs, settings.params),
        keep=settings.keep,
        batch_rows=settings.batch_rows,
        refuse_bad=settings.refuse_bad,
        refuse_contract=mlflow.refuses_rows,
        answer=inputs.answer,
        output=_make_absolute(settings.output),
    )
    return ScorePlan(order, parts, describe_job(order, digest_input(parts)))


def _fetch(
    settings: ScoreSettings, target: Target, vouched: Sequence[str], ask: Callable[[Mapping[str, Any]], Any]
) -> Mapping[str, Any]:
    """Has the version downloaded, hashed and checked, in a process of its own."""
    message = {
        "op": "fetch",
        "model": settings.model,
        "target": asdict(target),
        "trust_author": settings.trust_author,
        "vouched": list(vouched),
        "compiled": settings.path == COMPILED,
    }
    fetched: Mapping[str, Any] = ask(message)
    return fetched


def _make_absolute(output: str) -> str:
    """Workers may be elsewhere."""
    return output if "://" in output else str(Path(output).expanduser().absolute())
