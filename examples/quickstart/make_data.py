"""Writes ``cancer.csv``: 569 real tumours, measured (scikit-learn's breast cancer data, CC BY 4.0, UCI)."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer

if __name__ == "__main__":
    data = load_breast_cancer(as_frame=True)
    frame = data.frame.rename(columns=lambda name: name.replace(" ", "_"))
    frame["diagnosis"] = frame.pop("target").map({0: "malignant", 1: "benign"})
    path = Path(__file__).with_name("cancer.csv")
    frame.to_csv(path, index=False)
    print(f"Wrote {path.name}: {len(frame)} rows, {len(frame.columns)} columns. Next: train-model job.toml")
