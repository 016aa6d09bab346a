"""Planner, gate, requests and steps: what can be said without any state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.config import Budget, Gate, Recipe, RetrainPolicy
from driftsonde.core.events import Scores
from driftsonde.core.names import job_name
from driftsonde.retrainer import requests
from driftsonde.retrainer.gate import passes
from driftsonde.retrainer.planner import Proceed, Refuse, Situation, Wait, decide
from driftsonde.retrainer.requests import Layout
from driftsonde.retrainer.steps.encoding import Encoding
from driftsonde.retrainer.steps.evaluate import auc, logloss, rmse
from driftsonde.retrainer.steps.prepare import _draw

NOW = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RetrainPolicy(recipe="xgb")
RECIPE = Recipe(role="arn:aws:iam::123456789012:role/jobs", output="s3://acme/out/")
LAYOUT = Layout.of(RECIPE, "churn", 7)


def situation(**changes: Any) -> Situation:
    calm: dict[str, Any] = {
        "trainable": True, "episode_open": True, "untrusted": False, "in_flight": False, "last_training": None, "trainings": (), "all_trainings": (),
    }  # fmt: skip
    return Situation(**{**calm, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Proceed()),
        ({"episode_open": False}, Refuse("episode_over")),
        ({"untrusted": True}, Refuse("untrusted")),
        ({"trainable": False}, Refuse("fix_data")),
        ({"in_flight": True}, Wait("single_flight", NOW + timedelta(minutes=1))),
        ({"last_training": NOW - timedelta(hours=1)}, Wait("cooldown", NOW + timedelta(hours=23))),
        ({"all_trainings": tuple(NOW - timedelta(hours=h) for h in (5, 4))}, Wait("budget", NOW + timedelta(hours=19))),
    ],
)
def test_decision_follows_the_first_reason(changes: dict[str, Any], expected: object) -> None:
    assert decide(POLICY, Budget(training_jobs_per_day=2), situation(**changes), NOW) == expected


def test_disabled_or_missing_policy_is_refused() -> None:
    assert decide(None, Budget(), situation(), NOW) == Refuse("no_recipe")
    assert decide(POLICY.model_copy(update={"enabled": False}), Budget(), situation(), NOW) == Refuse("disabled")


@pytest.mark.parametrize(
    ("direction", "challenger", "champion", "margin", "promoted"),
    [
        ("max", 0.9, 0.8, 0.0, True),
        ("max", 0.8, 0.8, 0.0, False),
        ("max", 0.805, 0.8, 0.01, False),
        ("min", 0.2, 0.3, 0.0, True),
        ("min", 0.3, 0.2, 0.0, False),
        ("max", 0.1, None, 0.5, True),
    ],
)
def test_gate_promotes_only_the_clearly_better(
    direction: Any, challenger: float, champion: float | None, margin: float, promoted: bool
) -> None:
    gate = Gate(direction=direction, margin=margin)
    scores = Scores(metric="auc", direction=direction, challenger=challenger, champion=champion, rows=500)
    assert passes(gate, scores)[0] is promoted


def test_gate_needs_enough_held_out_rows() -> None:
    assert passes(Gate(minimum_rows=200), Scores(metric="auc", direction="max", challenger=1.0, champion=0.5, rows=199))[0] is False


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("CreateProcessingJob", requests.prepare(RECIPE, LAYOUT, "p-1", 1)),
        ("CreateTrainingJob", requests.train(RECIPE, LAYOUT, "t-1", "image", 1)),
        ("CreateProcessingJob", requests.evaluate(RECIPE, LAYOUT, "e-1", 1, 1, "s3://a/m.tar.gz", "s3://a/c.tar.gz")),
        ("CreateModel", requests.create_model(RECIPE, "m-1", "image", "s3://a/m.tar.gz")),
        ("CreateModelPackage", requests.model_package("g", "t" * 32, "image", "s3://a/m.tar.gz", {"episode": "7"}, "s3://a/metrics.json")),
        ("CreateTransformJob", requests.transform(RECIPE, LAYOUT, "x-1", "m-1", 1)),
    ],
)
def test_requests_fit_sagemakers_own_model(operation: str, request_: dict[str, Any]) -> None:
    assert_fits(operation, request_)


FULL = Recipe.model_validate({
    "role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://acme/out/", "tags": {"team": "ml"},
    "security": {
        "network": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}, "isolated": True, "encrypt_traffic": True,
        "volume_key": "k1", "output_key": "k2",
    },
    "training": {"spot": "4h", "channels": {"vocabulary": "s3://acme/words/"}},
    "batch": {"keep": ["id", "day"]},
})  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("CreateProcessingJob", requests.prepare(FULL, LAYOUT, "p-1", 1)),
        ("CreateTrainingJob", requests.train(FULL, LAYOUT, "t-1", "image", 1)),
        ("CreateProcessingJob", requests.evaluate(FULL, LAYOUT, "e-1", 1, 1, "s3://a/m.tar.gz", None)),
        ("CreateModel", requests.create_model(FULL, "m-1", "image", "s3://a/m.tar.gz")),
        ("CreateTransformJob", requests.transform(FULL, LAYOUT, "x-1", "m-1", 1)),
    ],
)
def test_requests_with_everything_fit_too(operation: str, request_: dict[str, Any]) -> None:
    assert_fits(operation, request_)


def test_spot_training_waits_so_long_and_keeps_checkpoints() -> None:
    request = requests.train(FULL, LAYOUT, "t-1", "image", 1)
    assert (request["EnableManagedSpotTraining"], request["StoppingCondition"]["MaxWaitTimeInSeconds"]) == (True, 14_400)
    assert request["CheckpointConfig"]["S3Uri"].startswith(LAYOUT.base)
    assert [channel["ChannelName"] for channel in request["InputDataConfig"]] == ["train", "validation", "vocabulary"]
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


def test_instances_are_kept_warm_where_asked_for() -> None:
    warm = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"keep_warm": timedelta(minutes=10)})})
    assert requests.train(warm, LAYOUT, "t-1", "image", 1)["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


def test_predictions_carry_the_columns_that_are_kept() -> None:
    filters = requests.transform(FULL, LAYOUT, "x-1", "m-1", 1)["DataProcessing"]
    assert filters == {"InputFilter": "$[2:]", "JoinSource": "Input", "OutputFilter": "$[0,1,-1]"}
    assert "DataProcessing" not in requests.transform(RECIPE, LAYOUT, "x-1", "m-1", 1)


@pytest.mark.parametrize("wrong", [{"spot": "30m"}, {"spot": "4h", "keep_warm": "10m"}, {"channels": {"train": "s3://a/b/"}}])
def test_training_that_sagemaker_would_refuse_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"spot|keep_warm|train"):
        Recipe.model_validate({"role": RECIPE.role, "output": "s3://acme/out/", "training": wrong})


def assert_fits(operation: str, request_: dict[str, Any]) -> None:
    model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"))
    shape = model.operation_model(operation).input_shape
    assert shape is not None
    assert not botocore.validate.ParamValidator().validate(request_, shape).has_errors()


def test_job_names_are_stable_unique_and_short() -> None:
    names = {
        job_name("a-very-long-monitor-name-of-32-ch", step, "d", "u", 1, attempt) for step in ("prepare", "train") for attempt in (1, 2)
    }
    assert len(names) == 4
    assert all(len(name) <= 63 for name in names)
    assert job_name("churn", "train", "d", "u", 1, 1) == job_name("churn", "train", "d", "u", 1, 1)
    assert job_name("churn", "train", "d", "u", 11) != job_name("churn", "train", "d", "u1", 1)


def test_tags_tell_another_request_of_same_name() -> None:
    one, other = (requests.identity_tags(("d", "u"), {"rows": rows}) for rows in (1, 2))
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_encoding_codes_never_change_their_meaning() -> None:
    first = pa.record_batch({"plan": ["pro", "free"], "x": [1.0, 2.0]})
    second = pa.record_batch({"plan": ["team", "free", None], "x": [1.0, None, 3.0]})
    encoding = Encoding.infer(first.schema, skip=(), categorical=())
    encoding.grow(first)
    before = encoding.matrix(first)
    grown = Encoding.load(encoding.dump())
    grown.grow(second)
    assert np.array_equal(grown.matrix(first), before)
    assert np.array_equal(grown.matrix(second), np.array([[2, 1], [0, np.nan], [np.nan, 3]]), equal_nan=True)


def test_encoding_reads_missing_and_retyped_columns() -> None:
    encoding = Encoding(["x", "flag", "gone"], {})
    batch = pa.record_batch({"x": ["1.5", "n/a"], "flag": [True, False]})
    assert np.array_equal(encoding.matrix(batch), [[1.5, 1, np.nan], [np.nan, 0, np.nan]], equal_nan=True)


def test_split_of_a_row_ignores_batch_borders() -> None:
    drop = {"bucket": "b", "key": "k", "etag": "e"}
    whole = _draw(drop, 0, 1000)
    pieces = np.concatenate([_draw(drop, 0, 7), _draw(drop, 7, 500), _draw(drop, 507, 493)])
    assert np.array_equal(whole, pieces)
    assert not np.array_equal(whole, _draw({**drop, "etag": "other"}, 0, 1000))


def test_auc_agrees_with_counting_pairs() -> None:
    rng = np.random.default_rng(1)
    label, score = (rng.random(200) < 0.3).astype(float), rng.integers(0, 20, 200) / 20
    pairs = [(p > n) + 0.5 * (p == n) for p in score[label > 0] for n in score[label == 0]]
    assert auc(label, score) == pytest.approx(np.mean(pairs))


def test_auc_of_one_class_says_why_not() -> None:
    with pytest.raises(ValueError, match="one class"):
        auc(np.ones(5), np.arange(5.0))


def test_logloss_and_rmse_of_perfect_scores_vanish() -> None:
    label = np.array([0.0, 1.0, 1.0])
    assert logloss(label, label) == pytest.approx(0, abs=1e-12)
    assert rmse(label, label) == 0
