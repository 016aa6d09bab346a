"""What each strategy asks for, and when it ends. Pure: a case in, a step out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import pytest
from pydantic import TypeAdapter, ValidationError

from driftsonde.core.config import Deploy
from driftsonde.core.errors import ConfigError
from driftsonde.core.ports import EndpointState
from driftsonde.retrainer.deploy.evidence import Captures, Tally
from driftsonde.retrainer.deploy.model import Ask, Case, Finish, Names, Restore, Source, Stay, Strategy, Weigh
from driftsonde.retrainer.deploy.strategies import strategy_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = Names("ds-churn-trial-1", "ds-churn-live-1", "ds-churn-model-1")
FORMER = {
    "EndpointConfigName": "by-hand",
    "ProductionVariants": [
        {"VariantName": "Main", "ModelName": "old-model", "InitialInstanceCount": 2, "InstanceType": "ml.c5.large", "InitialVariantWeight": 1.0}
    ],
    "KmsKeyId": "key-1",
}  # fmt: skip
SERVING = EndpointState("InService", "by-hand", weights={"Main": 1.0})
FRESH = Case(NAMES, SERVING, FORMER, None, NOW, NOW, seed="churn-1")


def strategy(**section: Any) -> Strategy:
    found = strategy_of(TypeAdapter(Deploy).validate_python({"endpoint": "web", **section}))
    assert found is not None
    return found


def trial(found: Any = None, *, age: timedelta = HOUR, weights: dict[str, float] | None = None) -> Case:
    """A case in which the trial configuration has been in force for a while."""
    endpoint = EndpointState("InService", NAMES.trial, weights=weights or {})
    return replace(FRESH, endpoint=endpoint, asked=NAMES.trial, since=NOW - age, evidence=found)


def live(step: object) -> bool:
    """Whether a step asks for the new model to answer everything."""
    return isinstance(step, Ask) and step.config["EndpointConfigName"] == NAMES.live


EVERY = [
    {"strategy": "single"},
    {"strategy": "canary", "alarms": ["errors"]},
    {"strategy": "linear", "alarms": ["errors"], "step": 30},
    {"strategy": "shadow"},
    {"strategy": "shadow", "capture": "s3://acme/captured/", "sample": 0.5},
    {"strategy": "bandit", "labels": "s3://acme/labels/"},
]


@pytest.mark.parametrize("section", EVERY)
def test_requests_fit_sagemakers_own_model(section: dict[str, Any]) -> None:
    step = strategy(**section).step(FRESH)
    assert isinstance(step, Ask)
    service = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"))
    update = {"EndpointName": "web", "EndpointConfigName": "c", **({"DeploymentConfig": step.guard} if step.guard else {})}
    for operation, request in (("CreateEndpointConfig", step.config), ("UpdateEndpoint", update)):
        shape = service.operation_model(operation).input_shape
        assert shape is not None
        assert not botocore.validate.ParamValidator().validate(request, shape).has_errors()


@pytest.mark.parametrize("section", EVERY)
def test_first_model_of_an_endpoint_is_live_at_once(section: dict[str, Any]) -> None:
    step = strategy(**section).step(replace(FRESH, endpoint=None, former=None))
    assert isinstance(step, Ask)
    assert step.guard is None
    assert step.config["EndpointConfigName"] == NAMES.live
    assert [item["ModelName"] for item in step.config["ProductionVariants"]] == [NAMES.model]


@pytest.mark.parametrize("section", EVERY)
def test_live_configuration_in_force_ends_every_strategy(section: dict[str, Any]) -> None:
    case = replace(FRESH, endpoint=EndpointState("InService", NAMES.live), asked=NAMES.live)
    assert strategy(**section).step(case) == Finish("live", "the model serves")


@pytest.mark.parametrize("section", EVERY)
def test_rollback_by_sagemaker_ends_every_strategy(section: dict[str, Any]) -> None:
    case = replace(FRESH, endpoint=replace(SERVING, reason="alarm errors"), asked=NAMES.live)
    assert strategy(**section).step(case) == Finish("rolled_back", "alarm errors")


@pytest.mark.parametrize("section", EVERY[3:])
def test_trial_that_sagemaker_does_not_take_ends_the_deployment(section: dict[str, Any]) -> None:
    case = replace(FRESH, endpoint=replace(SERVING, reason="no capacity"), asked=NAMES.trial)
    assert strategy(**section).step(case) == Finish("rolled_back", "no capacity")


@pytest.mark.parametrize("section", EVERY)
def test_configuration_of_somebody_else_is_left_alone(section: dict[str, Any]) -> None:
    case = replace(FRESH, endpoint=replace(SERVING, config="by-another-hand"), asked=NAMES.live)
    step = strategy(**section).step(case)
    assert isinstance(step, Finish)
    assert (step.outcome, "by-another-hand" in step.reason) == ("rolled_back", True)


@pytest.mark.parametrize("section", EVERY[3:])
def test_live_that_fails_after_a_trial_restores_the_former(section: dict[str, Any]) -> None:
    case = replace(FRESH, endpoint=EndpointState("InService", NAMES.trial, reason="no capacity"), asked=NAMES.live)
    assert strategy(**section).step(case) == Restore("no capacity")


def test_replacing_keeps_the_variants_name_and_the_owners_keys() -> None:
    step = strategy(strategy="single", compute={"instance_type": "ml.m5.xlarge", "instance_count": 3}).step(FRESH)
    assert isinstance(step, Ask)
    assert step.config == {
        "EndpointConfigName": NAMES.live,
        "ProductionVariants": [
            {"VariantName": "Main", "ModelName": NAMES.model, "InitialInstanceCount": 3, "InstanceType": "ml.m5.xlarge", "InitialVariantWeight": 1.0}
        ],
        "KmsKeyId": "key-1",
    }  # fmt: skip


def test_canary_waits_and_rolls_back_as_configured() -> None:
    step = strategy(strategy="canary", size=25, bake="5m", keep="1m", alarms=["a", "b"]).step(FRESH)
    assert isinstance(step, Ask)
    assert step.guard == {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 25}, "WaitIntervalInSeconds": 300,
            },
            "TerminationWaitInSeconds": 60,
            "MaximumExecutionTimeoutInSeconds": 3960,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}, {"AlarmName": "b"}]},
    }  # fmt: skip


def test_linear_counts_instances_where_asked_to() -> None:
    step = strategy(strategy="linear", unit="instances", step=2, compute={"instance_count": 5}, alarms=["a"], bake="10m").step(FRESH)
    assert isinstance(step, Ask)
    assert step.guard is not None
    policy = step.guard["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["LinearStepSize"] == {"Type": "INSTANCE_COUNT", "Value": 2}
    assert policy["MaximumExecutionTimeoutInSeconds"] == 3 * 600 + 300 + 3600


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"strategy": "canary", "alarms": ["a"], "size": 51}, "more than half"),
        ({"strategy": "canary", "alarms": ["a"], "unit": "instances", "size": 1}, "more than half"),
        ({"strategy": "canary", "alarms": []}, "at least 1 item"),
        ({"strategy": "linear", "alarms": ["a"], "step": 9}, "a tenth to a half"),
        ({"strategy": "linear", "alarms": ["a"], "step": 10, "bake": "1h"}, "longer than 7h"),
        ({"strategy": "shadow", "requests": 5}, "set capture"),
        ({"strategy": "bandit", "labels": "s3://acme/labels/", "floor": 0.5}, "less than 0.5"),
        ({"strategy": "single", "endpoint": "under_score"}, "pattern"),
    ],
)
def test_deploy_sections_that_cannot_work_are_refused(section: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        strategy(**section)


def test_shadow_copies_the_share_asked_for_and_captures_both() -> None:
    step = strategy(strategy="shadow", sample=0.25, capture="s3://acme/captured/").step(FRESH)
    assert isinstance(step, Ask)
    assert step.config["ProductionVariants"] == FORMER["ProductionVariants"]
    (shadow,) = step.config["ShadowProductionVariants"]
    assert (shadow["ModelName"], shadow["InitialVariantWeight"]) == (NAMES.model, 0.25)
    assert step.config["DataCaptureConfig"]["DestinationS3Uri"] == f"s3://acme/captured/{NAMES.trial}"


def test_shadow_waits_its_time_out_without_reading() -> None:
    shadow, case = strategy(strategy="shadow", capture="s3://acme/captured/", **{"for": "6h"}), trial()
    assert shadow.source(case) is None
    assert shadow.step(case) == Stay(NOW + 5 * HOUR)
    assert shadow.source(trial(age=6 * HOUR)) == Source("captures", f"s3://acme/captured/{NAMES.trial}")


def test_shadow_ends_early_when_enough_was_captured() -> None:
    shadow = strategy(strategy="shadow", capture="s3://acme/captured/", requests=100)
    assert shadow.source(trial()) is not None
    assert shadow.step(trial(Captures(99, 99, 99))) == Stay(NOW + timedelta(minutes=5))
    assert live(shadow.step(trial(Captures(100, 100, 100))))


@pytest.mark.parametrize(
    ("found", "changes", "named"),
    [
        (Captures(1000, 1000, 900), {}, ""),
        (Captures(1000, 1000, 899), {}, "899 of 1000 answers agree"),
        (Captures(1000, 999, 999), {}, "answered 999 of about 1000"),
        (Captures(1000, 999, 999), {"errors": 0.001}, ""),
        (Captures(1000, 460, 460), {"sample": 0.5}, ""),
        (Captures(1000, 400, 400), {"sample": 0.5}, "answered 400 of about 500"),
        (Captures(0, 0, 0), {}, "only 0 requests"),
        (Captures(49, 49, 49), {"least": 50}, "50 are needed"),
    ],
)
def test_shadow_is_judged_by_its_answers(found: Captures, changes: dict[str, Any], named: str) -> None:
    step = strategy(strategy="shadow", capture="s3://acme/captured/", **changes).step(trial(found, age=24 * HOUR))
    assert live(step) if not named else isinstance(step, Restore) and named in step.reason


def test_shadow_without_capture_only_has_to_stay_in_service() -> None:
    assert live(strategy(strategy="shadow").step(trial(age=24 * HOUR)))


def test_bandit_starts_even_with_variants_named_as_models() -> None:
    step = strategy(strategy="bandit", labels="s3://acme/labels/").step(FRESH)
    assert isinstance(step, Ask)
    arms = step.config["ProductionVariants"]
    assert [(arm["VariantName"], arm["ModelName"], arm["InitialVariantWeight"]) for arm in arms] == [
        ("old-model", "old-model", 0.5),
        (NAMES.model, NAMES.model, 0.5),
    ]
    assert arms[0]["InstanceType"] == "ml.c5.large"


def bandit(new: Tally, old: Tally, *, age: timedelta = HOUR, weight: float = 0.5, **section: Any) -> object:
    case = trial({NAMES.model: new, "old-model": old}, age=age, weights={NAMES.model: weight, "old-model": 1 - weight})
    return strategy(strategy="bandit", labels="s3://acme/labels/", **section).step(case)


def test_bandit_gives_the_better_model_more_traffic() -> None:
    step = bandit(Tally(50, 30), Tally(50, 25))
    assert isinstance(step, Weigh)
    assert 0.8 < step.weights[NAMES.model] < 0.9
    assert sum(step.weights.values()) == pytest.approx(1)


def test_bandit_moves_weights_once_for_the_same_rewards() -> None:
    first = bandit(Tally(50, 30), Tally(50, 25))
    assert isinstance(first, Weigh)
    again = bandit(Tally(50, 30), Tally(50, 25), weight=first.weights[NAMES.model])
    assert again == Stay(NOW + timedelta(minutes=15))


def test_bandit_leaves_the_floor_to_the_worse_model() -> None:
    step = bandit(Tally(90, 0), Tally(90, 90), floor=0.1)
    assert isinstance(step, Weigh)
    assert step.weights == {"old-model": 0.9, NAMES.model: 0.1}


def test_bandit_stops_when_one_model_has_proven_better() -> None:
    assert live(bandit(Tally(100, 80), Tally(100, 50)))
    worse = bandit(Tally(100, 50), Tally(100, 80))
    assert isinstance(worse, Restore)
    assert "after 100 and 100 rewards" in worse.reason


def test_bandit_does_not_stop_on_too_few_rewards() -> None:
    assert isinstance(bandit(Tally(99, 90), Tally(500, 100)), Weigh)
    assert isinstance(bandit(Tally(500, 100), Tally(99, 90)), Weigh)


@pytest.mark.parametrize(
    ("new", "old", "taken"),
    [(Tally(100, 52), Tally(100, 50), True), (Tally(100, 50), Tally(100, 52), False), (Tally(5, 5), Tally(200, 20), False)],
)
def test_bandit_ends_at_the_latest_when_its_time_is_over(new: Tally, old: Tally, taken: bool) -> None:
    step = bandit(new, old, age=timedelta(days=30))
    assert live(step) if taken else isinstance(step, Restore) and "time is over" in step.reason


@pytest.mark.parametrize("section", [EVERY[3], EVERY[5]])
@pytest.mark.parametrize(
    "former",
    [
        {**FORMER, "ProductionVariants": FORMER["ProductionVariants"] * 2},  # type: ignore[operator]  # a list
        {**FORMER, "ShadowProductionVariants": FORMER["ProductionVariants"]},
    ],
)
def test_comparison_needs_exactly_one_former_variant(section: dict[str, Any], former: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="exactly one to compare with"):
        strategy(**section).step(replace(FRESH, former=former))


def test_bandit_does_not_compare_with_a_variant_that_has_no_model() -> None:
    components = {**FORMER, "ProductionVariants": [{"VariantName": "Main", "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}]}
    with pytest.raises(ConfigError, match="inference components"):
        strategy(strategy="bandit", labels="s3://acme/labels/").step(replace(FRESH, former=components))
