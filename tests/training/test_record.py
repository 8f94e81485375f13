"""The rows that a model was judged on, as they are kept for those who judge it later."""

from pathlib import Path

import numpy as np
import pandas as pd

from training import Job, plan_training
from training.record import write_evaluation_rows
from training.result import Outcome


def test_columns_of_other_versions_stay_with_their_rows_where_the_split_leaves_rows_out(
    tmp_path: Path,
) -> None:
    """Production may look at them: shifted, it would be compared on rows that never were."""
    generator = np.random.default_rng(0)
    size = generator.normal(size=600)
    order = generator.permutation(600)
    rows = pd.DataFrame(
        {
            "size": size,
            "twice": 2 * size,
            "day": pd.date_range("2026-01-01", periods=600, freq="h"),
            "late": (size > 0).astype("int64"),
        }
    ).iloc[order]
    job = Job.from_frame(
        rows,
        name="later",
        target="late",
        estimator="sklearn.linear_model.LogisticRegression",
        data={"time": "day"},
        features={"numeric": ["size"]},
        split={"train_from": "2026-01-05", "train_until": "2026-01-15", "evaluate_until": "2026-01-20"},
    )
    plan = plan_training(job)
    truth = plan.target.truth.iloc[plan.split.evaluate].to_numpy()
    outcome = Outcome("binary", (0, 1), truth, truth, None)
    write_evaluation_rows(plan, outcome, tmp_path)
    kept = pd.read_parquet(tmp_path / "evaluation" / "rows.parquet")
    assert (kept["twice"] == 2 * kept["size"]).all()
    assert kept["day"].between("2026-01-15", "2026-01-20").all()
    assert ((kept["size"] > 0) == (kept["late"] == 1)).all()
