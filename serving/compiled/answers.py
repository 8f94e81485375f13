"""From raw scores to what MLflow's server writes: labels, numbers, probabilities, records."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .calibration import Weigh, make_bend, make_choice, make_weigh
from .estimators import sigmoid, softmax

__all__ = ["Answer", "make_answer"]

_ANSWER: Final = "answer"
Numbers = NDArray[np.float64]
Answer = Callable[[Numbers], list[Any]]
"""Raw scores of shape (rows, outputs) to one JSON value per row."""


def make_answer(
    head: Mapping[str, Any], output: Mapping[str, Any], layer: Mapping[str, Any] | None = None
) -> Answer:
    """Builds the function for one kind of output.

    Args:
        head: Of the plan's document: ``task``, ``labels``, ``decide``, ``probability``, ``link``.
        output: Of the plan's document: ``kind`` (``label``, ``vector``, ``record``), ``answer`` (its name in
            the record, or empty) and ``names`` of the probabilities in the record.
        layer: Of the plan's document, ``answer``: ``labels``, ``calibration``, ``threshold``.
    """
    layer = layer or {}
    head = {**head, "labels": layer.get("labels", head.get("labels"))}
    weigh, choose = None, None
    if head["probability"]:
        weigh = make_weigh(_PROBABILITIES[head["probability"]], layer, len(head["labels"]))
        if layer.keys() & {"calibration", "threshold"}:
            choose = make_choice(layer)
    if output["kind"] == "vector" and weigh is not None:
        return lambda scores: weigh(scores).tolist()
    record = _make_record(head, output, weigh, choose)
    is_single = head["probability"] in _SINGLES
    if output["kind"] == "label":
        if choose is None:
            return _make_label(head)
        return _make_single_label(head, layer, _flatten(record)) if is_single else _flatten(record)
    return _make_single(head, output, layer, record) if is_single and output["names"] else record


def _make_single(
    head: Mapping[str, Any], output: Mapping[str, Any], layer: Mapping[str, Any], many: Answer
) -> Answer:
    """One row with one score needs no arrays."""
    first, second = output["names"]
    name, (no, yes) = output["answer"], head["labels"]
    judge = _make_judge(head, layer)

    def record(scores: Numbers) -> list[Any]:
        if scores.size != 1:
            return many(scores)
        share, is_yes = judge(scores.item())
        answer = {name: yes if is_yes else no} if name else {}
        return [{**answer, first: 1.0 - share, second: share}]

    return record


def _make_single_label(head: Mapping[str, Any], layer: Mapping[str, Any], many: Answer) -> Answer:
    no, yes = head["labels"]
    judge = _make_judge(head, layer)
    return lambda scores: [yes if judge(scores.item())[1] else no] if scores.size == 1 else many(scores)


def _make_judge(head: Mapping[str, Any], layer: Mapping[str, Any]) -> Callable[[float], tuple[float, bool]]:
    """The probability of the second class of two, by the score, and whether that is the answer."""
    decide, weigh, bend = _SINGLE_DECISIONS[head["decide"]], _SINGLES[head["probability"]], make_bend(layer)
    threshold = layer.get("threshold")
    if threshold is not None:

        def judge(score: float) -> tuple[float, bool]:
            share = bend(weigh(score))
            return share, share >= threshold

        return judge
    if "calibration" not in layer:
        return lambda score: (weigh(score), decide(score))

    def judge_calibrated(score: float) -> tuple[float, bool]:
        share = bend(weigh(score))
        return share, share > 1.0 - share

    return judge_calibrated


def _make_record(
    head: Mapping[str, Any],
    output: Mapping[str, Any],
    weigh: Weigh | None,
    choose: Callable[[Numbers], Sequence[int]] | None,
) -> Answer:
    """Records of an answer, of probabilities, or of both. ``choose``: answers come from these."""
    names: Sequence[str] = output.get("names", ())
    answer: str = output.get("answer", _ANSWER)
    keys = ([answer] if answer else []) + list(names)
    label = _make_label(head)

    def choose_labels(shares: Numbers) -> list[Any]:
        assert choose is not None
        return [head["labels"][place] for place in choose(shares)]

    def record(scores: Numbers) -> list[Any]:
        shares = weigh(scores) if weigh is not None and (names or choose) else None
        columns: list[Sequence[Any]] = []
        if answer:
            columns.append(label(scores) if choose is None or shares is None else choose_labels(shares))
        if shares is not None and names:
            columns.extend(shares.T.tolist())
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

    return record


def _flatten(record: Answer) -> Answer:
    return lambda scores: [row[_ANSWER] for row in record(scores)]


def _make_label(head: Mapping[str, Any]) -> Answer:
    if head["task"] == "regression":
        link = _LINKS[head["link"]]
        if head["flat"]:
            return lambda scores: link(scores).ravel().tolist()
        return lambda scores: link(scores).tolist()
    labels: list[Any] = head["labels"]
    decide = _DECISIONS[head["decide"]]
    return lambda scores: [labels[place] for place in decide(scores).tolist()]


def _both(second: Numbers) -> Numbers:
    return np.concatenate((1.0 - second, second), axis=1)


def _one_against_rest(scores: Numbers) -> Numbers:
    """Normalised sigmoids; equal shares where all are zero (as LIBLINEAR does)."""
    return _normalise(sigmoid(scores))


def _normalise(shares: Numbers) -> Numbers:
    total = shares.sum(axis=1, keepdims=True)
    shares = np.where(total == 0, 1.0, shares)
    return shares / np.where(total == 0, float(shares.shape[1]), total)


def _huber(scores: Numbers) -> Numbers:
    return (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0


_PROBABILITIES: Final[Mapping[str, Callable[[Numbers], Numbers]]] = {
    "given": lambda scores: scores,
    "second": _both,
    "sigmoid": lambda scores: _both(sigmoid(scores)),
    "sigmoid_double": lambda scores: _both(sigmoid(2.0 * scores)),
    "softmax": softmax,
    "one_against_rest": _one_against_rest,
    "huber": lambda scores: _both(_huber(scores)),
    "huber_rest": lambda scores: _normalise(_huber(scores)),
}
"""``huber``: Zadrozny and Elkan, KDD 2002, as in scikit-learn's ``SGDClassifier.predict_proba``."""

_DECISIONS: Final[Mapping[str, Callable[[Numbers], NDArray[Any]]]] = {
    "above_zero": lambda scores: (scores[:, 0] > 0).astype(np.intp),
    "from_zero": lambda scores: (scores[:, 0] >= 0).astype(np.intp),
    "above_half": lambda scores: (scores[:, 0] > 0.5).astype(np.intp),  # noqa: PLR2004 - scikit-learn's
    "largest": lambda scores: scores.argmax(axis=1),
}


def _exponential(scores: Numbers) -> Numbers:
    """Infinite where it is too large, as in scikit-learn; JSON says null."""
    with np.errstate(over="ignore"):
        raised: Numbers = np.exp(scores)
    return raised


_LINKS: Final[Mapping[str, Callable[[Numbers], Numbers]]] = {
    "identity": lambda scores: scores,
    "exp": _exponential,
}


def _sigmoid_of_one(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    small = math.exp(score)
    return small / (1.0 + small)


_SINGLES: Final[Mapping[str, Callable[[float], float]]] = {
    "second": lambda score: score,
    "sigmoid": _sigmoid_of_one,
    "sigmoid_double": lambda score: _sigmoid_of_one(2.0 * score),
}
_SINGLE_DECISIONS: Final[Mapping[str, Callable[[float], bool]]] = {
    "above_zero": lambda score: score > 0,
    "from_zero": lambda score: score >= 0,
    "above_half": lambda score: score > 0.5,  # noqa: PLR2004 - scikit-learn's
}
