"""Small real models on disk, and a store in memory that serves them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from registry.ledger.ledger import Actor, Ledger
from registry.policy import EvaluationPolicy, Policy
from registry.stores.memory import MemoryStore


@dataclass(frozen=True)
class Artifacts:
    """Folders that MLflow saved: two honest models, one hopeless, one pickled; and rows to judge by."""

    good: Path
    fair: Path
    bad: Path
    pickled: Path
    rows: Path


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    import mlflow.sklearn
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("artifacts")
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    features = features.iloc[:, :5].set_axis(["a", "b", "c", "d", "e"], axis=1)
    learn = slice(None, None, 2)

    def save(name: str, strength: float, form: str = "skops") -> Path:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(
            features[learn], target[learn]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model,
                folder / name,
                serialization_format=form,
                input_example=features.head(2),
                pip_requirements=["mlflow==3.17.2", "scikit-learn==1.9.1"],
                pyfunc_predict_fn="predict_proba",
            )
        return folder / name

    rows = pd.concat([features, target.rename("benign")], axis=1)[1::2]
    rows.to_parquet(folder / "rows.parquet")
    return Artifacts(
        good=save("good", 1.0),
        fair=save("fair", 0.002),
        bad=save("bad", 1e-6),
        pickled=save("pickled", 1.0, form="cloudpickle"),
        rows=folder / "rows.parquet",
    )


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(tmp_path / "runs")
    store.add_model("m")
    return store


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    return Ledger(store, "m", actor=Actor("tester@here"))


@pytest.fixture
def policy(artifacts: Artifacts) -> Policy:
    """Judges by the rows that no model was trained on."""
    return Policy(evaluation=EvaluationPolicy(data=str(artifacts.rows), target="benign"))
