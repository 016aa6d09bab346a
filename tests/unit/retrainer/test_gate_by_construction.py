"""The gate on real models: one that is worse by construction never passes, one that is better does."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from driftsonde.core.config import Gate
from driftsonde.core.errors import ConfigError
from driftsonde.retrainer.gate import passes, scores_of
from driftsonde.retrainer.steps.container import inputs
from driftsonde.retrainer.steps.evaluate import METRICS, _known_importance, gain

Floats = NDArray[np.float64]
HOLDOUT = 500


def data(seed: int, rows: int = HOLDOUT) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 4))
    chance = 1 / (1 + np.exp(-(2 * features[:, 0] - features[:, 1])))
    return features, (random.random(rows) < chance).astype(np.float64)


def train(features: Floats, label: Floats, *, rounds: int = 20) -> xgboost.Booster:
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, xgboost.DMatrix(features, label), rounds)


@cache
def good() -> xgboost.Booster:
    return train(*data(0, 4_000))


def compare(challenger: xgboost.Booster, champion: xgboost.Booster, seed: int, gate: Gate) -> tuple[bool, str]:
    features, label = data(1_000 + seed)
    rows = xgboost.DMatrix(features)
    predicted = {"challenger": challenger.predict(rows).astype(float), "champion": champion.predict(rows).astype(float)}
    metric = METRICS[gate.metric]
    measured: dict[str, Any] = {name: metric(label, scores) for name, scores in predicted.items()}
    interval = gain(metric, label, predicted, gate.confidence)
    return passes(gate, scores_of(gate, measured | {"rows": len(label), "interval": interval, "confidence": gate.confidence}))


@pytest.mark.parametrize("seed", range(50))
def test_challenger_that_is_worse_by_construction_is_held(seed: int) -> None:
    features, label = data(seed + 1, 2_000)
    spoiled = np.where(np.random.default_rng(seed).random(len(label)) < 0.4, 1 - label, label)
    promoted, why = compare(train(features[:, :], spoiled, rounds=5), good(), seed, Gate())
    assert not promoted, why
    assert "not clearly better" in why


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("metric", ["auc", "logloss"])
def test_challenger_that_is_better_by_construction_is_promoted(seed: int, metric: str) -> None:
    features, label = data(seed + 1, 2_000)
    moved = train(-features, label, rounds=5)  # learnt where the inputs meant the opposite
    gate = Gate.model_validate({"metric": metric, "direction": "max" if metric == "auc" else "min"})
    promoted, why = compare(good(), moved, seed, gate)
    assert promoted, why


def test_twin_of_the_champion_is_held_however_lucky_its_rows() -> None:
    """As good as the champion is not better; without the interval every second twin would be promoted."""
    twins = [train(*data(5_000 + seed, 4_000)) for seed in range(12)]
    promoted = [compare(twin, good(), seed, Gate())[0] for seed, twin in enumerate(twins)]
    assert sum(promoted) <= 1


def test_interval_holds_the_difference_and_narrows_with_rows() -> None:
    widths = []
    for rows in (300, 3_000):
        features, label = data(7, rows)
        matrix = xgboost.DMatrix(features)
        worse = train(*data(8, 200), rounds=3)
        predicted = {"challenger": good().predict(matrix).astype(float), "champion": worse.predict(matrix).astype(float)}
        low, high = gain(METRICS["auc"], label, predicted, 0.95)
        assert low < METRICS["auc"](label, predicted["challenger"]) - METRICS["auc"](label, predicted["champion"]) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_step_of_the_users_own_that_gives_no_interval_is_compared_by_its_figures() -> None:
    assert passes(Gate(), scores_of(Gate(), {"challenger": 0.81, "champion": 0.80, "rows": 500}))[0]


@pytest.mark.parametrize("wrong", [{"interval": [1]}, {"interval": "wide"}, {"rows": -1}, {"confidence": 2}, {"importance": {"x": "much"}}])
def test_figures_that_are_none_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        scores_of(Gate(), {"challenger": 0.8, "champion": 0.7, "rows": 500, **wrong})


@pytest.mark.parametrize("kind", ["linear", "named"])
def test_model_whose_importance_cannot_be_said_is_compared_all_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    inputs("meta").mkdir(parents=True)
    (inputs("meta") / "encoding.json").write_text(json.dumps({"features": ["a", "b", "c", "d"], "levels": {}}))
    features, label = data(3)
    assert sum(_known_importance(train(features, label)).values()) == pytest.approx(1.0, abs=1e-4)
    rows = xgboost.DMatrix(features, label, feature_names=["a", "b", "c", "d"] if kind == "named" else None)
    other = xgboost.train({"objective": "binary:logistic", "nthread": 1, "booster": "gblinear" if kind == "linear" else "gbtree"}, rows, 3)
    assert _known_importance(other) == {}
