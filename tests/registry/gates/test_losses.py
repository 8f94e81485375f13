import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
)

from registry import DataError
from registry.gates.losses import choose_metric, compute_loss
from registry.prediction import normalise


def test_the_log_loss_is_scikit_learns() -> None:
    truth = pd.Series([0, 1, 1, 0], name="late")
    answers = pd.DataFrame({"probability.0": [0.7, 0.4, 0.2, 0.9], "probability.1": [0.3, 0.6, 0.8, 0.1]})
    found = compute_loss("log_loss", truth, answers, task="binary", classes=(0, 1))
    assert found.mean() == pytest.approx(log_loss(truth, answers))


def test_labels_and_probabilities_have_an_error_rate() -> None:
    truth = pd.Series(["cat", "dog", "dog"], name="animal")
    labels = pd.DataFrame({"prediction": ["cat", "dog", "cat"]})
    scores = pd.DataFrame({"probability.cat": [0.1, 0.2, 0.3], "probability.dog": [0.9, 0.8, 0.7]})
    found = [
        compute_loss("error", truth, one, task="binary", classes=("cat", "dog")) for one in (labels, scores)
    ]
    assert [one.tolist() for one in found] == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("labels", [[1, 0, 0], [1.0, 0.0, 0.0], [True, False, False]])
def test_one_and_one_point_zero_and_true_are_one_class(labels: list[object]) -> None:
    truth, answers = pd.Series([1.0, 0.0, 1.0], name="late"), pd.DataFrame({"prediction": labels})
    assert compute_loss("error", truth, answers, task="binary", classes=(0, 1)).tolist() == [0, 0, 1]


def test_a_truth_that_is_no_class_is_named_by_row_and_column() -> None:
    answers = pd.DataFrame({"prediction": [0, 1]})
    with pytest.raises(DataError, match=r"Row 1, column 'late': 7 is none of the classes 0, 1"):
        compute_loss("error", pd.Series([0, 7], name="late"), answers, task="binary", classes=(0, 1))


def test_a_missing_prediction_is_named_by_row() -> None:
    answers = pd.DataFrame({"prediction": [0.5, np.nan]})
    with pytest.raises(DataError, match="Row 1"):
        compute_loss("squared_error", pd.Series([0.0, 1.0]), answers, task="regression", classes=())


@pytest.mark.parametrize(
    ("raw", "task", "columns"),
    [
        (np.array([[0.2, 0.8], [0.6, 0.4]]), "binary", ["probability.0", "probability.1"]),
        (pd.DataFrame({"1": [0.8], "0": [0.2]}), "binary", ["probability.0", "probability.1"]),
        (np.array([0.25, 0.75]), "binary", ["probability.0", "probability.1"]),
        (np.array([0.0, 1.0]), "binary", ["prediction"]),
        (np.array([0, 1]), "binary", ["prediction"]),
        (np.array([0.25, 0.75]), "regression", ["prediction"]),
        ([["a"], ["b"]], "binary", ["prediction"]),
    ],
)
def test_answers_of_any_pyfunc_are_brought_into_one_form(raw: object, task: str, columns: list[str]) -> None:
    assert list(normalise(raw, task, [0, 1]).columns) == columns


def test_named_probabilities_are_put_into_the_order_of_the_classes() -> None:
    assert normalise(pd.DataFrame({"1": [0.8], "0": [0.2]}), "binary", [0, 1])["probability.1"].tolist() == [
        0.8
    ]


def test_an_answer_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="3 columns were answered"):
        normalise(np.zeros((2, 3)), "binary", [0, 1])


def test_what_our_layers_say_in_full_keeps_answers_probabilities_and_refusals() -> None:
    """A threshold decided the answers, and they are called otherwise than the truth is."""
    full = pd.DataFrame(
        {
            "answer": ["late", "on time"],
            "probability_on time": [0.7, 0.9],
            "probability_late": [0.3, 0.1],
            "nothing_found": [False, True],
            "typicality": [0.4, 0.01],
        }
    )
    found = normalise(full, "binary", [0, 1], {"on time": 0, "late": 1})
    assert found["probability.1"].tolist() == [0.3, 0.1]
    assert found["prediction"].tolist() == [1, 0]
    assert found["nothing_found"].tolist() == [False, True]
    truth = pd.Series([1, 1], name="late")
    assert compute_loss("error", truth, found, task="binary", classes=(0, 1)).tolist() == [0, 1]
    assert choose_metric(task="binary", classes=(0, 1), answers=[found]) == "log_loss"
    assert normalise(full[["answer"]], "binary", [0, 1], {"on time": 0, "late": 1})["prediction"][0] == 1


SCORES = pd.DataFrame({"probability.0": [0.7, 0.4, 0.2], "probability.1": [0.3, 0.6, 0.8]})
LABELS = pd.DataFrame({"prediction": [0, 1, 1]})


def test_the_brier_score_is_scikit_learns_with_two_classes_and_with_more() -> None:
    truth = pd.Series([0, 0, 1])
    two = compute_loss("brier", truth, SCORES, task="binary", classes=(0, 1))
    assert two.mean() == pytest.approx(brier_score_loss(truth, SCORES["probability.1"]))
    table = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    many = pd.DataFrame({f"probability.{name}": part for name, part in zip("abc", table.T, strict=True)})
    found = compute_loss("brier", pd.Series(["b", "a"]), many, task="multiclass", classes=("a", "b", "c"))
    assert found.tolist() == pytest.approx([0.04 + 0.25 + 0.09, 0.81 + 0.01 + 0.64])


def test_distances_are_scikit_learns() -> None:
    truth, answers = pd.Series([1.0, 2.0, 5.0]), pd.DataFrame({"prediction": [1.5, 2.0, 3.0]})
    for metric, reference in (
        ("absolute_error", mean_absolute_error(truth, answers["prediction"])),
        ("squared_error", mean_squared_error(truth, answers["prediction"])),
        ("pinball", mean_pinball_loss(truth, answers["prediction"], alpha=0.9)),
    ):
        found = compute_loss(metric, truth, answers, task="regression", classes=(), quantile=0.9)
        assert found.mean() == pytest.approx(reference)


@pytest.mark.parametrize(
    ("task", "answers", "metric"),
    [
        ("binary", [SCORES, SCORES], "log_loss"),
        ("binary", [SCORES, LABELS], "error"),
        ("regression", [LABELS, LABELS], "squared_error"),
    ],
)
def test_without_a_metric_asked_for_it_is_the_finest_that_all_answers_allow(
    task: str, answers: list[pd.DataFrame], metric: str
) -> None:
    assert choose_metric(task=task, classes=(0, 1), answers=answers) == metric


@pytest.mark.parametrize(
    ("metric", "task", "answers", "said"),
    [
        ("pinball", "binary", [SCORES], "does not fit a binary model. Use log_loss, brier, error, roc_auc."),
        ("roc_auc", "multiclass", [SCORES], "does not fit a multiclass model"),
        ("accuracy", "regression", [LABELS], "Use squared_error, absolute_error, pinball."),
        ("log_loss", "binary", [SCORES, LABELS], "needs probabilities, and not all .* Use error."),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(
    metric: str, task: str, answers: list[pd.DataFrame], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        choose_metric(metric, task=task, classes=(0, 1), answers=answers)
    if metric not in {"log_loss", "roc_auc"}:
        with pytest.raises(DataError, match="does not fit"):
            compute_loss(metric, pd.Series([0, 1, 1]), answers[0], task=task, classes=(0, 1))
