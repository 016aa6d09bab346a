"""Champion and challenger on the same held-out rows; the answer is `metrics.json`."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from driftsonde.core.archive import unpack
from driftsonde.retrainer.steps.container import inputs, outputs, run_step
from driftsonde.retrainer.steps.encoding import Encoding

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats], float]
RESAMPLES = 500
MOST_IMPORTANT = 20


def evaluate() -> None:
    """Run the step."""
    metric, confidence = os.environ.get("DRIFTSONDE_METRIC", "auc"), float(os.environ.get("DRIFTSONDE_CONFIDENCE", "0.95"))
    rows = np.vstack([np.genfromtxt(path, delimiter=",", ndmin=2) for path in sorted(inputs("holdout").glob("*.csv"))])
    label, features = rows[:, 0], rows[:, 1:]
    result: dict[str, Any] = {"metric": metric, "rows": len(label)}
    predicted: dict[str, Floats] = {}
    for name in ("challenger", "champion"):
        if inputs(name).is_dir():
            booster = _load(inputs(name))
            predicted[name] = _predict(booster, features)
            result[name] = METRICS[metric](label, predicted[name])
            if name == "challenger":
                result["importance"] = _known_importance(booster)
    if "champion" in predicted:
        result |= {"confidence": confidence, "interval": gain(METRICS[metric], label, predicted, confidence)}
    (outputs("metrics") / "metrics.json").write_text(json.dumps(result))
    print(json.dumps(result))


def _load(folder: Path) -> xgboost.Booster:
    archive = next(iter(sorted(folder.rglob("*.tar.gz"))))
    booster = xgboost.Booster()
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as tar:
            unpack(tar, Path(scratch))
        booster.load_model(str(next(Path(scratch).rglob("xgboost-model"))))
    return booster


def _predict(booster: xgboost.Booster, features: Floats) -> Floats:
    # A champion may know fewer features than there are now: an encoding only grows at its end.
    known = features[:, : booster.num_features()]
    predicted: Floats = booster.predict(xgboost.DMatrix(known)).astype(np.float64)
    return predicted


def _known_importance(booster: xgboost.Booster) -> dict[str, float]:
    """Return importances where there are any: of a linear model, or one that names its features itself, there are none here."""
    try:
        return _importance(booster)
    except (xgboost.core.XGBoostError, ValueError, IndexError) as exc:
        print(f"importance is not known: {exc}", file=sys.stderr)
        return {}


def _importance(booster: xgboost.Booster) -> dict[str, float]:
    """Return the share of the model's gain of each column that the encoding names, the most important ones."""
    path = inputs("meta") / "encoding.json"
    # Lists only of multi-class linear models, which this step does not score.
    gains = {
        feature: float(value) for feature, value in booster.get_score(importance_type="total_gain").items() if isinstance(value, float)
    }
    total = sum(gains.values())
    if not path.is_file() or not total:
        return {}
    columns = Encoding.load(json.loads(path.read_text())).features
    shares: dict[str, float] = {}
    for feature, value in gains.items():
        column = columns[int(feature.removeprefix("f"))]
        shares[column] = shares.get(column, 0.0) + value / total
    ranked = sorted(shares, key=lambda name: (-shares[name], name))
    return {name: round(shares[name], 6) for name in ranked[:MOST_IMPORTANT]}


def gain(metric: Metric, label: Floats, predicted: Mapping[str, Floats], confidence: float) -> tuple[float, float]:
    """Return a confidence interval of challenger - champion: a percentile bootstrap over the same rows of both (Efron 1979).

    Args:
        label: shape (n,).
        predicted: by `challenger` and `champion`, shape (n,) each.
        confidence: one-sided, of each end.
    """
    random = np.random.default_rng(0)
    differences = []
    for _ in range(RESAMPLES):
        rows = random.integers(0, len(label), len(label))
        try:
            scores = {name: metric(label[rows], values[rows]) for name, values in predicted.items()}
        except ValueError:  # a resample of one class only
            continue
        differences.append(scores["challenger"] - scores["champion"])
    if not differences:
        raise ValueError("no resample of the held-out rows has both classes")
    low, high = np.quantile(differences, [1 - confidence, confidence])
    return float(low), float(high)


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


METRICS: dict[str, Metric] = {"auc": auc, "logloss": logloss, "rmse": rmse}

if __name__ == "__main__":
    run_step(evaluate)
