"""Champion and challenger on the same held-out rows; the answer is `metrics.json`."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray

from driftsonde.retrainer.steps.container import inputs, outputs, run_step

Floats = NDArray[np.float64]


def evaluate() -> None:
    """Run the step."""
    metric = os.environ.get("DRIFTSONDE_METRIC", "auc")
    rows = np.vstack([np.genfromtxt(path, delimiter=",", ndmin=2) for path in sorted(inputs("holdout").glob("*.csv"))])
    label, features = rows[:, 0], rows[:, 1:]
    result: dict[str, float | int | str] = {"metric": metric, "rows": len(label)}
    for name in ("challenger", "champion"):
        if inputs(name).is_dir():
            result[name] = METRICS[metric](label, _predict(inputs(name), features))
    (outputs("metrics") / "metrics.json").write_text(json.dumps(result))
    print(json.dumps(result))


def _predict(folder: Path, features: Floats) -> Floats:
    archive = next(iter(sorted(folder.rglob("*.tar.gz"))))
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        booster = xgboost.Booster()
        booster.load_model(str(next(Path(scratch).rglob("xgboost-model"))))
    # A champion may know fewer features than there are now: an encoding only grows at its end.
    known = features[:, : booster.num_features()]
    predicted: Floats = booster.predict(xgboost.DMatrix(known)).astype(np.float64)
    return predicted


def auc(label: Floats, score: Floats) -> float:
    """Return the area under the ROC curve: the share of (positive, negative) pairs in the right order, ties for a half.

    Raises:
        ValueError: if there is only one class.
    """
    positive = label > 0
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        raise ValueError("the held-out rows have only one class; auc says nothing")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def logloss(label: Floats, score: Floats) -> float:
    """Return the mean negative log-likelihood of 0/1 labels."""
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-np.mean(np.where(label > 0, np.log(p), np.log1p(-p))))


def rmse(label: Floats, score: Floats) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((label - score) ** 2)))


METRICS = {"auc": auc, "logloss": logloss, "rmse": rmse}

if __name__ == "__main__":
    run_step(evaluate)
