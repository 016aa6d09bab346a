"""The retrainer's way to endpoints, against local SageMaker: what is repeated, refused, or tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from driftsonde.core.errors import ConfigError, QuotaReached, RetryableError, Throttled
from driftsonde.retrainer.sagemaker import SageMaker, SageMakerEndpoints

from .support import ROLE, XGBOOST, Plane, blue_green, client, model_archive, variant

TAGS = [{"Key": "driftsonde:identity", "Value": "test"}]


class Rig:
    """The adapter, the client under it, and the control plane."""

    def __init__(self, plane: Plane, sagemaker: Any) -> None:
        self.plane, self.sagemaker, self.endpoints, self.jobs = plane, sagemaker, SageMakerEndpoints(sagemaker), SageMaker(sagemaker)

    async def config(self, name: str) -> None:
        """Make an endpoint configuration, as the retrainer does."""
        request = {"EndpointConfigName": name, "ProductionVariants": [variant("all", "one")], "Tags": TAGS}
        await self.jobs.create("endpoint-config", request)

    async def settled(self) -> Any:
        """Wait until nothing is being done."""
        while (state := await self.endpoints.state("web")) is not None and state.busy:
            await asyncio.sleep(0.05)
        return state


@pytest.fixture
async def rig(aws: str, start_plane: Callable[..., Plane], s3: Any, bucket: str) -> AsyncIterator[Rig]:
    """An endpoint `web` with the configuration `old`, and a configuration `new`."""
    plane = start_plane("--wait-scale", "0.001")
    async with client("sagemaker", plane.url) as sagemaker:
        await s3.put_object(Bucket=bucket, Key="one.tar.gz", Body=model_archive(0.1))
        container = {"Image": XGBOOST, "ModelDataUrl": f"s3://{bucket}/one.tar.gz"}
        await sagemaker.create_model(ModelName="one", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        made = Rig(plane, sagemaker)
        for name in ("old", "new"):
            await made.config(name)
        await made.endpoints.point("web", "old", None, TAGS)
        await made.settled()
        yield made


async def test_missing_endpoint_is_made_with_our_tags(rig: Rig) -> None:
    assert await rig.endpoints.state("nobody") is None
    state = await rig.endpoints.state("web")
    assert state is not None
    assert (state.status, state.config, state.weights) == ("InService", "old", {"all": 1.0})
    arn = (await rig.sagemaker.describe_endpoint(EndpointName="web"))["EndpointArn"]
    assert (await rig.sagemaker.list_tags(ResourceArn=arn))["Tags"] == TAGS


async def test_update_whose_answer_was_lost_is_adopted(rig: Rig) -> None:
    rig.plane.fault(op="UpdateEndpoint", code="ConnectionDrop", after=True)
    guard = blue_green("CANARY", wait=500, CanarySize=10)
    with pytest.raises(RetryableError):
        await rig.endpoints.point("web", "new", guard, TAGS)
    await rig.endpoints.point("web", "new", guard, TAGS)
    assert (await rig.settled()).config == "new"
    await rig.endpoints.point("web", "new", guard, TAGS)
    assert (await rig.endpoints.state("web")).status == "InService"  # type: ignore[union-attr]  # it is there


async def test_busy_endpoint_is_tried_again_later(rig: Rig) -> None:
    await rig.config("third")
    await rig.endpoints.point("web", "new", blue_green("CANARY", wait=500, CanarySize=10), TAGS)
    with pytest.raises(RetryableError, match="Updating"):
        await rig.endpoints.point("web", "third", None, TAGS)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ResourceLimitExceeded", QuotaReached),
        ("ThrottlingException", Throttled),
        ("ValidationException", ConfigError),
        ("InternalFailure", RetryableError),
    ],
)
async def test_refusals_are_told_apart(rig: Rig, code: str, error: type[Exception]) -> None:
    rig.plane.fault(op="UpdateEndpoint", code=code)
    with pytest.raises(error):
        await rig.endpoints.point("web", "new", None, TAGS)


async def test_configuration_is_adopted_only_with_our_tags(rig: Rig) -> None:
    await rig.config("new")
    foreign = {"EndpointConfigName": "new", "ProductionVariants": [variant("all", "one")], "Tags": [{"Key": "owner", "Value": "somebody"}]}
    with pytest.raises(ConfigError, match="new"):
        await rig.jobs.create("endpoint-config", foreign)


async def test_described_configuration_can_be_created_again(rig: Rig) -> None:
    again = {**await rig.endpoints.config("old"), "EndpointConfigName": "copy"}
    await rig.sagemaker.create_endpoint_config(**again)
    with pytest.raises(ConfigError, match="Could not find"):
        await rig.endpoints.config("nothing")


async def test_package_is_judged_and_a_missing_one_left_alone(rig: Rig) -> None:
    await rig.sagemaker.create_model_package_group(ModelPackageGroupName="g")
    containers = [{"Image": XGBOOST, "ModelDataUrl": "s3://models/m/model.tar.gz"}]
    specification = {"Containers": containers, "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}
    request = {"ModelPackageGroupName": "g", "ClientToken": "t", "ModelApprovalStatus": "Approved", "InferenceSpecification": specification}
    arn = await rig.jobs.register("g", request)
    await rig.jobs.judge(arn, "Rejected", "complaints")
    described = await rig.sagemaker.describe_model_package(ModelPackageName=arn)
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Rejected", "complaints")
    await rig.jobs.judge(arn.replace("/g/1", "/g/9"), "Rejected", "complaints")
