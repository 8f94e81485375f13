"""Which estimators can learn on, and what is said to those that cannot."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import DataError, UsageError
from tests.training.online.conftest import make_rows
from training import Job
from training.online.engine import Engine
from training.online.learner import check_estimator
from training.online.source import Bookmark, TableSource
from training.online.state import read_state, write_state


def make_job(estimator: str, target: str = "late", **params: Any) -> Job:
    rows = make_rows(300)
    rows["amount"] = rows["size"].fillna(0) * 3 + rows["late"]
    return Job.from_frame(
        rows,
        name="stream",
        target=target,
        estimator=estimator,
        params=params,
        data={"time": "moment"},
        features={"numeric": ["size"], "categorical": ["color"]},
        online={"warmup": "100 events", "step": "2 hours", "snapshot": "90 events", "window": 100},
    )


@pytest.mark.parametrize(
    ("estimator", "params", "target", "figures"),
    [
        ("sklearn.linear_model.SGDClassifier", {"loss": "hinge"}, "late", {"accuracy"}),
        ("sklearn.naive_bayes.GaussianNB", {}, "color", {"log_loss", "accuracy"}),
        (
            "sklearn.linear_model.SGDRegressor",
            {"eta0": 0.01},
            "amount",
            {"absolute_error", "squared_error"},
        ),
        ("river.linear_model.LogisticRegression", {"l2": 0.001}, "late", {"log_loss", "accuracy", "roc_auc"}),
        ("river.tree.HoeffdingTreeClassifier", {"grace_period": 50}, "color", {"log_loss", "accuracy"}),
    ],
)
def test_each_kind_of_estimator_learns_on_and_can_be_kept(
    estimator: str, params: dict[str, Any], target: str, figures: set[str]
) -> None:
    job = make_job(estimator, target, **params)
    if target == "color":
        job = Job(
            job.spec.model_copy(update={"features": type(job.spec.features)(numeric=["size"])}),
            job.folder,
            job.frame,
        )
    source = TableSource(job, is_classifier=check_estimator(job.spec))
    events = source.read(Bookmark(), (), -1)
    engine = Engine(job, source, None)
    kept = [write_state(state) for state in engine.feed(events)]
    state = read_state(*kept[0])
    assert len(kept) >= 2
    assert set(read_state(*kept[-1]).points[-1].figures) == figures
    on = Engine(job, source, state)
    for _ in on.feed(source.read(state.bookmark, state.pending.keys.tolist(), state.position)):
        pass
    assert on.state is not None
    assert engine.state is not None
    encoded = engine.state.learner.encode(pd.DataFrame({"size": [0.5, np.nan], "color": ["red", "pink"]}))
    np.testing.assert_array_equal(on.state.learner.score(encoded), engine.state.learner.score(encoded))


@pytest.mark.parametrize(
    ("estimator", "params", "words"),
    [
        ("sklearn.linear_model.LogisticRegression", {}, "cannot learn event by event"),
        ("river.linear_model.LogisticRegresion", {}, "Did you mean 'LogisticRegression'"),
        ("river.linear_models.LogisticRegression", {}, "no module 'river.linear_models'"),
        ("river.linear_model.LogisticRegression", {"l3": 1}, "no parameter 'l3'"),
    ],
)
def test_what_cannot_learn_on_is_refused_with_a_way_out(
    estimator: str, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_estimator(make_job(estimator, **params).spec)


def test_a_value_that_the_estimator_refuses_is_named() -> None:
    job = make_job("sklearn.linear_model.SGDClassifier", alpha=-1.0)
    source = TableSource(job, is_classifier=True)
    with pytest.raises(UsageError, match="'alpha' parameter of SGDClassifier"):
        list(Engine(job, source, None).feed(source.read(Bookmark(), (), -1)))


def test_a_class_that_was_never_named_stops_the_stream() -> None:
    job = make_job("sklearn.naive_bayes.GaussianNB", "color")
    spec = job.spec.model_copy(update={"features": type(job.spec.features)(numeric=["size"])})
    source = TableSource(Job(spec, job.folder, job.frame), is_classifier=True)
    engine = Engine(Job(spec, job.folder, job.frame), source, None)
    events = source.read(Bookmark(), (), -1)
    for _ in engine.feed(events.take(np.arange(150))):
        pass
    events.truth[200] = "violet"
    with pytest.raises(DataError, match="'violet' arrived"):
        list(engine.feed(events.take(np.arange(150, 300))))
