"""Reads answers and truths out of the log: the kind of task, which class is which, what can be compared.

The log keeps answers as they were given: a plain ``prediction``, or ``answer`` and a ``probability_…`` of
each class, whose names may be the labels that a job gave its classes. Truths come as people tell them. Both
become what the registry's losses read: ``prediction`` and ``probability.<class>``, classes by one spelling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry import TaskKind

__all__ = ["Task", "find_task", "list_scores", "mark_scored", "read_answers", "read_truth"]

PREDICTION: Final = "prediction"
PROBABILITY: Final = "probability."
"""How the registry's losses call an answer's columns."""

ANSWER: Final = "answer"
LOGGED: Final = "probability_"
"""How the log does."""

MAX_CLASSES: Final = 50
"""Distinct truths up to which they count as classes, where nobody says what they are."""

TWO: Final = 2


@dataclass(frozen=True, slots=True)
class Task:
    """What the answers are about.

    Attributes:
        kind: ``binary``, ``multiclass`` or ``regression``.
        classes: In order, as text; empty for regression.
        labels: Label → class, where the model calls its classes otherwise.
    """

    kind: TaskKind
    classes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def spell(self, value: object) -> str:
        """The class that a value means: 1, 1.0 and True are one, and a label is its class.

        >>> Task("binary", ("0", "1"), {"late": "1"}).spell("late"), Task("binary", ("0", "1")).spell(True)
        ('1', '1')
        """
        text = str(value)
        text = self.labels.get(text, text)
        if text in self.classes:
            return text
        plain = _plain(text)
        return next((name for name in self.classes if _plain(name) == plain), text)


def find_task(
    outputs: pd.DataFrame,
    truth: "pd.Series[Any]",
    *,
    known: tuple[TaskKind, Sequence[Any]] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Task:
    """What kind of task a log is about.

    Args:
        outputs: Of the log.
        truth: What turned out to be true; may be missing everywhere.
        known: Kind and classes, where the training run says it.
        labels: Class → label, where the job gave some.
    """
    if known is not None:
        kind, classes = known
        names = tuple(map(str, classes))
        return Task(kind, names, {label: name for name, label in (labels or {}).items()})
    named = [str(name).removeprefix(LOGGED) for name in outputs if str(name).startswith(LOGGED)]
    if not named:
        values = pd.concat([truth.dropna(), _find_answers(outputs).dropna()])
        distinct = values.unique()
        whole = all(not isinstance(value, float) or value.is_integer() for value in distinct)
        if len(distinct) > MAX_CLASSES or not whole or not len(distinct):
            return Task("regression")
        named = sorted({_plain(str(value)) for value in distinct})
    return Task("binary" if len(named) == TWO else "multiclass", tuple(named))


def read_answers(outputs: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The answers as the losses read them; same rows, missing where the model said nothing."""
    found: dict[str, Any] = {}
    said = _find_answers(outputs)
    if len(said.dropna()):
        found[PREDICTION] = (
            pd.to_numeric(said, errors="coerce") if task.kind == "regression" else _spell_all(said, task)
        )
    for name in task.classes:
        column = _find_probability(outputs, name, task)
        if column is not None:
            found[PROBABILITY + name] = pd.to_numeric(outputs[column], errors="coerce")
    return pd.DataFrame(found, index=outputs.index)


def read_truth(truth: "pd.Series[Any]", task: Task) -> "pd.Series[Any]":
    """The truth as the losses read it; missing where it is not told, or none of the classes."""
    if task.kind == "regression":
        return pd.Series(pd.to_numeric(truth, errors="coerce"))
    spelled = _spell_all(truth, task)
    return spelled.where(spelled.isin(list(task.classes)))


def mark_scored(answers: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether the model answered a row at all: *nothing found* is no answer to be judged; shape (n,)."""
    return np.asarray(answers.notna().any(axis=1).to_numpy(), dtype=bool)


def list_scores(answers: pd.DataFrame, task: Task) -> pd.DataFrame:
    """What of the answers can be compared between two samples, without saying one thing twice.

    Regression: the prediction. Two classes: the second one's probability. More: the answer, and how sure
    the model was. Without probabilities: the answer.
    """
    names = [PROBABILITY + name for name in task.classes if PROBABILITY + name in answers]
    if len(names) == len(task.classes) == TWO:
        return answers[names[1:]].rename(columns={names[1]: f"probability of {task.classes[1]}"})
    scores = answers[[PREDICTION]] if PREDICTION in answers else pd.DataFrame(index=answers.index)
    if names and len(names) == len(task.classes):
        scores = scores.assign(**{"largest probability": answers[names].max(axis=1)})
    return scores


def _find_answers(outputs: pd.DataFrame) -> "pd.Series[Any]":
    for name in (ANSWER, PREDICTION):
        if name in outputs:
            return outputs[name]
    if len(outputs.columns) == 1 and not str(outputs.columns[0]).startswith(LOGGED):
        return outputs.iloc[:, 0]
    return pd.Series(np.nan, index=outputs.index)


def _find_probability(outputs: pd.DataFrame, name: str, task: Task) -> str | None:
    """A class's column: by its label or name, with the prefix or, where only these were asked, without."""
    called = [label for label, meant in task.labels.items() if meant == name] + [name]
    columns = list(map(str, outputs.columns))
    wanted = [prefix + text for prefix in (LOGGED, "") for text in called]
    return next((text for text in wanted if text in columns), None)


def _spell_all(values: "pd.Series[Any]", task: Task) -> "pd.Series[Any]":
    codes, found = pd.factorize(values.astype(object), use_na_sentinel=True)
    texts = np.array([task.spell(value) for value in found] + [None], dtype=object)
    return pd.Series(texts[codes], index=values.index, name=values.name, dtype=object)


def _plain(text: str) -> str:
    """One spelling: 1, 1.0 and True are one."""
    return {"True": "1", "False": "0"}.get(text, text.removesuffix(".0"))
